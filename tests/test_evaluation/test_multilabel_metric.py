import inspect
import json

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmpretrain.evaluation import AveragePrecision
from mmpretrain.structures import DataSample

from mmasl.evaluation import MultiLabelMetric, multilabel_metric, multilabel_metrics

SCORES = torch.tensor([[0.9, 0.2, 0.6, 0.1], [0.6, 0.7, 0.2, 0.8], [0.4, 0.3, 0.8, 0.1], [0.1, 0.9, 0.7, 0.3]])
TARGETS = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0]])  # the last class has no positive


def evaluate(samples, dataset_meta=None, **kwargs):
    evaluator = Evaluator(dict(type='mmasl.MultiLabelMetric', **kwargs))
    evaluator.dataset_meta = dataset_meta
    for start in range(0, len(samples), 3):
        evaluator.process(samples[start : start + 3])
    return evaluator.evaluate(len(samples))


def samples(scores=SCORES, targets=TARGETS):
    return [
        DataSample().set_pred_score(score).set_gt_score(target) for score, target in zip(scores, targets, strict=True)
    ]


def test_a_threshold_for_each_class(tmp_path):
    one = evaluate(samples(), thr=0.75, topk=None)
    num_classes = SCORES.shape[1]
    assert evaluate(samples(), thr=[0.75] * num_classes, topk=None) == one
    (tmp_path / 'thr.json').write_text(json.dumps(dict(thr=[1.0] * num_classes)))
    assert evaluate(samples(), thr=str(tmp_path / 'thr.json'), topk=None)['multi-label/CR'] < one['multi-label/CR']
    with pytest.raises(ValueError, match=f'expected one number or {num_classes}, one for each class, got 1'):
        evaluate(samples(), thr=[0.5])


def test_values_by_hand():
    # Above 0.5: classes 0 and 2; 0, 1 and 3; 2; 1 and 2. True positives 1, 2, 2, 0 of 2, 2, 3, 1 predictions.
    result = evaluate(samples(), topk=None)
    cp, cr, op, recall = (1 / 2 + 1 + 2 / 3) / 3, (1 / 2 + 1 + 1) / 3, 5 / 8, 5 / 6
    pos, neg = (0.9 + 0.7 + 0.4 + 0.8 + 0.9 + 0.7) / 6, (0.2 + 0.6 + 0.1 + 0.6 + 0.2 + 0.8 + 0.3 + 0.1 + 0.1 + 0.3) / 10
    assert result == pytest.approx(
        {
            'multi-label/mAP': 100 * ((1 + 2 / 3) / 2 + 1 + 1) / 3,
            'multi-label/mAP_weighted': 100 * (2 * (1 + 2 / 3) / 2 + 2 * 1 + 2 * 1) / 6,
            'multi-label/CP': 100 * cp,
            'multi-label/CR': 100 * cr,
            'multi-label/CF1': 100 * 2 * cp * cr / (cp + cr),
            'multi-label/OP': 100 * op,
            'multi-label/OR': 100 * recall,
            'multi-label/OF1': 100 * 2 * op * recall / (op + recall),
            'multi-label/pt_pos': pos,
            'multi-label/pt_neg': 1 - neg,
            'multi-label/delta_p': pos + neg - 1,
        },
        rel=1e-6,
    )


def test_default_rows_and_options():
    names = ['CP', 'CR', 'CF1', 'OP', 'OR', 'OF1']
    extra = ['mAP', 'mAP_weighted', 'pt_pos', 'pt_neg', 'delta_p']
    expected = names + [f'top3_{name}' for name in names] + extra
    assert sorted(evaluate(samples(), prefix='x')) == sorted(f'x/{name}' for name in expected)

    result = evaluate(samples(), thr=0.75, topk=1, forced_topk=True)
    assert result['multi-label/top1_OP'] == 100 * 3 / 4  # every top label passes; the 0.8 of class 3 is wrong
    assert result['multi-label/forced_top1_OP'] == 100 * 3 / 4
    assert result['multi-label/OP'] == 100 * 3 / 4
    strict = evaluate(samples(), thr=0.85, topk=1, forced_topk=True)
    assert strict['multi-label/top1_OP'] == 100 and strict['multi-label/forced_top1_OP'] == 100 * 3 / 4


def test_upstream_agrees_without_ties():
    targets = TARGETS.clone()
    targets[:, 3] = torch.tensor([0, 0, 0, 1])
    targets[1, 0] = -1
    evaluator = Evaluator(AveragePrecision())
    evaluator.process(samples(targets=targets))
    expected = evaluator.evaluate(4)['multi-label/mAP']
    assert evaluate(samples(targets=targets))['multi-label/mAP'] == pytest.approx(expected, rel=1e-6)


def test_label_lists_and_scores_are_the_same():
    labelled = [
        DataSample().set_pred_score(s).set_gt_label(t.nonzero()[:, 0]) for s, t in zip(SCORES, TARGETS, strict=True)
    ]
    assert evaluate(labelled) == evaluate(samples()) == evaluate(samples(SCORES.double(), TARGETS.bool()))
    labelled[0].set_gt_label(torch.tensor([0, 0]))  # a repeated index is one label
    assert evaluate(labelled) == evaluate(samples())
    labelled.append(DataSample().set_pred_score(SCORES[0]).set_gt_label(torch.tensor([], dtype=torch.long)))
    nothing = torch.zeros(1, 4, dtype=torch.long)
    assert evaluate(labelled) == evaluate(samples(torch.cat([SCORES, SCORES[:1]]), torch.cat([TARGETS, nothing])))


def test_ignored_targets_are_left_out():
    targets = TARGETS.clone().float()
    targets[0, 2] = targets[1, 0] = -1
    wild = SCORES.clone()
    wild[0, 2], wild[1, 0] = 0.0, 1.0
    result = evaluate(samples(targets=targets))
    assert result == evaluate(samples(wild, targets))
    assert result['multi-label/OP'] == pytest.approx(100 * 5 / 6)
    assert result['multi-label/mAP'] == 100


def test_stored_rows_are_small():
    metric = MultiLabelMetric()
    scores = SCORES.bfloat16().requires_grad_()
    metric.process(None, [sample.to_dict() for sample in samples(scores)])
    assert len(metric.results) == 4
    for score, target in metric.results:
        assert (score.dtype, target.dtype, score.shape) == (np.float32, np.int8, (4,))
    metric.process(None, [])
    assert len(metric.results) == 4


def test_per_class(monkeypatch):
    lines = []
    monkeypatch.setattr(multilabel_metric, 'print_log', lambda text, logger: lines.append(text))
    ap = multilabel_metrics(SCORES.numpy(), TARGETS.numpy())['AP']

    def classwise(classes=None):
        meta = {'classes': classes} if classes else None
        result = evaluate(samples(), meta, per_class=True)
        return {key.split('/AP_')[1]: value for key, value in result.items() if '/AP_' in key}

    for classes, keys in [
        (['cat', 'dog', 'cow', 'bat'], ['cat', 'dog', 'cow', 'bat']),
        (None, ['0', '1', '2', '3']),
        (('cat', 'dog', 'cat', 'bat'), ['cat_0', 'dog', 'cat_2', 'bat']),
    ]:
        result = classwise(classes)
        assert list(result) == keys
        np.testing.assert_array_equal(list(result.values()), ap)
    assert np.isnan(ap[3])
    result = evaluate(samples(), None, per_class=True)
    for name, values in multilabel_metrics(SCORES.numpy(), TARGETS.numpy())['class_gap'].items():
        np.testing.assert_array_equal([result[f'multi-label/{name}_{c}'] for c in range(4)], values)
    assert lines == ['1 of 4 classes have no positive target: left out of mAP, CP and CR'] * 4
    with pytest.raises(ValueError, match=r"dataset_meta\['classes'\]: expected 4 names, got 2"):
        classwise(['cat', 'dog'])


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmasl', 'mmengine'])
def test_built_in_every_scope(scope):
    with DefaultScope.overwrite_default_scope(scope):
        assert isinstance(Evaluator({'type': 'mmasl.MultiLabelMetric'}).metrics[0], MultiLabelMetric)


def test_defaults_are_those_of_the_function():
    ours, theirs = (inspect.signature(f).parameters for f in (MultiLabelMetric, multilabel_metrics))
    for name in ('thr', 'topk', 'forced_topk'):
        assert ours[name].default == theirs[name].default


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({'thr': 1.5}, r'thr: expected numbers in \[0, 1\], got \[1.5\]'),
        ({'topk': 0}, 'topk: expected an integer above 0 or None, got 0'),
        ({'topk': 2.5}, 'topk: expected an integer above 0 or None, got 2.5'),
        ({'topk': None, 'forced_topk': True}, 'forced_topk: expected a topk with it, got topk=None'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MultiLabelMetric(**arguments)


SCORE = torch.tensor([0.2, 0.3])


@pytest.mark.parametrize(
    'sample, message',
    [
        ({'gt_score': SCORE}, r"data_samples: expected the key 'pred_score', got \['gt_score'\]"),
        ({'pred_score': SCORE}, "data_samples: expected the key 'gt_score' or 'gt_label'"),
        ({'pred_score': SCORE, 'gt_score': torch.ones(3)}, r'gt_score: expected the shape \(2,\), got \(3,\)'),
        ({'pred_score': torch.ones(2, 2), 'gt_score': SCORE}, r'pred_score: expected the shape \(2,\), got \(2, 2\)'),
        ({'pred_score': 10 * SCORE, 'gt_score': SCORE}, r'probabilities in \[0, 1\], got values from 2.0 to 3.0'),
        ({'pred_score': SCORE * np.nan, 'gt_score': SCORE}, r'probabilities in \[0, 1\], got values from nan'),
        ({'pred_score': SCORE, 'gt_score': SCORE}, r'gt_score: expected 0, 1 or -1 \(ignored\), got 0.2'),
        ({'pred_score': SCORE, 'gt_label': torch.tensor([2])}, r'gt_label: expected class .* 0 to 1, got \[2\]'),
    ],
)
def test_bad_samples(sample, message):
    with pytest.raises(ValueError, match=message):
        MultiLabelMetric().process(None, [sample])


def test_samples_of_another_length_and_no_sample():
    metric = MultiLabelMetric()
    metric.process(None, [{'pred_score': SCORE, 'gt_label': torch.tensor([0])}])
    with pytest.raises(ValueError, match=r'pred_score: expected the shape \(2,\), got \(3,\)'):
        metric.process(None, [{'pred_score': torch.ones(3), 'gt_label': torch.tensor([0])}])
    with pytest.raises(ValueError, match='results: expected at least one sample, got none'):
        MultiLabelMetric().evaluate(0)


WORLD = 2


def sample(i):
    generator = torch.Generator().manual_seed(i)
    scores = torch.rand(6, generator=generator)
    return {'pred_score': scores, 'gt_score': torch.randint(-1, 2, (6,), generator=generator)}


def worker(rank, folder):
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=WORLD)
    results = []
    for collect_device, collect_dir in (('cpu', f'{folder}/gather'), ('gpu', None)):
        metric = MultiLabelMetric(topk=2, collect_device=collect_device, collect_dir=collect_dir)
        # The sampler deals 21 samples out in turn and repeats the first to fill the last place.
        metric.process(None, [sample(i % 21) for i in range(rank, 22, WORLD)])
        results.append(metric.evaluate(21))
    torch.save(results, f'{folder}/rank{rank}')
    dist.barrier()  # with torch 2.1, a process that leaves early can block the other one
    dist.destroy_process_group()


def test_two_processes_report_what_one_does(tmp_path):
    metric = MultiLabelMetric(topk=2)
    metric.process(None, [sample(i) for i in range(21)])
    expected = metric.evaluate(21)
    mp.spawn(worker, (str(tmp_path),), WORLD)
    for rank in range(WORLD):
        assert torch.load(tmp_path / f'rank{rank}') == [expected, expected]
