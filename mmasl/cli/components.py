"""Finds the components of a config and their arguments without building them."""

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module

import mmengine.registry as mmengine_registry
from mmengine.registry import Registry

from mmasl.errors import UserError, closest

# Names are unique within a registry only, so the position in the config decides which registry is searched first.
FIRST_REGISTRY = {
    'dataset': 'DATASETS',
    'pipeline': 'TRANSFORMS',
    'transforms': 'TRANSFORMS',
    'sampler': 'DATA_SAMPLERS',
    'batch_sampler': 'DATA_SAMPLERS',
    'optim_wrapper': 'OPTIM_WRAPPERS',
    'optimizer': 'OPTIMIZERS',
    'param_scheduler': 'PARAM_SCHEDULERS',
    'val_evaluator': 'METRICS',
    'test_evaluator': 'METRICS',
    'default_hooks': 'HOOKS',
    'custom_hooks': 'HOOKS',
    'train_cfg': 'LOOPS',
    'val_cfg': 'LOOPS',
    'test_cfg': 'LOOPS',
    'vis_backends': 'VISBACKENDS',
    'visualizer': 'VISUALIZERS',
    'init_cfg': 'WEIGHT_INITIALIZERS',
    'strategy': 'STRATEGIES',
    'model_wrapper': 'MODEL_WRAPPERS',
    'runner_type': 'RUNNERS',
}
IN_COMPONENTS = ('transforms', 'init_cfg')


def registry_at(path: tuple[str, ...], scope: str | None) -> Registry:
    """Return the registry that most probably builds the component at ``path``."""
    # All entries of default_hooks are hooks, even those with the name of another field (param_scheduler).
    parts = path[:1] if path[:1] == ('default_hooks',) else path[::-1]
    name = next((FIRST_REGISTRY[part] for part in parts if part in FIRST_REGISTRY), 'MODELS')
    return in_scope(getattr(mmengine_registry, name), scope)


def in_scope(root: Registry, scope: str | None) -> Registry:
    """Return the registry of ``scope`` below a root registry, or the root if the package has none."""
    if scope is not None and scope != 'mmengine':
        try:
            import_module(f'{scope}.registry')
        except (ImportError, AssertionError) as error:  # mmdet asserts the version of mmcv
            if getattr(error, 'name', None) == f'{scope}.registry':
                return root  # the package has no registry
            cure = 'python -m mmasl.check_env says what to do'
            raise UserError(f"'{scope}', which the config needs, cannot be imported: {error}; {cure}") from error
    return root.children.get(scope, root)


def is_placed(path: tuple[str, ...]) -> bool:
    """Return whether MMEngine itself builds the component at ``path`` from exactly that dict.

    Deeper dicts go through a component, which may remove keys or look up the type in its own way.
    """
    key = path[-2] if path[-1].isdigit() and len(path) > 1 else path[-1]
    in_hooks = len(path) == 2 and path[0] == 'default_hooks'
    return path[0] not in ('model', 'tta_model') and (in_hooks or (key in FIRST_REGISTRY and key not in IN_COMPONENTS))


def find_component(name: str | type, scope: str | None, path: tuple[str, ...]) -> Callable | None:
    """Return the component for ``type=name`` at ``path`` of a config, or None if no registry has it."""
    if not isinstance(name, str):
        return name
    registries = [registry_at(path, scope), mmengine_registry.EVALUATOR]
    if not is_placed(path):
        registries += [in_scope(r, scope) for r in vars(mmengine_registry).values() if isinstance(r, Registry)]
    for registry in registries:
        try:
            found = registry.get(name)
        except RuntimeError:  # get() raises it if there is none
            found = None
        except (ImportError, AssertionError) as error:  # mmdet asserts the version of mmcv
            cure = 'python -m mmasl.check_env says what to do'
            raise UserError(f"'{name}' cannot be imported: {error}; {cure}") from error
        if found is not None:
            return found
    return None


def type_name(component: str | type) -> str:
    """Return the name of a ``type``, which is a class in lazy configs and a string in others."""
    return component if isinstance(component, str) else getattr(component, '__name__', str(component))


def is_ours(component: Callable) -> bool:
    """Return whether ``component`` belongs to this package."""
    return getattr(component, '__module__', '').startswith('mmasl.')


def parameters(component: Callable) -> tuple[set[str], bool]:
    """Return the names of the arguments of ``component``, and whether it certainly takes no others."""
    if inspect.isclass(component):
        calls = {cls: vars(cls)['__init__'] for cls in component.__mro__ if '__init__' in vars(cls)}
    else:
        calls = {component: component}
    names: set[str] = set()
    passes_on = True  # whether all **kwargs so far go to the parent, which is certain in this package alone
    for owner, call in calls.items():
        try:
            found = inspect.signature(call).parameters.values()
        except (TypeError, ValueError):
            return names, False
        names |= {p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {'self'}
        if not any(p.kind is p.VAR_KEYWORD for p in found):
            return names, passes_on
        passes_on &= is_ours(owner)
    return names, False


def walk(node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict]]:
    """Yield every dict in a config with its path, outer ones first."""
    if isinstance(node, dict):
        yield path, node
        children = node.items()
    elif isinstance(node, list | tuple):
        children = enumerate(node)
    else:
        return
    for key, child in children:
        yield from walk(child, (*path, str(key)))


def unknown_type(name: str, registry: Registry, where: str) -> str:
    """Return the message for a ``type`` at ``where`` that ``registry`` does not have."""
    near = suggest_type(name, registry)
    hint = f"; did you mean '{near}'?" if near else ''
    return f"{where or 'the config'}: no {registry.name} is called '{name}'{hint}"


def suggest_type(name: str, registry: Registry) -> str | None:
    """Return the registered type that is closest to ``name``, or None."""
    known = known_types(registry)
    # A missing or wrong scope is a far more common mistake than a wrong name.
    same = [entry for entry in sorted(known) if entry.split('.')[-1] == name.split('.')[-1]]
    if same:
        return next((entry for entry in same if entry.startswith('mmasl.')), same[0])
    return closest(name, known)


def known_types(registry: Registry) -> set[str]:
    """Return all names that ``registry`` accepts as ``type``, with a scope if one is necessary."""
    import_module('mmasl.registry')
    if 'mmasl' in registry.root.children:
        registry.root.children['mmasl'].import_from_location()
    names = set(registry.module_dict) | set(registry.root.module_dict)
    for scope, child in registry.root.children.items():
        if scope != registry.scope:
            names |= {f'{scope}.{name}' for name in child.module_dict}
    return names
