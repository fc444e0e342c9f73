import numpy as np
import pytest

from mmasl.analysis import count_labels, starting_ladder


def test_multi_label_counts_and_the_ratio_of_the_paper():
    samples = [dict(gt_label=[0, 1]), dict(gt_label=[0]), dict(gt_label=[]), dict(gt_label=[0, 0, 3])]
    statistics = count_labels(samples, num_classes=5)
    assert statistics.kind == 'multi-label'
    assert statistics.positive.tolist() == [3, 1, 0, 1, 0]
    assert statistics.negative.tolist() == [1, 3, 4, 3, 4]
    assert statistics.labels_per_image.tolist() == [2, 1, 0, 2]
    summary = statistics.summary()
    assert summary['positive_negative_ratio'] == pytest.approx(1.25 / (5 - 1.25), abs=1e-6)  # labels / (C - labels)
    assert (summary['labels_per_image'], summary['share_of_images_without_label']) == (1.25, 0.25)
    assert (summary['most_frequent_class'], summary['rarest_class'], summary['imbalance']) == (3, 0, 3.0)
    assert (summary['classes_without_label'], summary['share_of_top_fifth']) == (2, 0.6)


def test_ignored_labels_are_neither_positive_nor_negative():
    samples = [dict(gt_score=np.array([1, -1, 0, 1], dtype=np.float32), gt_label=[0, 3]), dict(gt_score=[0, -1, 0, -1])]
    statistics = count_labels(samples, num_classes=4)
    assert statistics.positive.tolist() == [1, 0, 0, 1] and statistics.ignored.tolist() == [0, 2, 0, 1]
    assert statistics.negative.tolist() == [1, 0, 2, 0]
    assert statistics.summary()['share_ignored'] == 3 / 8


def test_single_label():
    statistics = count_labels([dict(gt_label=2), dict(gt_label=np.int64(2)), dict(gt_label=0)], num_classes=3)
    assert statistics.kind == 'single-label' and statistics.positive.tolist() == [1, 0, 2]
    assert statistics.summary()['positive_negative_ratio'] == 0.5
    assert count_labels([dict(gt_label=[2]), dict(gt_label=[0])], num_classes=3).kind == 'single-label'


def test_boxes_are_counted_in_detection():
    boxes = [dict(bbox_label=1, ignore_flag=0), dict(bbox_label=1), dict(bbox_label=0, ignore_flag=1)]
    statistics = count_labels([dict(gt_label=[0], instances=boxes), dict(instances=[])], 2, detection=True)
    assert (statistics.kind, statistics.positive.tolist(), statistics.ignored.tolist()) == ('detection', [0, 2], [1, 0])
    summary = statistics.summary()
    assert statistics.negative is None and summary['positive_negative_ratio'] is None
    assert (summary['share_ignored'], summary['labels_per_image']) == (0.3333, 1.0)


@pytest.mark.parametrize(
    'samples, detection, text',
    [
        ([], False, 'the training set has no image'),
        ([dict(gt_label=3)], False, 'expected class indices from 0 to 2, got 3 to 3'),
        ([dict(img_path='a')], False, r"expected samples with gt_score or gt_label, got \['img_path'\]"),
        ([dict(gt_label=0)], True, r"expected samples with instances, got \['gt_label'\]"),
    ],
)
def test_bad_input(samples, detection, text):
    with pytest.raises(ValueError, match=text):
        count_labels(samples, 3, detection)


def summary(ratio, **figures):
    return (
        dict(
            kind='multi-label',
            positive_negative_ratio=ratio,
            imbalance=2.0,
            rarest_class=7,
            share_of_images_without_label=0.0,
        )
        | figures
    )


def test_the_ladder_follows_the_statistics():
    names = [step['name'] for step in starting_ladder(summary(0.0376))]
    assert names == [
        'cross-entropy',
        'focal loss',
        'margin on cross-entropy',
        'asymmetric focusing',
        'margin on focal loss',
        'ASL',
        'adaptive ASL',
    ]
    mild = starting_ladder(summary(0.5))
    assert [step['name'] for step in mild] == [*names[:3], 'mild asymmetric focusing', 'adaptive ASL']
    assert mild[-2]['loss']['gamma_neg'] == 1.0 and 'one positive to 2.0 negatives' in mild[-2]['reason']
    reasons = {step['name']: step['reason'] for step in starting_ladder(summary(0.01, imbalance=99.0))}
    assert 'one positive to 100 negatives' in reasons['asymmetric focusing']
    assert 'rarest classes (7 images)' in reasons['asymmetric focusing']
    reasons = {
        step['name']: step['reason'] for step in starting_ladder(summary(0.01, share_of_images_without_label=0.2))
    }
    assert '20% of the images have no label at all' in reasons['margin on focal loss']


def test_the_reference_ignores_labels_and_is_cross_entropy_otherwise():
    import torch
    from mmpretrain.registry import MODELS

    reference = MODELS.build(starting_ladder(summary(0.01))[0]['loss'])
    pred, target = torch.tensor([[0.5, -1.0]], requires_grad=True), torch.tensor([[1.0, 0.0]])
    assert reference(pred, target, avg_factor=1).item() == pytest.approx(
        torch.nn.functional.binary_cross_entropy_with_logits(pred, target, reduction='sum').item()
    )
    reference(pred, -torch.ones(1, 2), avg_factor=1).backward()
    assert not pred.grad.any()


@pytest.mark.parametrize(
    'figures', [summary(0.01), summary(0.5), dict(kind='single-label', imbalance=80.0), dict(kind='detection')], ids=str
)
def test_every_loss_of_a_ladder_can_be_built(figures):
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import MODELS

    init_default_scope('mmdet' if figures['kind'] == 'detection' else 'mmpretrain')
    if figures['kind'] == 'detection':
        from mmdet.registry import MODELS
    for step in starting_ladder(figures):
        assert MODELS.build(step['loss']) is not None and step['reason']
