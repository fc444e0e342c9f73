"""Checks before the run: everything that the config and the command line name must exist and fit."""

import os
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.device import is_cuda_available, is_mlu_available, is_musa_available, is_npu_available

from mmasl.cli.cfg_options import EVERYWHERE, UNTYPED, check_settings, known_keys
from mmasl.cli.check_annotations import check_annotations, check_evaluator
from mmasl.cli.components import (
    find_component,
    is_ours,
    is_placed,
    parameters,
    registry_at,
    type_name,
    unknown_type,
    walk,
)
from mmasl.errors import UserError, did_you_mean
from mmasl.evaluation.thresholds import read_thresholds

OPENMMLAB = {'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmasl'}
NEEDED = {
    'train': ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'),
    'test': ('model', 'test_dataloader', 'test_cfg', 'test_evaluator'),
}
SETTINGS = ('default_hooks', 'custom_hooks', 'visualizer', 'model')
# Keys of the model whose dicts a registry builds as they are.
MODEL_PARTS = ('model', 'data_preprocessor', 'backbone', 'neck', 'head', 'bbox_head', 'loss', 'loss_cls', 'loss_bbox')
READ = {
    'train': (*SETTINGS, 'train_dataloader', 'val_dataloader', 'val_evaluator', 'optim_wrapper', 'param_scheduler'),
    'test': (*SETTINGS, 'test_dataloader', 'test_evaluator'),
}
# The data sets of this package have a class attribute `how_to_get` instead.
HOW_TO_GET = {
    'CocoDataset': 'https://cocodataset.org/#download (train2017, val2017 and annotations, unpacked side by side)',
    'VOC': 'http://host.robots.ox.ac.uk/pascal/VOC (unpack VOCdevkit)',
    'VOCDataset': 'http://host.robots.ox.ac.uk/pascal/VOC (unpack VOCdevkit)',
    'ImageNet': 'https://image-net.org/download.php',
}
SHARDED = ('FSDPStrategy', 'DeepSpeedStrategy')
DEEPSPEED = 'deepspeed==0.16.9'  # this version was run; 0.19 has moved modules that MMEngine imports
LAUNCHER_VARIABLES = {'pytorch': 'RANK', 'mpi': 'OMPI_COMM_WORLD_RANK', 'slurm': 'SLURM_PROCID'}


def check_sections(cfg: Config, job: str) -> None:
    """Raise if ``cfg`` has a misspelt setting or lacks a section that ``job`` ('train' or 'test') needs."""
    check_settings(cfg)
    missing = [key for key in NEEDED[job] if cfg.get(key) is None]
    if missing:
        raise UserError(
            f'{cfg.filename} has no {", ".join(missing)}: it is a part of a config, or not one to {job} with'
        )
    for split in ('val', 'test'):
        parts = [f'{split}_{part}' for part in ('dataloader', 'cfg', 'evaluator')]
        absent = [key for key in parts if cfg.get(key) is None]
        if 0 < len(absent) < 3:
            there = ', '.join(key for key in parts if key not in absent)
            raise UserError(f'{cfg.filename} has {there}, but no {", ".join(absent)}: they go together')


def check_typed(cfg: Config) -> None:
    """Raise if a hook, a scheduler or the optimizer has no type, because the tools read it before MMEngine does."""
    nodes = {f'default_hooks.{name}': hook for name, hook in (cfg.get('default_hooks') or {}).items() if hook}
    for key in ('custom_hooks', 'param_scheduler'):
        entries = cfg.get(key) or []
        if isinstance(entries, list | tuple):
            nodes |= {f'{key}.{number}': entry for number, entry in enumerate(entries)}
        elif key == 'custom_hooks':
            raise UserError(f'{key}: expected a list of dicts, got {entries}')
        elif not all(isinstance(entry, dict) for values in entries.values() for entry in as_list(values)):
            nodes[key] = entries  # otherwise it is a dict with the schedulers of each optimizer
    if 'optimizer' in (cfg.get('optim_wrapper') or {}):
        nodes['optim_wrapper.optimizer'] = cfg.optim_wrapper.optimizer
    for key, node in nodes.items():
        if not isinstance(node, dict) or 'type' not in node:
            raise UserError(f'{key}: expected a dict with a type, got {node}')


def as_list(value) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


def check_scope(cfg: Config) -> None:
    """Raise if the package of the config's default scope is not installed."""
    scope = cfg.get('default_scope')
    if scope is not None and find_spec(scope) is None:
        install = '; python -m mmasl.check_env says how to install it'
        hint = install if scope in OPENMMLAB else did_you_mean(scope, OPENMMLAB)
        raise UserError(f"default_scope: there is no package '{scope}'{hint}")


def check_launcher(launcher: str) -> None:
    """Raise if ``launcher`` did not start the processes."""
    variable = LAUNCHER_VARIABLES.get(launcher)
    if variable and variable not in os.environ:
        starter = {'pytorch': 'torchrun', 'slurm': 'srun', 'mpi': 'mpirun'}[launcher]
        raise UserError(f'--launcher {launcher}: {variable} is not set; start this command through {starter}')


def strategy_of(cfg: Config) -> str | None:
    """Return the name of FlexibleRunner's strategy, or None for another runner."""
    if cfg.get('runner_type') != 'FlexibleRunner':
        return None
    default = 'SingleDeviceStrategy' if cfg.get('launcher', 'none') == 'none' else 'DDPStrategy'
    return type_name((cfg.get('strategy') or {'type': default})['type']).split('.')[-1]


def reads_folders(cfg: Config) -> bool:
    """Return whether a checkpoint of the config's strategy may be a folder."""
    return strategy_of(cfg) not in (None, 'SingleDeviceStrategy', 'DDPStrategy')


def check_strategy(cfg: Config) -> None:
    """Raise if the config's ``strategy`` would be ignored, cannot start, or would write broken checkpoints."""
    name = strategy_of(cfg)
    if name is None:
        if cfg.get('strategy') is not None:
            raise UserError("strategy: no runner but FlexibleRunner reads it; set runner_type = 'FlexibleRunner'")
        return
    hooks = [type_name(hook['type']).split('.')[-1] for hook in cfg.get('custom_hooks') or []]
    if 'EMAHook' in hooks and name in SHARDED:
        raise UserError(f'custom_hooks: EMAHook would write one shard of the weights with {name}; leave it out')
    if 'EMAHook' in hooks and cfg.get('load_from'):
        raise UserError(
            'custom_hooks: EMAHook cannot load a checkpoint with FlexibleRunner, which loads before the hook is ready; '
            "set runner_type = 'Runner'"
        )
    if name not in SHARDED:
        return
    if cfg.launcher == 'none':
        raise UserError(f'strategy: {name} needs processes to spread over; start with tools/dist_train.sh CONFIG GPUS')
    if name == 'DeepSpeedStrategy':
        check_deepspeed(cfg)


def check_deepspeed(cfg: Config) -> None:
    """Raise if DeepSpeed is missing or the config has settings that it would ignore."""
    if find_spec('deepspeed') is None:
        raise UserError(f'strategy: DeepSpeedStrategy needs the package deepspeed: pip install "{DEEPSPEED}"')
    if type_name(cfg.optim_wrapper.get('type', 'OptimWrapper')).split('.')[-1] != 'DeepSpeedOptimWrapper':
        raise UserError(
            "strategy: DeepSpeedStrategy steps through its own wrapper; set optim_wrapper.type='DeepSpeedOptimWrapper' "
            '(gradient_clipping and fp16 or bf16 are keys of the strategy)'
        )
    if (cfg.get('auto_scale_lr') or {}).get('enable'):
        raise UserError(
            '--auto-scale-lr: MMEngine scales nothing with DeepSpeedStrategy; set optim_wrapper.optimizer.lr'
        )


def has_accelerator() -> bool:
    """Return whether MMEngine finds a device for mixed precision."""
    return is_cuda_available() or is_npu_available() or is_mlu_available() or is_musa_available()


def check_amp(cfg: Config) -> None:
    """Raise if the config asks for mixed precision and there is no device for it."""
    if type_name(cfg.optim_wrapper.get('type', '')).endswith('AmpOptimWrapper') and not has_accelerator():
        raise UserError(
            '--amp (optim_wrapper.type=AmpOptimWrapper) needs a GPU or another accelerator, and torch finds none here: '
            'leave --amp out, and where the config has it: --cfg-options optim_wrapper.type=OptimWrapper'
        )


def check_components(cfg: Config, job: str) -> None:
    """Raise if no registry has a ``type``, or if a dict has a key that nothing would read."""
    nodes = [found for field in dict.fromkeys((*READ[job], *UNTYPED)) for found in walk(cfg.get(field), (field,))]
    if cfg.get('runner_type'):
        nodes.insert(0, (('runner_type',), {'type': cfg.runner_type}))
    for path, node in nodes:
        scope, where = node.get('_scope_', cfg.get('default_scope')), '.'.join(path)
        component = find_component(node['type'], scope, path) if 'type' in node else None
        if 'type' in node and component is None and (is_placed(path) or path[-1] in MODEL_PARTS):
            raise UserError(unknown_type(node['type'], registry_at(path, scope), where))
        check_arguments(node, scope, path)
        if component is not None and is_ours(component) and 'loss' in path[-1]:
            check_loss(component, node, where)


def check_arguments(node: dict, scope: str | None, path: tuple[str, ...]) -> None:
    """Raise if the dict at ``path`` has a key that its component does not take."""
    known, closed, _ = known_keys(node, scope, path)
    unknown = [key for key in node if key not in known | EVERYWHERE] if closed else []
    if unknown:
        what = f'{type_name(node["type"])} takes' if 'type' in node else 'there is'
        raise UserError(
            f"{'.'.join(path)}: {what} no argument '{unknown[0]}'{did_you_mean(unknown[0], known)} "
            '(where the dict of an inherited config has it, write _delete_=True in the dict that replaces it)'
        )


def check_loss(loss: Callable, node: dict, where: str) -> None:
    """Raise if a loss of this package refuses an argument, by building it once, which is cheap."""
    arguments = {key: value for key, value in node.items() if key not in EVERYWHERE}
    try:
        loss(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f'{where} ({loss.__name__}): {error}') from error


def check_data(cfg: Config, job: str) -> None:
    """Raise if a folder or an annotation file of ``job`` does not exist or cannot be read."""
    splits = ['test'] if job == 'test' else ['train', 'val'] if cfg.get('val_dataloader') else ['train']
    to_read = []
    for field in (f'{split}_dataloader' for split in splits):
        for path, node in walk(cfg[field], (field,)):
            is_dataset = path[-1] == 'dataset' or (len(path) > 1 and path[-2] == 'datasets')
            if is_dataset and 'type' in node and node.get('backend_args') is None:
                to_read.append((check_dataset(cfg, node, path), node, '.'.join(path)))
    evaluators = []
    for field in (f'{split}_evaluator' for split in splits):
        for path, node in walk(cfg.get(field), (field,)):
            name = type_name(node.get('type', 'metric'))
            if 'thr' in node and is_ours(find_component(node['type'], cfg.get('default_scope'), path)):
                check_thresholds(cfg, node['thr'], f'{".".join(path)}.')
            check_exists(cfg, node.get('ann_file'), (*path, 'ann_file'), name)
            if name.split('.')[-1] == 'CocoMetric' and is_local(node.get('ann_file')):
                evaluators.append((node['ann_file'], '.'.join(path)))
    # Reading takes time, so it comes after all checks of existence.
    to_read = [entry for entry in to_read if entry[0] is not None]
    for dataset, node, key in to_read:
        left_out = check_annotations(dataset, node, key)
        if left_out:
            say(left_out)
    for file, path in evaluators:
        split = path.split('_')[0]
        check_evaluator(file, path, [entry for entry in to_read if entry[2].startswith(f'{split}_')])


def check_thresholds(cfg: Config, thr: float | str | list[float], where: str) -> float | list[float]:
    """Return the threshold, or one for each class of the model; raise if ``thr``, set at ``where``, has neither."""
    model = cfg.model.get('module', cfg.model)  # --tta wraps the model
    try:
        return read_thresholds(thr, (model.get('head') or {}).get('num_classes'))
    except ValueError as error:
        raise UserError(f'{where}{error}') from error


def check_dataset(cfg: Config, node: dict, path: tuple[str, ...]) -> type[BaseDataset] | None:
    """Raise if the data root, the annotation file or an image folder of one data set does not exist.

    Returns:
        The class of the data set, or None if these arguments may have another meaning for it.
    """
    dataset = find_component(node['type'], node.get('_scope_', cfg.get('default_scope')), path)
    if dataset is None or ('download' in parameters(dataset)[0] and node.get('download', True)):
        return None
    name = type_name(node['type']).split('.')[-1]
    how = getattr(dataset, 'how_to_get', HOW_TO_GET.get(name, ''))
    root = node.get('data_root') or ''
    check_exists(cfg, root, (*path, 'data_root'), name, how)
    if '://' in root or not (isinstance(dataset, type) and issubclass(dataset, BaseDataset)):
        return None
    prefix = node.get('data_prefix')
    prefixes = (
        {f'data_prefix.{k}': v for k, v in prefix.items()} if isinstance(prefix, dict) else {'data_prefix': prefix}
    )
    for key, part in {'ann_file': node.get('ann_file'), **prefixes}.items():
        if is_local(part):
            check_exists(cfg, os.path.join(root, part), (*path, key), name, how)
    return dataset


def say(text: str) -> None:
    """Print ``text`` from the first process only."""
    ranks = (os.environ[name] for name in LAUNCHER_VARIABLES.values() if name in os.environ)
    if next(ranks, '0') == '0':
        print(text, flush=True)


def is_local(path) -> bool:
    """Return whether ``path`` is a path in the file system and not a URL or an object store."""
    return isinstance(path, str) and path != '' and '://' not in path


def check_exists(cfg: Config, file, path: tuple[str, ...], name: str, how: str = '') -> None:
    """Raise if ``file`` is a local path that does not exist."""
    if not is_local(file) or Path(file).exists():
        return
    key = '.'.join(path)
    # One option changes all paths if the config file made them from one variable.
    option = 'data_root' if cfg.get('data_root') and file.startswith(cfg.data_root) else key
    raise UserError(
        f'{name}: {file} does not exist (config key {key}); put the data there'
        + (f' ({how})' if how else '')
        + f' or say where it is: --cfg-options {option}=...'
    )


def check_folder(folder: str, flag: str) -> None:
    """Raise if ``folder``, the value of ``flag``, cannot be created or is not writable."""
    name = f'the {"work directory" if flag == "--work-dir" else "folder"} {folder}'
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise UserError(f'{name} cannot be made ({error.strerror}); choose another with {flag}') from error
    try:
        # os.access grants root everything, even on read-only mounts and NFS, so only writing can decide.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f'{name} is not writable ({error.strerror}); choose another with {flag}') from error
