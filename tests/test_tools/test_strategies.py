"""FSDP, DeepSpeed and DDP on FlexibleRunner train what one process trains, and what cannot work is refused."""

import inspect
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, STRATEGIES

from mmasl.cli import checkpoints, preflight
from mmasl.models.losses import AdaptiveAsymmetricLoss
from tests.test_tools.test_many_processes import TEXTS, run_in_processes
from tests.test_tools.tool_runs import Refusals, load_main, write_config

pytestmark = pytest.mark.usefixtures('empty_folder')

main, evaluate = load_main('train'), load_main('test')
BASES = Path(__file__).parents[2] / 'configs/_base_/strategies'
# Decay of the recipes' kind, which asks for the dimensions of each parameter; a learning rate that is to be doubled;
# an epsilon that keeps Adam from making steps of rounding errors, and from undoing the clipping.
MORE = """
optim_wrapper = dict(
    optimizer=dict(type='Adam', lr=1e-3, eps=1e-3, weight_decay=0.1),
    paramwise_cfg=dict(bias_decay_mult=0.0, flat_decay_mult=0.0),
    clip_grad=dict(max_norm=0.1),
)
auto_scale_lr = dict(base_batch_size=2)
custom_hooks = [dict(type='mmasl.ProbabilityGapHook')]
visualizer['vis_backends'] = []
"""
ADAPTIVE = "custom_hooks += [dict(type='mmasl.AsymmetryHook', interval=1), dict(type='mmengine.SameState')]\n"
TASKS = {'adaptive': TEXTS['adaptive'] + MORE + ADAPTIVE, 'detection': TEXTS['detection'] + MORE}
# MMEngine does not scale the learning rate with DeepSpeed, and leaves clipping to it.
DEEPSPEED = """
optim_wrapper.update(type='DeepSpeedOptimWrapper')
optim_wrapper.pop('clip_grad')
optim_wrapper['optimizer'].update(lr=2e-3)
strategy = dict(gradient_clipping=0.1)
"""
ALONE = pytest.mark.skipif(preflight.has_accelerator(), reason='about machines without an accelerator')


@HOOKS.register_module()
class SameState(Hook):
    """Ends the process whose loss has come to another state than those of the other processes."""

    def after_train(self, runner):
        loss = next(m for m in runner.model.modules() if isinstance(m, AdaptiveAsymmetricLoss))
        states = [dict(loss.named_buffers())] * (dist.get_world_size() if dist.is_initialized() else 1)
        if dist.is_initialized():
            dist.all_gather_object(states, states[0])
        for name, value in states[0].items():
            assert value.dtype == torch.float64 and all(torch.equal(value, other[name]) for other in states), name


def load(path: str) -> dict:
    checkpoint = torch.load(path, weights_only=False)
    weights = checkpoint.get('state_dict', checkpoint.get('module'))  # DeepSpeed's name for it
    return {name.removeprefix('module.'): value for name, value in weights.items()}


def train_in_two(tmp_path, strategy: str, text: str, *more: str) -> None:
    base = f"_base_ = '{BASES / strategy}.py'\n" if strategy != 'ddp' else "runner_type = 'FlexibleRunner'\n"
    scale = [] if strategy == 'deepspeed' else ['--auto-scale-lr']
    config = write_config(tmp_path, base + text + (DEEPSPEED if strategy == 'deepspeed' else ''))
    argv = ['--work-dir', 'two', *scale, *more, '--cfg-options', 'train_dataloader.batch_size=2']
    run_in_processes([config, *argv], 2)


@ALONE
@pytest.mark.parametrize(
    ('strategy', 'task'),
    [('ddp', 'adaptive'), ('fsdp', 'adaptive'), ('fsdp', 'detection'), ('deepspeed', 'adaptive')],
)
def test_two_processes_train_what_one_trains(tmp_path, strategy, task):
    if strategy == 'deepspeed':
        pytest.importorskip('deepspeed')
    if strategy == 'fsdp' and 'priority' not in inspect.signature(torch.cpu.Stream.__init__).parameters:
        pytest.skip('FSDP of this torch needs an accelerator')
    config = write_config(tmp_path, TASKS[task])
    options = ['--cfg-options', 'train_dataloader.batch_size=4']
    assert main([config, '--work-dir', 'one', '--auto-scale-lr', *options]) == 0
    expected = load('one/epoch_2.pth')
    train_in_two(tmp_path, strategy, TASKS[task])
    last = 'two/epoch_2.pth' + ('/mp_rank_00_model_states.pt' if strategy == 'deepspeed' else '')
    weights = load(last)
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert value.dtype == weights[name].dtype
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, n=name: f'{n}: {text}')

    # Resuming repeats the second epoch to the last bit; the checkpoint is as good as that of one process.
    Path('two/epoch_2.pth').rename('whole')
    Path('two/last_checkpoint').write_text('two/epoch_1.pth')
    train_in_two(tmp_path, strategy, TASKS[task], '--resume')
    for name, value in load(last).items():
        assert torch.equal(value, weights[name]), name
    if strategy == 'fsdp':
        out = ['--out-item', 'metrics', '--out']
        assert (
            evaluate([config, last, *out, 'two.json']) == evaluate([config, 'one/epoch_2.pth', *out, 'one.json']) == 0
        )
        assert json.loads(Path('two.json').read_text()) == pytest.approx(json.loads(Path('one.json').read_text()))


def test_deepspeed_takes_the_keys_of_the_config():
    strategy = Config.fromfile(BASES / 'deepspeed.py').strategy
    known = inspect.signature(STRATEGIES.get(strategy.type)).parameters
    assert set(strategy) - {'type'} <= set(known)


@pytest.mark.parametrize(
    ('text', 'folders'),
    [('', False), ("runner_type = 'FlexibleRunner'", False)]
    + [(f"_base_ = '{BASES / name}.py'", True) for name in ('fsdp', 'deepspeed')],
)
def test_only_sharded_checkpoints_are_folders(tmp_path, text, folders):
    cfg = Config.fromfile(write_config(tmp_path, text))
    assert preflight.reads_folders(cfg) is folders
    Path('sharded').mkdir()
    if folders:
        assert checkpoints.read('sharded', 'load_from', of_strategy=folders) is None


def test_refusals(tmp_path, capsys, monkeypatch):
    refuse = Refusals('train', capsys)

    def said(strategy, more, *argv):
        return refuse(write_config(tmp_path, f"_base_ = '{BASES / strategy}.py'\n" + TASKS['adaptive'] + more), *argv)

    assert 'tools/dist_train.sh CONFIG GPUS' in said('fsdp', '')
    assert "set runner_type = 'FlexibleRunner'" in said('fsdp', "runner_type = 'Runner'\n")
    assert 'one shard of the weights with FSDPStrategy' in said('fsdp', "custom_hooks = [dict(type='EMAHook')]\n")
    if find_spec('deepspeed') is None:
        monkeypatch.setenv('RANK', '0')
        assert 'pip install "deepspeed==' in said('deepspeed', '', '--launcher', 'pytorch')
    monkeypatch.setattr(preflight, 'find_spec', lambda name: name)
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1))))
    with pytest.raises(preflight.UserError, match="set optim_wrapper.type='DeepSpeedOptimWrapper'"):
        preflight.check_deepspeed(cfg)
    cfg.merge_from_dict(dict(auto_scale_lr=dict(enable=True), optim_wrapper=dict(type='DeepSpeedOptimWrapper')))
    with pytest.raises(preflight.UserError, match='--auto-scale-lr: MMEngine scales nothing'):
        preflight.check_deepspeed(cfg)


def test_the_average_is_not_loaded_into_what_is_not_there(tmp_path, capsys):
    """FlexibleRunner loads the checkpoint before EMAHook has made its copy."""
    more = "runner_type = 'FlexibleRunner'\ncustom_hooks = [dict(type='EMAHook')]\n"
    torch.save({}, 'weights.pth')
    config = write_config(tmp_path, TEXTS['classification'] + more)
    expected = 'EMAHook cannot load a checkpoint with FlexibleRunner'
    assert expected in Refusals('train', capsys)(config, '--cfg-options', 'load_from=weights.pth')
    assert expected in Refusals('test', capsys)(config, 'weights.pth')
