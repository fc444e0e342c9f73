"""What ``tools/train.py`` and ``tools/test.py`` share: config loading, and building the runner."""

import argparse
import os
from pathlib import Path
from types import TracebackType

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmasl.cli import checkpoints, preflight
from mmasl.cli.cfg_options import apply_cfg_options
from mmasl.cli.components import type_name, walk
from mmasl.cli.config_errors import code_at, config_errors, text_of, tracebacks
from mmasl.engine.check_model import check_model
from mmasl.errors import UserError, closest

REPOSITORY_CONFIGS = Path(__file__).parents[2] / 'configs'


def load_config(args: argparse.Namespace) -> Config:
    """Load the config with what the common arguments change in it."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    preflight.check_launcher(args.launcher)
    cfg = read_config(args.config)
    with config_errors(cfg):
        apply_cfg_options(cfg, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('./work_dirs', Path(args.config).stem)
    return cfg


def read_config(path: str) -> Config:
    """Read a config file; what is wrong with it is the user's to mend, so no error in it has a traceback."""
    file = Path(path).expanduser()
    if file.is_dir():
        raise UserError(f'{path} is a folder; give one of its configs')
    if not file.is_file():
        raise UserError(f'config {path} does not exist{near_configs(file)}')
    if file.suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise UserError(f'config {path} is neither .py nor .json nor .yaml')
    try:
        return Config.fromfile(file)
    except Exception as error:
        raise UserError(describe(error, file)) from error


def near_configs(file: Path) -> str:
    """Return the configs that were most probably meant by ``file``, as a question."""
    places = [(file.parent, '*.py'), (Path('configs'), '**/*.py'), (REPOSITORY_CONFIGS, '**/*.py')]
    for folder, pattern in places:
        found = {other.stem: str(other) for other in sorted(folder.glob(pattern)) if '_base_' not in other.parts}
        longer = [path for stem, path in found.items() if stem.startswith(file.stem)]
        near = closest(file.stem, found)
        if longer or near:
            return f'; did you mean {" or ".join(longer[:3] or [found[near]])}?'
    return ''


def describe(error: Exception, file: Path) -> str:
    """Return where in which config file ``error`` was raised, and what it says."""
    stack: list[TracebackType] = list(tracebacks(error))
    # Files of the chain of _base_, the one that was being read last.
    chain = [
        tb.tb_frame.f_locals['filename']
        for tb in stack
        if code_at(tb, 'mmengine/config/config.py') and 'filename' in tb.tb_frame.f_locals
    ]
    chain = list(dict.fromkeys(os.path.abspath(name) for name in [file, *chain]))
    if isinstance(error, SyntaxError):
        return f'{chain[-1]}, line {error.lineno}: {error.msg}'
    if isinstance(error, FileNotFoundError) and len(chain) > 1 and not os.path.exists(chain[-1]):
        return f'{chain[-2]}: its _base_ {os.path.normpath(chain[-1])} does not exist'
    lines = [tb.tb_lineno for tb in stack if tb.tb_frame.f_code.co_filename == chain[-1]]
    where = f'{chain[-1]}, line {lines[-1]}' if lines else chain[-1]
    return f'{where}: {type(error).__name__}: {text_of(error)}'


def set_dataloaders(cfg: Config, args: argparse.Namespace) -> None:
    """Give the data loaders the defaults that MMPretrain's configs count on, and what the arguments say."""
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:
            continue
        if cfg.get('default_scope') == 'mmpretrain':
            loader.setdefault('pin_memory', preflight.has_accelerator())
            loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
            loader.setdefault('collate_fn', ConfigDict(type='default_collate'))
        if args.no_pin_memory:
            loader.pin_memory = False
        if getattr(args, 'no_persistent_workers', False):
            loader.persistent_workers = False


def add_hook(cfg: Config, name: str) -> None:
    """Add the hook ``name`` of this package to the config, unless it has it."""
    hooks = list(cfg.get('custom_hooks') or [])
    if not any(type_name(hook['type']).split('.')[-1] == name for hook in hooks):
        cfg.custom_hooks = [*hooks, ConfigDict(type=f'mmasl.{name}')]


def keep_checkpoints_whole(cfg: Config) -> None:
    """Take our checkpoint hook where the config has MMEngine's, or none."""
    hooks = cfg.default_hooks = cfg.get('default_hooks') or ConfigDict()
    hook = hooks.setdefault('checkpoint', ConfigDict(type='CheckpointHook'))
    if hook is not None and type_name(hook.type) == 'CheckpointHook':
        hook.type = 'mmasl.SafeCheckpointHook'


def say(text: str) -> None:
    """Print ``text``, once however many processes there are."""
    ranks = (os.environ[name] for name in preflight.LAUNCHER_VARIABLES.values() if name in os.environ)
    if next(ranks, '0') == '0':
        print(text, flush=True)


def start_cpu_processes(cfg: Config) -> None:
    """Start the process group where there is no GPU: MMEngine would ask for one."""
    if cfg.launcher != 'pytorch' or preflight.has_accelerator():
        return
    torch.distributed.init_process_group('gloo')
    wrapper = ConfigDict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    wrapper.find_unused_parameters = cfg.get('find_unused_parameters', False)
    cfg.setdefault('model_wrapper_cfg', wrapper)
    if preflight.strategy_of(cfg) == 'DDPStrategy':
        cfg.strategy = {'type': 'DDPStrategy', 'model_wrapper': cfg.model_wrapper_cfg, **(cfg.get('strategy') or {})}


def build_runner(cfg: Config, checkpoint: dict | None = None, whole: bool = True) -> Runner:
    """Build the runner, and check that its heads fit their losses, and the ``checkpoint`` it will load its model."""
    start_cpu_processes(cfg)
    # FlexibleRunner takes these two only when they are there.
    cfg.setdefault('env_cfg', ConfigDict(dist_cfg={'backend': 'nccl'}))
    cfg.setdefault('randomness', ConfigDict(seed=None))
    runner = RUNNERS.build(cfg)  # of `runner_type`, or Runner
    built = isinstance(runner.model, torch.nn.Module)  # FlexibleRunner builds its model when it starts
    if built:
        check_model(runner.model)
    else:
        runner.register_hook(ConfigDict(type='mmasl.CheckModelHook'))
    if checkpoint is not None and built:
        checkpoints.check_fit(runner.model, checkpoint, cfg.load_from, whole)
    elif checkpoint is not None:
        runner.register_hook(checkpoints.CheckFit(cfg.load_from, whole))
    return runner


def enable_amp(cfg: Config) -> None:
    """Set mixed-precision training, for ``--amp``."""
    name = type_name(cfg.optim_wrapper.get('type', 'OptimWrapper'))
    plain = name.split('.')[-1] in ('OptimWrapper', 'AmpOptimWrapper') and 'optimizer' in cfg.optim_wrapper
    if not plain:
        what = name if 'type' in cfg.optim_wrapper else 'several optimizers'
        raise UserError(f'--amp changes OptimWrapper to AmpOptimWrapper, but optim_wrapper has {what}')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def enable_auto_scale_lr(cfg: Config) -> None:
    """Set the linear rule, for ``--auto-scale-lr``: lr × (processes × batch size) / base batch size."""
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if base is None:
        raise UserError(
            '--auto-scale-lr: the config does not say which batch size its learning rate is for; '
            'add --cfg-options auto_scale_lr.base_batch_size=...'
        )
    for path, node in walk(cfg.get('param_scheduler'), ('param_scheduler',)):
        if node.get('eta_max') is not None and 'OneCycle' in type_name(node.get('type', '')):
            raise UserError(
                f'--auto-scale-lr: {type_name(node["type"])} rises to {".".join(path)}.eta_max whatever the optimizer '
                'has; scale that by --cfg-options, or take mmasl.OneCycleLR without it'
            )
    cfg.auto_scale_lr.enable = True
