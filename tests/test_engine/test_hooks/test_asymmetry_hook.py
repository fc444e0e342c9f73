"""What the hook writes, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch

from mmasl.engine.hooks import AsymmetryHook
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
model['head'].update(loss=dict(type='mmasl.AdaptiveAsymmetricLoss', step_size=0.1, adapt='both'))
"""
TRAINING = CLASSIFICATION + ADAPTIVE


def checkpoint(work_dir):
    return torch.load(Path(work_dir, 'last_checkpoint').read_text(), weights_only=False)


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
