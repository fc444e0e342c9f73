"""What the hook writes, and the trace of a training that was killed, resumed, and is the uninterrupted one's."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmasl.engine.hooks import AsymmetryHook
from tests.test_faults.test_killed import in_child
from tests.test_tools.tool_runs import CLASSIFICATION, Refusals, last_log, load_main, write_config

pytestmark = pytest.mark.usefixtures('empty_folder')

main = load_main('train')

ADAPTIVE = """
train_dataloader.update(batch_size=4)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.01))
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=3)
custom_hooks = [
    dict(type='mmasl.AsymmetryHook', interval=1),
    dict(type='EMAHook', momentum=0.1, update_buffers=True),
]
default_hooks.update(logger=dict(type='LoggerHook', interval=1))
model['head'].update(loss=dict(type='mmasl.AdaptiveAsymmetricLoss', {}))
"""
TRAINING = CLASSIFICATION + ADAPTIVE.format("step_size=0.1, adapt='both'")


@HOOKS.register_module()
class Kill(Hook):
    """Ends the process as the kernel does where memory has run out."""

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, **kwargs):
        if runner.iter == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def checkpoint(work_dir):
    return torch.load(Path(work_dir, 'last_checkpoint').read_text(), weights_only=False)


def trace(state):
    history = state['message_hub']['log_scalars']
    return {name: history[f'train/{name}'].data[0] for name in ('gamma_neg', 'delta_p')}


def test_a_killed_and_resumed_training_has_the_trace_of_an_uninterrupted_one(tmp_path):
    killed = write_config(tmp_path, TRAINING, "custom_hooks.append(dict(type='mmengine.Kill', at=6))\n")
    assert in_child(lambda: main([killed, '--work-dir', 'wd'])) == -signal.SIGKILL
    assert Path('wd/last_checkpoint').read_text().endswith('epoch_1.pth')
    config = write_config(tmp_path, TRAINING)
    assert main([config, '--work-dir', 'wd', '--resume']) == 0
    assert main([config, '--work-dir', 'whole']) == 0
    resumed, whole = checkpoint('wd'), checkpoint('whole')
    for name, values in trace(whole).items():
        assert len(values) == 12 and len(set(values)) > 6 and np.array_equal(values, trace(resumed)[name])
    state = {name: value for name, value in whole['ema_state_dict'].items() if 'loss_module' in name}
    assert len(state) >= 3 and all(torch.equal(value, resumed['ema_state_dict'][name]) for name, value in state.items())


def test_what_it_writes(tmp_path):
    assert main([write_config(tmp_path, TRAINING), '--work-dir', 'wd', '--cfg-options', 'train_cfg.max_epochs=1']) == 0
    lines = [json.loads(line) for line in (last_log('wd') / 'vis_data/scalars.json').read_text().splitlines()]
    last = [line for line in lines if 'loss' in line][-1]
    state = checkpoint('wd')['ema_state_dict']
    assert [last[name] for name in ('gamma_neg', 'clip')] == [
        state[f'module.head.loss_module.{name}'].item() for name in ('gamma_neg', 'clip')
    ]
    assert last['gamma_neg'] != 2 and -1 < last['delta_p'] < 1


def test_beside_the_probability_gap_hook_there_is_one_gap_an_iteration(tmp_path):
    gap = "custom_hooks.append(dict(type='mmasl.ProbabilityGapHook', interval=1))\n"
    options = ['--no-validate', '--cfg-options', 'train_cfg.max_epochs=1']
    assert main([write_config(tmp_path, TRAINING, gap), '--work-dir', 'wd', *options]) == 0
    history = {name: buffer.data[0] for name, buffer in checkpoint('wd')['message_hub']['log_scalars'].items()}
    difference = history['train/pt_pos'] - history['train/pt_neg']
    assert len(history['train/gamma_neg']) == 4 and history['train/delta_p'] == pytest.approx(difference)


def test_a_model_without_the_loss_is_refused(tmp_path, capsys):
    config = write_config(tmp_path, CLASSIFICATION, "custom_hooks = [dict(type='mmasl.AsymmetryHook')]\n")
    message = Refusals('train', capsys)(config, '--work-dir', 'wd')
    assert message == 'mmasl.AsymmetryHook logs mmasl.AdaptiveAsymmetricLoss, which this model does not have'


def test_a_wrong_interval():
    with pytest.raises(ValueError, match='interval: expected an integer of at least 1, got 0'):
        AsymmetryHook(interval=0)
