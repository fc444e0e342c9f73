"""The hook measures what the heads pass to their loss, and leaves the training as it is."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmasl.engine.hooks import ProbabilityGapHook, probability_gap_hook
from mmasl.errors import UserError
from mmasl.functional.probability_sums import probability_sums
from tests.test_integration.small_detectors import DETECTORS, batch, build, small_config
from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, forget_runs, last_log, write_config

pytestmark = pytest.mark.usefixtures('empty_folder')

NAMES = ('pt_pos', 'pt_neg', 'delta_p')
NO_EVALUATION = dict.fromkeys(
    f'{split}_{kind}' for split in ('val', 'test') for kind in ('cfg', 'dataloader', 'evaluator')
)


def train(tmp_path, text, name, hooks=(), **changes):
    cfg = Config.fromfile(write_config(tmp_path, text))
    cfg.merge_from_dict({**NO_EVALUATION, **changes, 'custom_hooks': list(hooks), 'work_dir': name})
    cfg.experiment_name = name
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.mark.parametrize('text', [CLASSIFICATION, DETECTION], ids=['classification', 'detection'])
def test_training_is_the_same_to_the_last_bit_and_the_scalars_are_logged(tmp_path, text):
    changes = {'train_dataloader.batch_size': 4, 'default_hooks.logger': dict(type='LoggerHook', interval=1)}
    plain = train(tmp_path, text, 'plain', **changes)
    backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    hook = dict(type='mmasl.ProbabilityGapHook')
    measured = train(tmp_path, text, 'measured', [hook], **{'visualizer.vis_backends': backends}, **changes)
    expected, found = plain.model.state_dict(), measured.model.state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected) and found.keys() == expected.keys()
    folder = last_log('measured') / 'vis_data'
    lines = [json.loads(line) for line in (folder / 'scalars.json').read_text().splitlines()]
    assert len(lines) == measured.iter > 1
    assert all(0 < line['pt_pos'] < 1 and 0 < line['pt_neg'] < 1 for line in lines)
    assert all(line['delta_p'] == pytest.approx(line['pt_pos'] - line['pt_neg']) for line in lines)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    assert [event.value for event in events.Scalars('delta_p')] == pytest.approx([line['delta_p'] for line in lines])
    assert not any(module._forward_pre_hooks for module in measured.model.modules())


class Net(nn.Module):
    """A head with a loss, as MMPretrain or MMDetection builds it."""

    def __init__(self, scope, name='loss_cls', **loss):
        super().__init__()
        init_default_scope(scope)
        from mmengine.registry import MODELS

        self.head = nn.Module()
        setattr(self.head, name, MODELS.build(loss))
        self.loss = getattr(self.head, name)


def gap_of(*arguments):
    """The scalars by Eq. 9 and 10."""
    positive, positives, negative, negatives = probability_sums(*arguments).sum(1).tolist()
    gap = positive / positives - negative / negatives
    return {'train/pt_pos': positive / positives, 'train/pt_neg': negative / negatives, 'train/delta_p': gap}


def measure(model, *calls, **arguments):
    """The scalars of one iteration in which the loss is called with each of ``calls``."""
    warnings = []
    logger = SimpleNamespace(warning=warnings.append)
    hub = MessageHub.get_instance('measure')
    runner = SimpleNamespace(model=model, message_hub=hub, logger=logger, train_dataloader=range(9), hooks=[])
    hook = ProbabilityGapHook(**{'interval': 1, **arguments})
    for point in ('before_run', 'before_train'):
        getattr(hook, point)(runner)
    hook.before_train_iter(runner, 0)
    for args, kwargs in calls:
        model.loss(*args, **kwargs)
    hook.after_train_iter(runner, 0)
    hook.after_train(runner)
    return {key: value.current() for key, value in runner.message_hub.log_scalars.items()}, warnings


PRED = 2 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
INDEX = torch.tensor([0, 4, 3, 4, 1, 4])  # 4: background
DENSE = torch.nn.functional.one_hot(INDEX, 5)[:, :4]
WEIGHT = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.5, 0.0])

# scope, config of the loss, what the head passes, what is to be measured
CALLS = {
    'CrossEntropyLoss': ('mmpretrain', dict(type='CrossEntropyLoss', use_sigmoid=True), (PRED, DENSE), (PRED, DENSE)),
    'FocalLoss': ('mmpretrain', dict(type='FocalLoss'), (PRED, DENSE), (PRED, DENSE)),
    'AsymmetricLoss': ('mmpretrain', dict(type='AsymmetricLoss'), (PRED, DENSE), (PRED, DENSE)),
    'ours': ('mmpretrain', dict(type='mmasl.AsymmetricLoss'), (PRED, DENSE), (PRED, DENSE)),
    'of probabilities': (
        'mmpretrain',
        dict(type='mmasl.AsymmetricLoss', activated=True),
        (PRED.sigmoid(), DENSE),
        (PRED, DENSE),
    ),
    'LabelSmoothLoss': (
        'mmpretrain',
        dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='multi_label', num_classes=4),
        (PRED, DENSE),
        (PRED, DENSE),
    ),
    'mmdet CrossEntropyLoss': (
        'mmdet',
        dict(type='CrossEntropyLoss', use_sigmoid=True),
        (PRED, INDEX.masked_fill(INDEX == 3, -100), WEIGHT),  # -100: its ignore_index
        (PRED, INDEX, WEIGHT),
    ),
    'mmdet FocalLoss': ('mmdet', dict(type='FocalLoss'), (PRED, INDEX, WEIGHT), (PRED, INDEX, WEIGHT)),
    'QualityFocalLoss': (
        'mmdet',
        dict(type='QualityFocalLoss'),
        (PRED, (INDEX, torch.rand(6)), WEIGHT),
        (PRED, INDEX, WEIGHT),
    ),
    'VarifocalLoss': ('mmdet', dict(type='VarifocalLoss'), (PRED, DENSE.float()), (PRED, DENSE)),
    'GHMC': ('mmdet', dict(type='GHMC'), (PRED, INDEX, WEIGHT), (PRED, INDEX, WEIGHT)),
}


@pytest.mark.parametrize('scope, loss, call, expected', CALLS.values(), ids=CALLS)
def test_what_the_head_passes_is_measured(scope, loss, call, expected):
    if loss['type'] == 'FocalLoss' and scope == 'mmdet':
        pytest.importorskip('mmcv.ops')
    found, _ = measure(Net(scope, **loss), (call, {}))
    assert found == pytest.approx(gap_of(*expected))


@pytest.mark.parametrize('name', DETECTORS)
def test_every_head_of_mmdetection_is_measured(name):
    model = build(small_config(name))
    MessageHub.get_instance('measure').update_info('epoch', 0)  # TOOD asks
    data = model.data_preprocessor(batch(), training=True)
    found, warnings = measure(model, ((data['inputs'], data['data_samples']), {}))
    assert not warnings and {key.rpartition('/')[2] for key in found} == set(NAMES)
    assert all(0 < value < 1 for key, value in found.items() if 'delta' not in key)


def test_calls_of_an_iteration_are_put_together_and_keywords_are_found():
    model = Net('mmdet', type='mmasl.AsymmetricLoss')
    levels = [((PRED[:2], INDEX[:2]), dict(avg_factor=1)), ((), dict(target=INDEX[2:], pred=PRED[2:]))]
    found, _ = measure(model, *levels)
    assert found == pytest.approx(gap_of(PRED, INDEX))


def test_nothing_is_logged_without_positives_in_evaluation_or_between_intervals():
    model = Net('mmpretrain', type='mmasl.AsymmetricLoss')
    assert measure(model, ((PRED, torch.zeros(6, 4)), {})) == ({}, [])
    for interval in (2, None):
        assert measure(model, ((PRED, DENSE), {}), interval=interval) == ({}, [])
    model.eval()
    found, warnings = measure(model, ((PRED, DENSE), {}))
    assert found == {} and warnings == ['ProbabilityGapHook: the heads did not call their classification loss']


def test_several_heads_are_told_apart_and_softmax_ones_left_out():
    model = nn.Module()
    model.rpn_head = Net('mmdet', type='mmasl.AsymmetricLoss').head
    model.bbox_head = Net('mmdet', type='CrossEntropyLoss').head
    model.loss = model.rpn_head.loss_cls
    assert set(measure(model, ((PRED, INDEX), {}))[0]) == {f'train/{name}' for name in NAMES}
    model.bbox_head = Net('mmdet', type='mmasl.AsymmetricLoss').head
    forget_runs()
    assert set(measure(model, ((PRED, INDEX), {}))[0]) == {f'train/rpn_head/{name}' for name in NAMES}
    forget_runs()
    one = measure(model, ((PRED, INDEX), {}), losses='rpn_head.loss_cls')[0]
    assert set(one) == {f'train/{name}' for name in NAMES}


@pytest.mark.parametrize(
    'arguments, error, text',
    [
        (
            {},
            UserError,
            'custom_hooks: ProbabilityGapHook measures sigmoid scores, and these losses do not say that they take any: '
            'model.head.loss.use_sigmoid (SoftmaxAsymmetricLoss)',
        ),
        (dict(losses='head.loss_module'), UserError, 'do not say that they take any: model.head.loss.use_sigmoid'),
        (dict(losses=['neck.loss']), UserError, "the model has no module 'neck.loss'; it has head.loss_module"),
        (dict(interval=0), ValueError, 'ProbabilityGapHook.interval must be an integer above 0, got 0'),
    ],
)
def test_a_head_without_sigmoid_scores_is_refused(arguments, error, text):
    model = Net('mmpretrain', 'loss_module', type='mmasl.SoftmaxAsymmetricLoss')
    with pytest.raises(error, match=re.escape(text)):
        measure(model, **arguments)


def test_a_model_without_a_classification_loss_is_refused():
    with pytest.raises(UserError, match='the model has no loss_cls or loss'):
        measure(nn.Linear(2, 2))


@pytest.mark.parametrize('limit', [-1.0, 1.0])
def test_a_validation_says_how_much_surer_training_positives_are(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(probability_gap_hook, 'LEARNED_BY_HEART', limit)
    evaluator = dict(type='mmasl.MultiLabelMetric')
    config = write_config(
        tmp_path, CLASSIFICATION, "custom_hooks = [dict(type='mmasl.ProbabilityGapHook', interval=1)]\n"
    )
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(dict(work_dir='validated', experiment_name=f'validated {limit}'))
    cfg.val_evaluator, cfg.test_evaluator = evaluator, evaluator
    runner = Runner.from_cfg(cfg)
    runner.train()
    line = json.loads((last_log('validated') / 'vis_data' / 'scalars.json').read_text().splitlines()[-1])
    trained = runner.message_hub.get_scalar('train/pt_pos').data[0]
    assert line['pt_pos_excess'] == pytest.approx(trained.mean() - line['multi-label/pt_pos'])
    log = next(last_log('validated').glob('*.log')).read_text()
    assert ('the model is surer of training positives' in log) == (limit < 0)


def test_interval_follows_the_logger_and_its_end_of_epoch(tmp_path):
    """Four iterations an epoch, the logger's interval being 3: it logs the third, and measured is the last one too."""
    changes = {'train_dataloader.batch_size': 4, 'default_hooks.logger': dict(type='LoggerHook', interval=3)}
    changes['train_cfg.max_epochs'] = 2
    runner = train(tmp_path, CLASSIFICATION, 'some', [dict(type='mmasl.ProbabilityGapHook')], **changes)
    assert len(runner.message_hub.get_scalar('train/delta_p').data[0]) == 4
    assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 8


def test_the_batch_is_that_of_all_processes(monkeypatch):
    other = probability_sums(PRED[1::2], DENSE[1::2]).sum(1)
    monkeypatch.setattr(probability_gap_hook, 'all_reduce', lambda sums: sums.add_(other))
    found, _ = measure(Net('mmengine', type='mmasl.AsymmetricLoss'), ((PRED[::2], DENSE[::2]), {}))
    assert found == pytest.approx(gap_of(PRED, DENSE))
