"""configs/_base_/schedules/asl_onecycle_41of80e.py is the authors' script: its optimizer, average and scaling."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner

from mmasl.models.backbones import DigitNet
from tests.test_configs.recipes import CONFIGS
from tests.test_tools.tool_runs import CLASSIFICATION, write_config

SCHEDULE = CONFIGS / '_base_' / 'schedules' / 'asl_onecycle_41of80e.py'


@pytest.fixture
def cfg():
    cfg = Config.fromfile(SCHEDULE)
    cfg.optim_wrapper.type = 'OptimWrapper'
    return cfg


def make_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(DigitNet(), torch.nn.Flatten(), torch.nn.Linear(128, 4))


def step(model, optimizer):
    loss = model[1:](model[0](torch.ones(2, 3, 16, 16))[-1]).square().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def test_the_optimizer_is_the_scripts(cfg):
    """Torch's Adam with two groups: L2 on weights, none on biases and 1-d parameters."""
    model, theirs = make_model(), make_model()
    ours = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    assert type(ours) is torch.optim.Adam
    groups = [dict(params=[], weight_decay=1e-4), dict(params=[], weight_decay=0.0)]
    for name, weight in theirs.named_parameters():
        groups[weight.ndim == 1 or name.endswith('.bias')]['params'].append(weight)
    assert [len(group['params']) for group in groups] == [7, 13]
    expected = torch.optim.Adam(groups, lr=1e-4)
    for _ in range(3):
        step(model, ours)
        step(theirs, expected)
    torch.testing.assert_close(dict(model.named_parameters()), dict(theirs.named_parameters()), rtol=0, atol=0)


def test_the_average_is_the_scripts_from_the_first_iteration_on(cfg):
    """decay 0.9997 over the whole state_dict; MMEngine starts it after the first iteration instead of before."""
    hook = cfg.custom_hooks[0]
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    average = ExponentialMovingAverage(model, momentum=hook.momentum, update_buffers=hook.update_buffers)
    expected = None
    for _ in range(4):
        step(model, optimizer)
        average.update_parameters(model)
        state = {k: v.double() for k, v in model.state_dict().items() if v.is_floating_point()}
        if expected is None:
            expected = copy.deepcopy(state)
        else:
            expected = {k: 0.9997 * expected[k] + 0.0003 * v for k, v in state.items()}
    assert any('running_mean' in name for name in expected)
    ours = {k: v.double() for k, v in average.module.state_dict().items() if v.is_floating_point()}
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('kind', 'peak'), [('mmasl.OneCycleLR', 1e-4 * 8 / 128), ('OneCycleLR', 1e-4)])
def test_scaling_the_lr_scales_the_cycle(cfg, kind, peak, tmp_path):
    """As --auto-scale-lr does; MMEngine's own scheduler overwrites the scaled lr."""
    run = Config.fromfile(write_config(tmp_path, CLASSIFICATION))
    run.update(optim_wrapper=cfg.optim_wrapper, auto_scale_lr=dict(enable=True, **cfg.auto_scale_lr))
    run.param_scheduler = cfg.param_scheduler
    run.param_scheduler[0].type = kind
    if kind == 'OneCycleLR':
        run.param_scheduler[0].eta_max = 1e-4
    run.work_dir = str(tmp_path)
    runner = Runner.from_cfg(run)
    runner.train()
    assert runner.optim_wrapper.param_groups[0]['max_lr'] == pytest.approx(peak)
