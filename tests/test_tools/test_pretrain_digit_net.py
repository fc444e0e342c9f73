"""The weights of the ladder are what the script makes, and the script still makes them."""

from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.runner import Runner, load_checkpoint

from tests.test_tools.tool_runs import load_main

FOLDER = Path(__file__).resolve().parents[2] / 'configs' / 'digit_scenes'
CONFIG = FOLDER / 'digitnet_pt-1xb64_digitscenes-single-48px.py'
WEIGHTS = FOLDER / 'digitnet_digitscenes-single-48px.pth'
CHANCE = 100 / 80


def accuracy(weights, scenes, folder):
    """Top-1 accuracy of ``weights`` on single digits of the test split, whose handwriting no training has seen."""
    cfg = Config.fromfile(CONFIG)
    cfg.test_dataloader.dataset.update(split='test', num_scenes=scenes)
    cfg.work_dir = str(folder)
    cfg.experiment_name = f'accuracy_{folder.name}'
    runner = Runner.from_cfg(cfg)
    load_checkpoint(runner.model, str(weights), strict=True)
    return float(runner.test()['accuracy/top1'])


def test_stored_weights_are_small_and_weights_only():
    assert WEIGHTS.stat().st_size < 1_000_000
    content = torch.load(WEIGHTS, weights_only=True)
    assert set(content) == {'state_dict', 'meta'}
    assert all(value.dtype in (torch.float16, torch.int64) for value in content['state_dict'].values())


def test_stored_weights_read_unseen_handwriting(tmp_path):
    promised = torch.load(WEIGHTS, weights_only=True)['meta']['val_top1']
    assert promised > 75
    assert accuracy(WEIGHTS, 1000, tmp_path) == pytest.approx(promised, abs=6)  # other digits, binomial spread 1.2


def test_a_short_run_of_the_script_learns(tmp_path, capsys):
    """A twentieth of the full length: far from the stored weights, and far above chance."""
    options = [
        'train_dataloader.dataset.num_scenes=3000',
        'train_cfg.max_epochs=4',
        'val_dataloader.dataset.num_scenes=500',
    ]
    folders = ['--out', str(tmp_path / 'w.pth'), '--work-dir', str(tmp_path / 'run')]
    assert load_main('misc/pretrain_digit_net')([*folders, '--cfg-options', *options]) == 0
    assert 'on unseen handwriting' in capsys.readouterr().out
    stored = torch.load(WEIGHTS, weights_only=True)['state_dict']
    made = torch.load(tmp_path / 'w.pth', weights_only=True)['state_dict']
    assert {name: value.shape for name, value in made.items()} == {name: value.shape for name, value in stored.items()}
    assert accuracy(tmp_path / 'w.pth', 1000, tmp_path) > 5 * CHANCE
