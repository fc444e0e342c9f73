"""Loads the config and builds the runner for ``tools/train.py`` and ``tools/test.py``."""

import argparse
import ast
import os
import traceback
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmasl.cli import checkpoints, preflight
from mmasl.cli.cfg_options import apply_cfg_options
from mmasl.cli.components import type_name, walk
from mmasl.cli.preflight import say  # noqa: F401  the tools call it cli.say
from mmasl.errors import UserError, closest

REPOSITORY_CONFIGS = Path(__file__).parents[2] / 'configs'


def load_config(args: argparse.Namespace) -> Config:
    """Load the config and apply the common arguments to it."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    preflight.check_launcher(args.launcher)
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('./work_dirs', Path(args.config).stem)
    return cfg


def read_config(path: str, cfg_options: dict | None = None) -> Config:
    """Read a config file, and apply the values of ``--cfg-options`` to it.

    Raises:
        UserError: If the file does not exist or cannot be read. The message has the file and the line. If a key of the
            options cannot be set.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise UserError(f'{path} is a folder; give one of its configs')
    if not file.is_file():
        raise UserError(f'config {path} does not exist{near_configs(file)}')
    if file.suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise UserError(f'config {path} is neither .py nor .json nor .yaml')
    files = config_files(file)
    try:
        cfg = Config.fromfile(file)
    except Exception as error:
        lines = [entry for entry in traceback.extract_tb(error.__traceback__) if entry.filename in files]
        where = f'{lines[-1].filename}, line {lines[-1].lineno}' if lines else path
        raise UserError(f'{where}: {type(error).__name__}: {error}') from error
    if cfg_options:
        apply_cfg_options(cfg, cfg_options)
    return cfg


def config_files(file: Path) -> list[str]:
    """Return the paths of a config and of all its base files.

    Raises:
        UserError: If one of them does not exist or is not valid Python.
    """
    files = [os.path.abspath(file)]
    text = file.read_text(encoding='utf-8')
    if file.suffix != '.py' or '{{' in text:  # not Python before MMEngine replaces these brackets
        return files
    try:
        statements = ast.parse(text).body
    except SyntaxError as error:
        raise UserError(f'{files[0]}, line {error.lineno}: {error.msg}') from error
    for name in named_bases(statements):
        base = Path(os.path.normpath(Path(files[0]).parent / name))
        if '::' in name:  # a config of another package
            continue
        if not base.is_file():
            raise UserError(f'{files[0]}: its _base_ {base} does not exist')
        files += config_files(base)
    return files


def named_bases(statements: list[ast.stmt]) -> list[str]:
    """Return the files in the ``_base_`` of a config's statements, or an empty list if it is computed."""
    for statement in statements:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], 'id', None) == '_base_':
            try:
                return preflight.as_list(ast.literal_eval(statement.value))
            except ValueError:
                return []
    return []


def near_configs(file: Path) -> str:
    """Return a question that proposes the configs closest to ``file``, or an empty string."""
    searches = [(file.parent, '*.py'), (Path('configs'), '**/*.py'), (REPOSITORY_CONFIGS, '**/*.py')]
    for folder, pattern in searches:
        found = {other.stem: str(other) for other in sorted(folder.glob(pattern)) if '_base_' not in other.parts}
        longer = [path for stem, path in found.items() if stem.startswith(file.stem)]
        near = closest(file.stem, found)
        if longer or near:
            return f'; did you mean {" or ".join(longer[:3] or [found[near]])}?'
    return ''


def set_dataloaders(cfg: Config, args: argparse.Namespace) -> None:
    """Give the data loaders the defaults that MMPretrain's configs assume, and apply the arguments."""
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
    """Add the hook ``name`` of this package to the config unless it is there."""
    hooks = list(cfg.get('custom_hooks') or [])
    if not any(type_name(hook['type']).split('.')[-1] == name for hook in hooks):
        cfg.custom_hooks = [*hooks, ConfigDict(type=f'mmasl.{name}')]


def use_safe_checkpoints(cfg: Config) -> None:
    """Use our checkpoint hook if the config has MMEngine's or none."""
    hooks = cfg.default_hooks = cfg.get('default_hooks') or ConfigDict()
    hook = hooks.setdefault('checkpoint', ConfigDict(type='CheckpointHook'))
    if hook is not None and type_name(hook.type) == 'CheckpointHook':
        hook.type = 'mmasl.SafeCheckpointHook'


def start_cpu_processes(cfg: Config) -> None:
    """Start the process group if there is no GPU, because MMEngine would require one."""
    if cfg.launcher != 'pytorch' or preflight.has_accelerator():
        return
    torch.distributed.init_process_group('gloo')
    wrapper = ConfigDict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    wrapper.find_unused_parameters = cfg.get('find_unused_parameters', False)
    cfg.setdefault('model_wrapper_cfg', wrapper)
    if preflight.strategy_of(cfg) == 'DDPStrategy':
        cfg.strategy = {'type': 'DDPStrategy', 'model_wrapper': cfg.model_wrapper_cfg, **(cfg.get('strategy') or {})}


def build_runner(cfg: Config, checkpoint: dict | None = None, complete: bool = True) -> Runner:
    """Build the runner, which compares the ``checkpoint`` with its model and its schedule when it loads it."""
    start_cpu_processes(cfg)
    # FlexibleRunner requires these two.
    cfg.setdefault('env_cfg', ConfigDict(dist_cfg={'backend': 'nccl'}))
    cfg.setdefault('randomness', ConfigDict(seed=None))
    runner = RUNNERS.build(cfg)  # `runner_type`, or Runner by default
    if checkpoint is not None:
        runner.register_hook(checkpoints.CheckCheckpoint(cfg.load_from, complete, bool(cfg.get('resume'))))
    return runner


def enable_amp(cfg: Config) -> None:
    """Turn on mixed-precision training for ``--amp``."""
    name = type_name(cfg.optim_wrapper.get('type', 'OptimWrapper'))
    plain = name.split('.')[-1] in ('OptimWrapper', 'AmpOptimWrapper') and 'optimizer' in cfg.optim_wrapper
    if not plain:
        what = name if 'type' in cfg.optim_wrapper else 'several optimizers'
        raise UserError(f'--amp changes OptimWrapper to AmpOptimWrapper, but optim_wrapper has {what}')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def enable_auto_scale_lr(cfg: Config) -> None:
    """Turn on the linear rule, if it is not on in the config: lr × (processes × batch size) / base batch size."""
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if base is None:
        raise UserError(
            '--auto-scale-lr (auto_scale_lr.enable): the config does not say which batch size its learning rate is '
            'for; add --cfg-options auto_scale_lr.base_batch_size=...'
        )
    for path, node in walk(cfg.get('param_scheduler'), ('param_scheduler',)):
        if node.get('eta_max') is not None and 'OneCycle' in type_name(node.get('type', '')):
            raise UserError(
                f'--auto-scale-lr (auto_scale_lr.enable): {type_name(node["type"])} rises to {".".join(path)}.eta_max '
                'whatever the optimizer has; scale that by --cfg-options, or take mmasl.OneCycleLR without it'
            )
    cfg.auto_scale_lr.enable = True
