"""Every config is built and run for two iterations and an evaluation on a few images."""

import math
from pathlib import Path

import pytest
from mmengine import Config
from mmengine.runner import Runner

from mmasl.engine.check_model import check_model
from tests.test_configs.recipes import FOLDERS
from tests.test_configs.shrink import FAMILIES

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# those of the paper's classification experiments: test_recipes.py
PATHS = sorted(p for p in CONFIGS.rglob('*.py') if '_base_' not in p.parts and p.parent.name not in FOLDERS)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """The folder of the miniatures, each made by the first config that needs it."""
    return tmp_path_factory.mktemp('data')


def test_every_folder_has_a_way_to_be_made_small():
    assert {path.parent.name for path in PATHS} == set(FAMILIES)


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_two_iterations(path, tmp_path, data):
    cfg = Config.fromfile(path)
    FAMILIES[path.parent.name](cfg, data)
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = 1
    cfg.default_hooks.checkpoint = None
    cfg.work_dir = str(tmp_path)
    cfg.experiment_name = f'two_iterations_{path.stem}'
    cfg.log_level = 'WARNING'
    cfg.randomness = dict(seed=0)
    runner = Runner.from_cfg(cfg)
    check_model(runner.model)
    runner.train()
    assert runner.iter == 2
    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    metrics = runner.test()
    assert metrics and all(math.isfinite(value) for value in metrics.values())
