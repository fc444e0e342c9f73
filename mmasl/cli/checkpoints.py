"""Checks that the checkpoints of the command line and the config exist, are complete and fit the model."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.optim import OneCycleParamScheduler, OptimWrapper, _ParamScheduler
from mmengine.runner import CheckpointLoader, Runner, find_latest_checkpoint
from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType

from mmasl.cli.components import type_name, walk
from mmasl.errors import UserError, did_you_mean, first_names

# The state of OneCycleLR has a method of this class. Without it MMEngine prints a long warning about an unsafe file.
if hasattr(torch.serialization, 'add_safe_globals'):  # torch 2.4 and later
    torch.serialization.add_safe_globals([OneCycleParamScheduler])

# The attributes that define the course of a scheduler; its others change while it runs or follow from these.
LENGTHS = ('begin', 'total_steps', 'T_max', 'total_iters', 'milestones', 'step_size', 'periods', 'gamma')


def check_file(path: str, key: str) -> None:
    """Raise if ``path``, the value of ``key``, is a local checkpoint that does not exist."""
    if '://' in path or Path(path).expanduser().exists():
        return
    folder = Path(path).expanduser().parent
    there = [str(file) for file in sorted(folder.glob('*.pth'))] if folder.is_dir() else []
    raise UserError(f'{key}: {path} does not exist{did_you_mean(path, there)}')


def check_pretrained(cfg: Config) -> None:
    """Raise if the weights that initialise the model (``init_cfg``) do not exist."""
    for path, node in walk(cfg.model, ('model',)):
        checkpoint = node.get('checkpoint')
        if type_name(node.get('type', '')).endswith('Pretrained') and isinstance(checkpoint, str):
            check_file(checkpoint, '.'.join((*path, 'checkpoint')))


def skip_pretrained(cfg: Config) -> None:
    """Turn off pretrained weights that a checkpoint will replace, because timm would download them first."""
    for _, node in walk(cfg.model, ('model',)):
        if node.get('pretrained') is True:
            node['pretrained'] = False


def read(path: str, key: str, of_strategy: bool = False) -> dict | None:
    """Return the checkpoint on the CPU, or, with ``of_strategy``, None for a folder that only the strategy can read."""
    check_file(path, key)
    if os.path.isdir(path):
        found = newest(path)
        if found is not None:
            raise UserError(f'{key}: {path} is a folder; write the file, such as {found}, its newest checkpoint')
        if of_strategy:
            return None
        raise UserError(f'{key}: {path} is a folder: only the strategy that wrote it can read it')
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    except Exception as error:  # the unpickler may raise anything for a broken file
        reason = f'{type(error).__name__}: {(str(error).splitlines() or [""])[0]}'
        size = f' (is it complete? it has {os.path.getsize(path):,} bytes)' if os.path.isfile(path) else ''
        raise UserError(f'{key}: {path} cannot be loaded{size}: {reason}') from error
    if not isinstance(checkpoint, dict):
        raise UserError(f'{key}: {path} holds a {type(checkpoint).__name__} instead of weights')
    return checkpoint


def check_resumable(checkpoint: dict | None, path: str) -> None:
    """Raise if ``checkpoint`` has weights but not the state of a training run."""
    missing = [key for key in ('meta', 'message_hub', 'optimizer') if checkpoint is not None and key not in checkpoint]
    if missing:
        raise UserError(
            f'--resume: {path} has no {", ".join(missing)}: it holds weights only. '
            f'To start a new training from them: --cfg-options load_from={path}'
        )


def latest(work_dir: str) -> str | None:
    """Return the last checkpoint of ``work_dir``, also if the folder was moved.

    A killed process may have left ``last_checkpoint`` empty. The newest checkpoint is returned then.

    Raises:
        UserError: If there are checkpoints but no ``last_checkpoint``. A new training would replace them.
    """
    if not os.path.isfile(os.path.join(work_dir, 'last_checkpoint')):
        found = newest(work_dir)
        if found is not None:
            raise UserError(
                f'--resume: {work_dir} has checkpoints, but the file last_checkpoint, which names the last one, is '
                f'missing; to go on from the newest, if it is complete: --resume {found}; to start anew, choose '
                'another --work-dir'
            )
        return None
    path = find_latest_checkpoint(work_dir)
    if not path:
        return newest(work_dir)
    moved = os.path.join(work_dir, os.path.basename(path))
    return moved if not os.path.exists(path) and os.path.exists(moved) else path


def newest(folder: str) -> str | None:
    """Return the checkpoint of ``folder`` that was written last, or None if it has none."""
    there = [file for pattern in ('epoch_*.pth', 'iter_*.pth') for file in Path(folder).glob(pattern)]
    return str(max(there, key=os.path.getmtime)) if there else None


def check_fit(model: torch.nn.Module, checkpoint: dict, path: str, complete: bool, resume: bool = False) -> None:
    """Raise if ``checkpoint`` lacks weights of ``model`` or, with ``complete=False``, if it has none of them.

    MMEngine only warns and then evaluates the partly loaded model. Only ``resume`` needs the state of adaptive losses.
    """
    while (is_model_wrapper(model) or isinstance(model, BaseTTAModel)) and not isinstance(
        model, FullyShardedDataParallel
    ):
        model = model.module
    state = checkpoint.get('state_dict', checkpoint)
    weights = {str(name).removeprefix('module.'): value for name, value in state.items()}
    own = full_state(model)
    left_out = set() if resume else loss_state(own) | loss_state(weights)

    def is_needed(name: str) -> bool:
        return is_weight(name) and name not in left_out

    # Batch norm works without its count of batches, which old checkpoints lack.
    own = {name: value for name, value in own.items() if is_needed(name)}
    other_shape = [name for name in own if name in weights and shape(weights[name]) != shape(own[name])]
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own and is_needed(name)]
    if (missing or unexpected) and not other_shape:
        # Modules may rename the keys of older versions while they load, so only loading can decide.
        missing, unexpected = (list(filter(is_needed, names)) for names in model.load_state_dict(weights, strict=False))
    if not missing and not other_shape:
        return
    if not complete and len(missing) + len(other_shape) < len(own):
        return
    shapes = [f'{name} {shape(weights[name])} instead of {shape(own[name])}' for name in other_shape]
    parts = [listed(missing, 'missing'), listed(unexpected, 'unexpected'), listed(shapes, 'of another shape')]
    raise UserError(
        f'{path} is not a checkpoint of this model: of {len(own)} weights {"; ".join(part for part in parts if part)}'
        + origin(checkpoint)
    )


def full_state(model: torch.nn.Module) -> dict:
    """Return the state dict of ``model``, of all shards if it is sharded, on every process."""
    if not isinstance(model, FullyShardedDataParallel):
        return model.state_dict()
    with FullyShardedDataParallel.state_dict_type(model, StateDictType.FULL_STATE_DICT):
        return model.state_dict()


def is_weight(name: str) -> bool:
    """Return whether ``name`` is the name of a weight or statistic and not of a count of batches."""
    return not name.endswith('num_batches_tracked')


def loss_state(state: dict) -> set[str]:
    """Return the names in a state dict that belong to a ``mmasl.AdaptiveAsymmetricLoss``."""
    losses = {name.rpartition('.')[0] for name in map(str, state) if name.endswith('.running_sums')}
    return {name for name in state if str(name).rpartition('.')[0] in losses}


def shape(value) -> tuple[int, ...]:
    # torch loads one element into a tensor without dimensions, and sharding turns such a tensor into a vector
    return tuple(getattr(value, 'shape', ())) or (1,)


def listed(names: list[str], what: str) -> str:
    """Return the number of ``names`` and the first of them as text."""
    return f'{len(names)} {what} ({first_names(names, 3)})' if names else ''


def origin(checkpoint: dict) -> str:
    """Return a phrase with the experiment that wrote ``checkpoint``, or an empty string if it is unknown."""
    name = (checkpoint.get('meta') or {}).get('experiment_name') if isinstance(checkpoint.get('meta'), dict) else None
    return f' (it was written by the run {name})' if name else ''


def check_schedule(runner: Runner, checkpoint: dict, path: str) -> None:
    """Raise if resuming from ``checkpoint`` would silently replace the schedule or the optimizer of the config.

    MMEngine replaces both by the state in the checkpoint, including their lengths and learning rates.
    """
    found = [f'{key} {old} in the checkpoint, {new} in the config' for key, old, new in changes(runner, checkpoint)]
    if found:
        raise UserError(
            f'--resume: {path} (of epoch {checkpoint["meta"].get("epoch")}) was written with another schedule, which '
            f'would replace that of the config (max_epochs={runner.max_epochs}): '
            f'{"; ".join(found[:3])}. To go on as it began, leave these as they were; to extend a training or to '
            f'change its learning rate, start a new one from its weights, without --resume: '
            f'--cfg-options load_from={path}'
        )


def changes(runner: Runner, checkpoint: dict) -> Iterator[tuple[str, object, object]]:
    """Yield each setting of the optimizer and the schedulers that differs, with its value in ``checkpoint`` and now.

    If a training with steps becomes longer, the schedulers in ``checkpoint`` are extended as well.
    """
    groups = (checkpoint.get('optimizer') or {}).get('param_groups', [])
    now = runner.optim_wrapper.param_groups if groups and isinstance(runner.optim_wrapper, OptimWrapper) else []
    for before, after in zip(groups[:1], now[:1], strict=False):  # there may be a group for each parameter
        for key in ('lr', 'momentum', 'betas', 'weight_decay'):
            if key == 'betas' and 'initial_momentum' in before:
                continue  # a scheduler of the momentum has changed them
            # Schedulers store the initial settings of the optimizer under these names.
            names = (f'max_{key}', f'initial_{key}', key)
            old, new = (next((group[name] for name in names if name in group), None) for group in (before, after))
            old, new = (tuple(value) if isinstance(value, list) else value for value in (old, new))
            if old != new:
                yield f'optimizer.{key}', old, new
    schedulers = checkpoint.get('param_schedulers'), runner.param_schedulers
    if not all(isinstance(entries, list) for entries in schedulers):
        return
    if len(schedulers[0]) != len(schedulers[1]):
        yield 'the number of schedulers', *map(len, schedulers)
    yield from beyond_the_end(runner, checkpoint)
    for before, after in zip(*schedulers, strict=False):
        if before['end'] != after.end and not prolong(before, after):
            yield f'{type(after).__name__}.end', before['end'], after.end
        for key in LENGTHS:
            old, new = before.get(key), getattr(after, key, None)
            if old != new:
                yield f'{type(after).__name__}.{key}', old, new


def beyond_the_end(runner: Runner, checkpoint: dict) -> Iterator[tuple[str, object, object]]:
    """Yield the length of the training if it goes on after a scheduler has reached its end with the training before.

    The learning rate would stay at the scheduler's last one, which is near 0 for most. Milestones have no such end.
    """
    info = (checkpoint.get('message_hub') or {}).get('runtime_info') or {}
    for scheduler in runner.param_schedulers:
        name = 'max_epochs' if scheduler.by_epoch else 'max_iters'
        old, new = info.get(name), getattr(runner, name)
        if old and new and old <= scheduler.end < new and not hasattr(scheduler, 'milestones'):
            yield name, old, f'{new} (beyond the end={scheduler.end} of {type(scheduler).__name__})'


def prolong(before: dict, after: _ParamScheduler) -> bool:
    """Give the state ``before`` the end of ``after`` if its course so far does not depend on the end.

    A scheduler stops at its end and so has missed one step there. A course by milestones can make up for it. Return
    whether the state was changed.
    """
    step = before['_global_step'] - before['begin']
    if before['_global_step'] >= before['end']:
        if step in getattr(after, 'milestones', (step,)):
            return False
        before['last_step'] = step
    before['end'] = after.end
    return True


class CheckCheckpoint(Hook):
    """Runs ``check_fit`` when the checkpoint is loaded, and ``check_schedule`` if the training is resumed."""

    priority = 'VERY_LOW'

    def __init__(self, path: str, complete: bool, resume: bool):
        self.path, self.complete, self.resume = path, complete, resume

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not self.complete:  # a new training, whose adaptive losses start from the config
            state = checkpoint.get('state_dict', checkpoint)
            for name in loss_state(state):
                del state[name]
        check_fit(runner.model, checkpoint, self.path, self.complete, self.resume)
        if self.resume:
            check_schedule(runner, checkpoint, self.path)
