"""Every config is built and run for two iterations and an evaluation on a few scenes."""

import math
from pathlib import Path

import pytest
from mmengine import Config
from mmengine.runner import Runner

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
PATHS = sorted(path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)


def shrink(cfg, scenes=8):
    """Two iterations on ``scenes`` scenes, whatever the config trains on."""
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.batch_size = scenes // 2
        loader.dataset.num_scenes = scenes
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = 1
    cfg.default_hooks.checkpoint = None


def test_there_are_configs():
    assert len(PATHS) >= 11


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_two_iterations(path, tmp_path):
    cfg = Config.fromfile(path)
    shrink(cfg)
    cfg.work_dir = str(tmp_path)
    cfg.experiment_name = f'two_iterations_{path.stem}'
    cfg.randomness = dict(seed=0)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    metrics = runner.test()
    assert metrics and all(math.isfinite(value) for value in metrics.values())
