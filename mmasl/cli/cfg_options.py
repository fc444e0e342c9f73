"""Checks of keys in ``--cfg-options`` and of settings in files: what nothing reads is refused, not ignored."""

import difflib

from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner, TestLoop, ValLoop
from mmengine.runner._flexible_runner import FlexibleRunner
from torch.utils.data import DataLoader

from mmasl.cli.components import find_component, is_ours, is_placed, parameters, type_name
from mmasl.errors import UserError, did_you_mean

# The keys that MMEngine removes from a dict before it builds the component.
EVERYWHERE = {'type', '_scope_', '_delete_'}
TAKEN_OUT = {
    'optim_wrapper': {'constructor', 'paramwise_cfg'},
    'param_scheduler': {'convert_to_iter_based'},
    'train_cfg': {'by_epoch'},
    'default_hooks': {'priority'},
    'custom_hooks': {'priority'},
}
DATALOADER = parameters(DataLoader)[0] | {'num_batch_per_epoch', 'disable_subprocess_warning'}
# Dicts without ``type`` whose reader is known.
UNTYPED = {
    'train_cfg': parameters(EpochBasedTrainLoop)[0] | parameters(IterBasedTrainLoop)[0] | {'by_epoch'},
    'val_cfg': parameters(ValLoop)[0],
    'test_cfg': parameters(TestLoop)[0],
    'train_dataloader': DATALOADER,
    'val_dataloader': DATALOADER,
    'test_dataloader': DATALOADER,
    'optim_wrapper': parameters(OptimWrapper)[0] | TAKEN_OUT['optim_wrapper'],
    'randomness': parameters(Runner.set_randomness)[0],
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
}
TOP_LEVEL = (
    (parameters(Runner)[0] | parameters(FlexibleRunner)[0])
    | {'runner_type', 'model_wrapper_cfg', 'find_unused_parameters', 'sync_bn', 'custom_imports'}
    | {'efficient_conv_bn_eval', 'activation_checkpointing', 'tta_model', 'tta_pipeline'}
) - {'cfg'}


def apply_cfg_options(cfg: Config, options: dict) -> None:
    """Merge ``--cfg-options`` into ``cfg`` after checking every key."""
    for key in options:
        check_key(cfg, key)
    merge_options(cfg, options)


def merge_options(cfg: Config, options: dict) -> None:
    """Merge ``options`` into ``cfg`` unchecked. A new ``data_root`` moves the paths that were made from the old one."""
    if 'data_root' in options:
        move_data_root(cfg, options['data_root'])
    cfg.merge_from_dict(options)


def check_key(cfg: Config, key: str) -> None:
    """Raise if ``key`` cannot be set or is not an argument of the component that would get it.

    A new key is allowed if the component takes such an argument. If that is uncertain (``**kwargs``, dicts that go
    through another component), the key is allowed unless it looks like a misspelling of a known key. A key that the
    component does not take raises when the component is built.
    """
    node, scope, path = cfg._cfg_dict, cfg.get('default_scope'), ()
    for part in key.split('.'):
        where = '.'.join(path)
        if isinstance(node, list | tuple):
            if not part.isdigit() or int(part) >= len(node) or isinstance(node, tuple):
                raise UserError(f'--cfg-options {key}: {where} is a {type(node).__name__} of {len(node)} elements')
            node = node[int(part)]
        elif isinstance(node, dict):
            if part not in node:
                check_new_key(node, scope, path, part)
            # None stands for a dict that is switched off, and setting a key in it switches it on.
            if node.get(part) is None and part in node and key != '.'.join((*path, part)):
                node[part] = ConfigDict()
            node = node.get(part, {})
        else:
            raise UserError(f'--cfg-options {key}: {where} is {node!r} and has no keys')
        if isinstance(node, dict):
            scope = node.get('_scope_', scope)
        path = (*path, part)


def check_new_key(node: dict, scope: str | None, path: tuple[str, ...], name: str) -> None:
    """Raise if ``name``, which is not in ``node``, is certainly or very probably a mistake."""
    known, closed, reader = known_keys(node, scope, path)
    known = known | set(node) | EVERYWHERE
    if name in known or not (closed or any(is_slip(name, other) for other in known)):
        return
    where = '.'.join(path) or 'the config'
    raise UserError(f"--cfg-options: no key '{name}' in {where}{reader}{did_you_mean(name, known)}")


def known_keys(node: dict, scope: str | None, path: tuple[str, ...]) -> tuple[set[str], bool, str]:
    """Return the keys that ``node`` may have, whether it may certainly have no others, and the name of its reader."""
    if not path:
        return TOP_LEVEL, True, ''
    if 'type' in node:
        component = find_component(node['type'], scope, path)
        if component is None:
            return set(), False, ''
        known, closed = parameters(component)
        known |= TAKEN_OUT.get(path[0], set()) if len(path) < 3 else set()
        # Another component may remove keys from the dicts inside it, but none removes keys from ours.
        return known, closed and (is_placed(path) or is_ours(component)), f' ({type_name(node["type"])})'
    if len(path) == 1 and path[0] in UNTYPED:
        return UNTYPED[path[0]], True, ''
    return set(), False, ''


def is_slip(name: str, other: str) -> bool:
    """Return whether ``name`` is probably ``other`` with a typing error and not a sibling, as stage2 is of stage1.

    One word may be misspelt after its first letter. Other numbers, or another number of words, make another name.
    """
    if name.replace('_', '').lower() == other.replace('_', '').lower():
        return True
    words, others = name.lower().split('_'), other.lower().split('_')
    different = [(a, b) for a, b in zip(words, others, strict=False) if a != b]
    if '.' in other or len(words) != len(others) or len(different) != 1:
        return False
    a, b = different[0]
    if a[:1] != b[:1] or a.strip('0123456789') == b.strip('0123456789'):
        return False
    return difflib.SequenceMatcher(a=a, b=b).ratio() >= 0.75


def check_settings(cfg: Config) -> None:
    """Raise if a variable of the config file is probably a misspelt setting, which MMEngine would ignore."""
    imported = getattr(cfg, '_imported_names', ())  # OptimWrapper in a config of the import style is no setting
    for name in (name for name in cfg if name not in TOP_LEVEL and name not in imported):
        # Single words are common as variables (mode), but those that hold a dict are not.
        likely = (other for other in TOP_LEVEL if '_' in other or isinstance(cfg[name], dict))
        if any(is_slip(name, other) for other in likely):
            raise UserError(
                f"{cfg.filename}: no setting is called '{name}'{did_you_mean(name, TOP_LEVEL)} "
                '(a variable that is no setting needs a name that is less like one)'
            )


def move_data_root(cfg: Config, new: str) -> None:
    """Replace the old ``data_root`` by the new one in all paths that the config file made from it.

    The config file has been executed before the option is read, so the option alone would change none of these paths.
    """
    old = cfg.get('data_root')
    if not isinstance(old, str) or not old:
        return

    def moved(value):
        if isinstance(value, dict):
            return type(value)({key: moved(child) for key, child in value.items()})
        if isinstance(value, list | tuple):
            return type(value)([moved(child) for child in value])
        if isinstance(value, str) and (value == old or value.startswith(old.rstrip('/') + '/')):
            rest = value[len(old.rstrip('/')) :].lstrip('/')
            return f'{new.rstrip("/")}/{rest}' if rest else new
        return value

    for field in cfg:
        if field == 'model' or field.endswith(('_dataloader', '_evaluator')):
            cfg[field] = moved(cfg[field])
