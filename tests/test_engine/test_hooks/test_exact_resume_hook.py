"""A training that was interrupted and resumed ends bit by bit where the uninterrupted one ends."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from torch import nn

from mmasl.models.backbones import DigitNet
from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, load_main, write_config

main = load_main('train')


@MODELS.register_module()
class ForgetfulDigitNet(DigitNet):
    """With dropout behind every stage."""

    def forward(self, x):
        return tuple(nn.functional.dropout(feature, 0.5, self.training) for feature in super().forward(x))


@HOOKS.register_module()
class Interrupt(Hook):
    """Stops the process's training in the middle of an epoch, as Ctrl-C would."""

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, **kwargs):
        if runner.iter == self.at:
            raise KeyboardInterrupt


MORE = """
model['backbone'].update(type='mmengine.ForgetfulDigitNet')
{loss}.update(type='mmasl.AdaptiveAsymmetricLoss', step_size=0.1, adapt='both')
flipped = dict(scenes, pipeline=[dict(type='RandomFlip', prob=0.5), *scenes['pipeline']])
train_dataloader.update(dataset=dict(split='train', **flipped), batch_size=4)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.01))
param_scheduler = [dict(type='OneCycleLR', eta_max=0.01, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=2)
average = dict(type='EMAHook', momentum=0.1, update_buffers=True)
asymmetry = dict(type='mmasl.AsymmetryHook', interval=1)
custom_hooks = [average, asymmetry]
visualizer['vis_backends'] = []
"""
# What the data preprocessor draws, too.
MIXUP = "model['train_cfg'] = dict(augments=[dict(type='Mixup', alpha=0.8)])\n"
ITERATIONS = """
train_dataloader.update(sampler=dict(type='InfiniteSampler'))
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False)
train_cfg = dict(by_epoch=False, max_iters=7, val_interval=3)
default_hooks['checkpoint'].update(by_epoch=False, interval=3)
"""
# MMEngine's EMAHook does not resume with it.
FLEXIBLE = "runner_type = 'FlexibleRunner'\ncustom_hooks = [asymmetry]\n"
TASKS = {
    'classification': CLASSIFICATION + MORE.format(loss="model['head']['loss']") + MIXUP,
    'detection': DETECTION + MORE.format(loss="model['bbox_head']['loss_cls']"),
}
TASKS['iterations'] = TASKS['classification'] + ITERATIONS
TASKS['flexible'] = TASKS['classification'] + FLEXIBLE
INTERRUPTED = "custom_hooks.append(dict(type='mmengine.Interrupt', at={}))\n"


def assert_same(one, other, path):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same(one[key], other[key], f'{path}.{key}')
    elif isinstance(one, list):
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f'{path}.{number}')
    else:
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, path


def assert_same_training(one, other):
    """Weights, their moving average, optimizer, schedules, and the history of the training's scalars but the times."""
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        if key in one:
            assert_same(one[key], other[key], key)
    one, other = ({k: v.data[0] for k, v in c['message_hub']['log_scalars'].items()} for c in (one, other))
    for name in one:
        # A checkpoint is written before the validation of its epoch.
        assert name.endswith('time') or name.startswith('val/') or np.array_equal(one[name], other[name]), name


@pytest.mark.parametrize(
    ('task', 'at', 'options'),
    [
        ('classification', 5, ['randomness.seed=0']),
        ('classification', 5, ['randomness.seed=None', 'train_dataloader.num_workers=2']),
        ('classification', 6, ['train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=False']),
        ('iterations', 4, ['randomness.seed=None', 'train_dataloader.num_workers=2']),
        ('detection', 3, ['randomness.seed=None']),
        ('flexible', 5, ['randomness.seed=0']),
    ],
)
def test_resumed_is_uninterrupted(tmp_path, monkeypatch, task, at, options):
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, TASKS[task], INTERRUPTED.format(at))
    assert main([config, '--work-dir', 'wd', '--cfg-options', *options]) == 130
    assert Path('wd/last_checkpoint').exists()
    config = write_config(tmp_path, TASKS[task])
    assert main([config, '--work-dir', 'wd', '--resume', '--cfg-options', *options]) == 0
    resumed = torch.load(Path('wd/last_checkpoint').read_text(), weights_only=False)

    # The number of workers makes no difference either.
    options = [f'randomness.seed={resumed["meta"]["seed"]}']
    assert main([config, '--work-dir', 'whole', '--cfg-options', *options]) == 0
    whole = torch.load(Path('whole/last_checkpoint').read_text(), weights_only=False)
    assert_same_training(whole, resumed)
    for name in ('gamma_neg', 'delta_p'):  # the state of the loss has moved in every epoch
        assert len(set(whole['message_hub']['log_scalars'][f'train/{name}'].data[0])) > 4


def test_without_the_hook_it_is_another_training(tmp_path, monkeypatch):
    """That the test above can fail."""
    monkeypatch.setattr('mmasl.cli.run.add_hook', lambda *args: None)
    with pytest.raises(AssertionError, match='state_dict'):
        test_resumed_is_uninterrupted(tmp_path, monkeypatch, 'classification', 5, ['randomness.seed=0'])
