"""The check of the built model, in tools/train.py and as a hook for those who train without it."""

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmasl.errors import UserError
from tests.test_tools.tool_runs import DETECTION, Refusals, write_config

FORGOTTEN = DETECTION.replace('use_sigmoid=True, gamma_neg', 'gamma_neg')
MESSAGE = 'model.bbox_head.loss_cls.use_sigmoid=True is missing in the config: FCOSHead has 11 class channels for 10'


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('runner', ['Runner', 'FlexibleRunner'])
def test_train_refuses(tmp_path, capsys, runner):
    config = write_config(tmp_path, FORGOTTEN)
    refuse = Refusals('train', capsys)
    assert refuse(config, '--cfg-options', f'runner_type={runner}').startswith(MESSAGE)


@pytest.mark.parametrize('text', [FORGOTTEN, DETECTION], ids=['forgotten', 'written'])
def test_the_hook_speaks_before_the_first_iteration(tmp_path, text):
    cfg = Config.fromfile(write_config(tmp_path, text, "custom_hooks = [dict(type='mmasl.CheckModelHook')]\n"))
    cfg.merge_from_dict(dict(work_dir='work', val_cfg=None, val_dataloader=None, val_evaluator=None))
    cfg.merge_from_dict(dict(test_cfg=None, test_dataloader=None, test_evaluator=None))
    runner = Runner.from_cfg(cfg)
    if text == DETECTION:
        runner.train()
        assert runner.iter == 1
        return
    with pytest.raises(UserError, match=MESSAGE):
        runner.train()
    assert runner.iter == 0
