import pickle

import numpy as np
import pytest
from mmdet.registry import DATASETS as DETECTION
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset

from mmasl.datasets import CocoMultiLabel, DigitScenes, Features, MissingLabels, VOCMultiLabel
from mmasl.engine.seeding import SeededDataset


class Labels(BaseDataset):
    """Samples without images: 1,000 sets of labels out of 20."""

    def load_data_list(self):
        return [dict(gt_label=[c for c in range(20) if (i * 7 + c * c) % 5 == 0]) for i in range(1000)]


class Single(BaseDataset):
    def load_data_list(self):
        return [dict(gt_label=i) for i in range(4)]


def coco(root, **kwargs):
    file = 'annotations/instances_train2014.json'
    return CocoMultiLabel(file, data_root=str(root), data_prefix='train2014', **kwargs)


def detection(root, pipeline=()):
    cfg = dict(type='CocoDataset', ann_file='annotations/instances_train2014.json', data_root=str(root))
    return DETECTION.build(dict(cfg, data_prefix=dict(img='train2014/'), pipeline=list(pipeline)))


def infos(dataset):
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def test_a_share_of_the_labels_is_missing_independently_for_each():
    whole, part = Labels(), MissingLabels(Labels(), missing_rate=0.4)
    kept = np.zeros((2, 20))
    for before, after in zip(whole, part, strict=True):
        assert set(after['gt_label']) <= set(before['gt_label'])
        kept[0, before['gt_label']] += 1
        kept[1, after['gt_label']] += 1
    assert kept[1].sum() / kept[0].sum() == pytest.approx(0.6, abs=0.01)
    share = (kept[1] / np.maximum(kept[0], 1))[kept[0] > 0]
    assert share.min() > 0.5 and share.max() < 0.7


def test_deterministic_in_seed_and_index():
    def labels(**kwargs):
        return [info['gt_label'] for info in infos(MissingLabels(Labels(), **kwargs))]

    first = labels(missing_rate=0.4, seed=1)
    dataset = MissingLabels(Labels(), missing_rate=0.4, seed=1)
    assert [dataset[index]['gt_label'] for index in range(999, -1, -1)][::-1] == first
    assert dataset[-1]['gt_label'] == first[-1]
    assert [info['gt_label'] for info in infos(pickle.loads(pickle.dumps(dataset)))] == first
    assert labels(missing_rate=0.4, seed=2) != first
    assert all(set(more) <= set(less) for more, less in zip(labels(missing_rate=0.6, seed=1), first, strict=True))


def test_nothing_is_missing_by_default():
    assert infos(MissingLabels(Labels())) == infos(Labels())
    assert MissingLabels(Labels(test_mode=True))[0] == Labels()[0]


def test_coco(miniature):
    root = miniature('coco')
    whole, part = coco(root), MissingLabels(coco(root), missing_rate=0.5)
    assert len(part) == len(whole) and part.metainfo == whole.metainfo
    lost = 0
    for index, (before, after) in enumerate(zip(infos(whole), infos(part), strict=True)):
        missing = set(before['gt_label']) - set(after['gt_label'])
        lost += len(missing)
        assert part.get_cat_ids(index) == after['gt_label']
        for size in ('small', 'medium', 'large'):
            assert set(after[f'gt_label_{size}']) == set(before[f'gt_label_{size}']) - missing
    assert lost > 5


def test_the_dense_target_of_voc_has_zeros_where_labels_are_missing(miniature):
    root = f'{miniature("voc")}/VOC2007'
    whole, part = (VOCMultiLabel(root, split='trainval', difficult='ignored') for _ in range(2))
    part = MissingLabels(part, missing_rate=0.5)
    lost = 0
    for before, after in zip(infos(whole), infos(part), strict=True):
        missing = sorted(set(before['gt_label']) - set(after['gt_label']))
        lost += len(missing)
        assert (after['gt_score'][missing] == 0).all()
        before['gt_score'][missing] = 0
        assert (after['gt_score'] == before['gt_score']).all()
    assert lost > 3


def test_features(tmp_path):
    target = np.ones((50, 4), np.float32)
    np.savez(tmp_path / 'a.npz', train_x=np.zeros((50, 3)), train_y=target, test_x=np.zeros((50, 3)), test_y=target)
    part = MissingLabels(Features(tmp_path / 'a.npz'), missing_rate=0.5)
    targets = [sample['targets'] for sample in part]
    assert [info['gt_score'].tolist() for info in infos(part)] == [target.tolist() for target in targets]
    assert 0.3 < sum(target.mean() for target in targets) / len(targets) < 0.7
    assert (part.dataset.targets == 1).all()


@pytest.mark.parametrize('unit', ['label', 'box'])
def test_boxes(miniature, unit):
    root = miniature('coco')
    load = [
        dict(type='LoadImageFromFile'),
        dict(type='mmdet.LoadAnnotations', with_bbox=True),
        dict(type='mmdet.PackDetInputs'),
    ]
    whole = detection(root)
    part = MissingLabels(detection(root, load), missing_rate=0.5, missing_unit=unit)
    alone = 0
    for index, before in enumerate(infos(whole)):
        after = part.get_data_info(index)['instances']
        assert all(box in before['instances'] for box in after)
        labels = part[index]['data_samples'].gt_instances.labels.tolist()
        assert labels == [box['bbox_label'] for box in after if not box['ignore_flag']]
        assert part.get_cat_ids(index) == [box['bbox_label'] for box in after]
        lost = [box for box in before['instances'] if box not in after]
        alone += len({box['bbox_label'] for box in lost} & set(labels))
    assert bool(alone) is (unit == 'box')


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(missing_rate=1), 'missing_rate must be a number from 0 to less than 1, got 1'),
        (dict(missing_rate=-0.1), 'missing_rate must be a number from 0 to less than 1, got -0.1'),
        (dict(missing_rate='0.4'), "missing_rate must be .*, got '0.4'"),
        (dict(missing_unit='image'), r"missing_unit must be one of \('label', 'box'\), got 'image'"),
        (dict(seed=-1), 'seed must be an integer from 0 to 4294967295, got -1'),
        (dict(missing_rate=0.4, missing_unit='box'), "missing_unit='box': Labels has no boxes to drop"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MissingLabels(Labels(), **kwargs)


def test_wrappers_go_around_it():
    for wrapped in (ConcatDataset([Labels(), Labels()]), RepeatDataset(Labels(), 2), MissingLabels(Labels())):
        with pytest.raises(ValueError, match=f'{type(wrapped).__name__} is a wrapper .* put MissingLabels inside'):
            MissingLabels(wrapped, missing_rate=0.4)
    part = MissingLabels(Labels(), missing_rate=0.4)
    cfg = dict(type=MissingLabels, dataset=dict(type=Labels), missing_rate=0.4)
    assert part[500]['gt_label'] != Labels()[500]['gt_label']
    for around in (ConcatDataset([cfg, cfg]), RepeatDataset(cfg, 2)):
        assert around[1500]['gt_label'] == part[500]['gt_label']


def test_a_pipeline_that_a_hook_exchanges_is_used():
    """MMDetection's PipelineSwitchHook sets it on the data set of the loader, which ExactResumeHook wraps."""
    part = MissingLabels(Labels(), missing_rate=0.4)
    labels = part[500]['gt_label']
    loaded = SeededDataset(part)
    loaded.pipeline = lambda info: ('switched', info['gt_label'])
    assert loaded[500] == part[500] == ('switched', labels)
    part.seed = 1
    assert part.seed == 1 and not hasattr(part.dataset, 'seed') and part[500] != ('switched', labels)


def test_data_sets_without_labels_to_drop():
    with pytest.raises(ValueError, match='Single has no labels to drop: expected a list .* got gt_label=0'):
        MissingLabels(Single(), missing_rate=0.4)
    with pytest.raises(ValueError, match='for training only, got 0.4 for a data set with test_mode=True'):
        MissingLabels(Labels(test_mode=True), missing_rate=0.4)
    with pytest.raises(ValueError, match='DigitScenes has loaded its boxes before its pipeline: it needs a missing_ra'):
        MissingLabels(DigitScenes(num_scenes=2), missing_rate=0.4)
