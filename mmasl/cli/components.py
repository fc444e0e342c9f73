"""What a config's components are called and which arguments they take, without building them."""

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module

import mmengine.registry as mmengine_registry
from mmengine.registry import Registry

from mmasl.errors import UserError, closest

# Names are unique within a registry only, so the place in the config decides where to look first.
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
    """Return the registry that most probably builds what is at ``path``."""
    # A hook is one whatever its name in default_hooks is (param_scheduler, say).
    parts = path[:1] if path[:1] == ('default_hooks',) else path[::-1]
    name = next((FIRST_REGISTRY[part] for part in parts if part in FIRST_REGISTRY), 'MODELS')
    return in_scope(getattr(mmengine_registry, name), scope)


def in_scope(root: Registry, scope: str | None) -> Registry:
    """Return the node of ``scope`` below a root registry, or the root where the package has none of its own."""
    if scope is not None and scope != 'mmengine':
        try:
            import_module(f'{scope}.registry')
        except (ImportError, AssertionError) as error:  # mmdet asserts the version of mmcv
            if getattr(error, 'name', None) == f'{scope}.registry':
                return root  # a package that has none of its own
            cure = 'python -m mmasl.check_env says what to do'
            raise UserError(f"'{scope}', which the config needs, cannot be imported: {error}; {cure}") from error
    return root.children.get(scope, root)


def is_placed(path: tuple[str, ...]) -> bool:
    """Say whether MMEngine itself builds what is at ``path``, from exactly that dict.

    Deeper dicts go through a component, which may take keys out of them or look their type up in its own way.
    """
    key = path[-2] if path[-1].isdigit() and len(path) > 1 else path[-1]
    in_hooks = len(path) == 2 and path[0] == 'default_hooks'
    return path[0] not in ('model', 'tta_model') and (in_hooks or (key in FIRST_REGISTRY and key not in IN_COMPONENTS))


def find_component(name: str | type, scope: str | None, path: tuple[str, ...]) -> Callable | None:
    """Return what ``type=name`` stands for at ``path`` of a config, or None where no registry knows it."""
    if not isinstance(name, str):
        return name
    registries = [registry_at(path, scope), mmengine_registry.EVALUATOR]
    if not is_placed(path):
        registries += [in_scope(r, scope) for r in vars(mmengine_registry).values() if isinstance(r, Registry)]
    for registry in registries:
        try:
            found = registry.get(name)
        except RuntimeError:  # how get() says that there is none
            found = None
        except (ImportError, AssertionError) as error:  # mmdet asserts the version of mmcv
            cure = 'python -m mmasl.check_env says what to do'
            raise UserError(f"'{name}' cannot be imported: {error}; {cure}") from error
        if found is not None:
            return found
    return None


def type_name(component: str | type) -> str:
    """Return a ``type`` as a config writes it: lazy configs hold classes, the others strings."""
    return component if isinstance(component, str) else getattr(component, '__name__', str(component))


def is_ours(component: Callable) -> bool:
    """Say whether ``component`` is a part of this package."""
    return getattr(component, '__module__', '').startswith('mmasl.')


def parameters(component: Callable) -> tuple[set[str], bool]:
    """Return the argument names that ``component`` takes, and whether it surely takes no other."""
    if inspect.isclass(component):
        calls = [vars(cls)['__init__'] for cls in component.__mro__ if '__init__' in vars(cls)]
    else:
        calls = [component]
    names: set[str] = set()
    for depth, call in enumerate(calls):
        try:
            found = inspect.signature(call).parameters.values()
        except (TypeError, ValueError):
            return names, False
        names |= {p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {'self'}
        if not any(p.kind is p.VAR_KEYWORD for p in found):
            # Below the first class, **kwargs may have gone elsewhere than to the parent, but not in this package.
            return names, depth == 0 or is_ours(component)
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
    """Return the message for a ``type`` at ``where`` that ``registry`` does not know."""
    near = suggest_type(name, registry)
    hint = f"; did you mean '{near}'?" if near else ''
    return f"{where or 'the config'}: no {registry.name} is called '{name}'{hint}"


def suggest_type(name: str, registry: Registry) -> str | None:
    """Return the registered type that ``name`` was most probably meant to be."""
    known = known_types(registry)
    # The right name without (or with a wrong) scope is a far more common slip than a wrong name.
    same = [entry for entry in sorted(known) if entry.split('.')[-1] == name.split('.')[-1]]
    if same:
        return next((entry for entry in same if entry.startswith('mmasl.')), same[0])
    return closest(name, known)


def known_types(registry: Registry) -> set[str]:
    """Return all that ``type`` may say where ``registry`` builds, with its scope where one is needed."""
    import_module('mmasl.registry')
    if 'mmasl' in registry.root.children:
        registry.root.children['mmasl'].import_from_location()
    names = set(registry.module_dict) | set(registry.root.module_dict)
    for scope, child in registry.root.children.items():
        if scope != registry.scope:
            names |= {f'{scope}.{name}' for name in child.module_dict}
    return names
