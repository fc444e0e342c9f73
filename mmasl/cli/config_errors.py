"""Which exceptions are the config's fault: those become one line, every other one keeps its traceback.

A component built from a config may fail because of what the config says or because it is broken, and the exception
alone does not tell. The stack does: what was being built, from which dict, and who raised.
"""

import dis
import re
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from types import FrameType, TracebackType

from mmengine.config import Config

from mmasl.cli import machine_errors
from mmasl.cli.components import parameters, type_name, unknown_type, walk
from mmasl.errors import UserError, did_you_mean

OPENMMLAB = {'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmasl'}
# Keys of the config that a Runner method reads by itself, without a registry.
RUNNER_METHODS = {
    'build_train_loop': 'train_cfg',
    'build_val_loop': 'val_cfg',
    'build_test_loop': 'test_cfg',
    'build_dataloader': 'dataloader',
}
# Others that pass a dict of the config on as arguments.
START_METHODS = ('__init__', 'setup_env', 'wrap_model')


@contextmanager
def config_errors(cfg: Config) -> Iterator[None]:
    """Turn what goes wrong inside into a ``UserError`` where ``cfg``, the machine or the data is to blame."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        message = machine_errors.explain(error, cfg) or explain(error, cfg)
        if message is None:
            raise
        raise UserError(message) from error


def explain(error: Exception, cfg: Config) -> str | None:
    """Return one line about the setting that caused ``error``, or None where no setting did."""
    stack = list(tracebacks(error))
    return (
        explain_package(error, stack)
        or explain_type(error, stack, cfg)
        or explain_argument(error, stack, cfg)
        or explain_refusal(error, stack, cfg)
    )


def explain_package(error: Exception, stack: list[TracebackType]) -> str | None:
    """A package that cannot be imported while a registry looks for its components (mmcv without ops, say)."""
    imports = [tb for tb in stack if code_at(tb, 'mmengine/registry/registry.py', 'import_from_location')]
    asserts = isinstance(error, AssertionError) and 'MMCV' in str(error)  # mmdet's assertion on mmcv's version
    if not imports or not (isinstance(error, ImportError) or asserts):
        return None
    registry = imports[-1].tb_frame.f_locals['self']
    cause = f"the {registry.name}s of '{registry.scope}' cannot be imported: {text_of(error)}"
    return f'{cause}; python -m mmasl.check_env says what to do'


def explain_type(error: Exception, stack: list[TracebackType], cfg: Config) -> str | None:
    """A ``type`` that no registry knows."""
    last = stack[-1].tb_frame
    if code_at(stack[-1], 'mmengine/registry/registry.py', 'get'):
        # Registries ask each other, so take the one that was asked first.
        first = next(tb.tb_frame for tb in stack if tb.tb_frame.f_code is last.f_code)
        name, registry = first.f_locals['key'], first.f_locals['self']
    elif code_at(stack[-1], 'mmengine/registry/build_functions.py') and isinstance(error, KeyError):
        registry = last.f_locals['registry']
        name = last.f_locals.get('obj_type', last.f_locals.get('scheduler_type'))
        if not isinstance(name, str):
            return f'a dict without a type is built as a {registry.name}: {text_of(error)}'
    else:
        return None
    places = [path for path, node in walk(cfg._cfg_dict) if node.get('type') == name]
    places += [path for path, node in walk(cfg._cfg_dict) if node.get('runner_type') == name]
    where = '.'.join(places[0]) if places else ''
    return unknown_type(name, registry, where)


def explain_argument(error: Exception, stack: list[TracebackType], cfg: Config) -> str | None:
    """An argument that a component does not take, or one that it needs and does not get."""
    if not isinstance(error, TypeError):
        return None
    unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    missing = re.search(r'missing \d+ required .*argument', str(error))
    built = last_build(stack)
    caller = stack[-1].tb_frame
    # Not all of mmengine/runner: during training it calls the model, and a wrong call there is a bug.
    by_runner = code_at(stack[-1], 'mmengine/runner/') and caller.f_code.co_name in {*RUNNER_METHODS, *START_METHODS}
    by_mmengine = code_at(stack[-1], 'mmengine/registry/') or by_runner
    # Parents get the rest of the arguments through **kwargs: still the config's, if it says so.
    passed_on = built is not None and unexpected and unexpected[1] in built.f_locals.get('args', {})
    if not (unexpected and (by_mmengine or passed_on)) and not (missing and by_mmengine):
        return None
    where = place(built, cfg) if built is not None else RUNNER_METHODS.get(caller.f_code.co_name, 'the config')
    if missing:
        return f'{where}: {text_of(error)}'
    name = unexpected[1]
    if not passed_on:  # a dict without a type: the one that has this key
        found = ['.'.join(path) for path, node in walk(cfg._cfg_dict) if name in node]
        return f"{found[0] if found else where}: there is no argument '{name}'"
    component = component_of(built)
    return f"{where}: {type_name(component)} takes no argument '{name}'{did_you_mean(name, parameters(component)[0])}"


def explain_refusal(error: Exception, stack: list[TracebackType], cfg: Config) -> str | None:
    """A component that checks its arguments and raises, or that does not find a file."""
    if isinstance(error, OSError) and any(code_at(tb, 'hooks/visualization_hook.py') for tb in stack):
        return f'default_hooks.visualization draws on image files, and this picture has none: {text_of(error)}'
    if isinstance(error, KeyError) and code_at(stack[-1], 'hooks/checkpoint_hook.py', '_save_best_checkpoint'):
        reported = stack[-1].tb_frame.f_locals.get('metrics', {})
        return f"default_hooks.checkpoint.save_best: no metric is called '{text_of(error)}', but {', '.join(reported)}"
    built = last_build(stack)
    if built is None or not str(error):
        return None
    raiser = stack[-1].tb_frame
    own_package = package(component_of(built))
    deliberate = dis.opname[raiser.f_code.co_code[stack[-1].tb_lasti]] == 'RAISE_VARARGS'
    # A raise in a package below (torch, numpy) says that the component used it wrongly: that is a bug.
    complains = deliberate and raiser.f_globals.get('__name__', '').split('.')[0] in OPENMMLAB | {own_package}
    # A loop converts the numbers in its dict without a check.
    converts = isinstance(error, ValueError) and code_at(stack[-1], 'mmengine/runner/loops.py', '__init__')
    # So does a data loader, with batch_size=0, say.
    loads = built.f_code.co_name == 'build_dataloader' and code_at(stack[-1], 'torch/utils/data/')
    unreadable = isinstance(error, OSError | JSONDecodeError)
    if not any((unreadable, complains, converts, loads)):
        return None
    component = component_of(built)
    reader = f' ({type_name(component)})' if component is not None else ''
    return f'{place(built, cfg)}{reader}: {text_of(error)}'


def tracebacks(error: Exception) -> Iterator[TracebackType]:
    """Yield the traceback's entries, outermost first."""
    entry = error.__traceback__
    while entry is not None:
        yield entry
        entry = entry.tb_next


def code_at(entry: TracebackType, file: str, function: str | None = None) -> bool:
    """Say whether ``entry`` is in ``file`` (a part of its path) and ``function``."""
    code = entry.tb_frame.f_code
    return file in Path(code.co_filename).as_posix() and function in (None, code.co_name)


def last_build(stack: list[TracebackType]) -> FrameType | None:
    """Return the frame that was building the innermost component."""
    for entry in reversed(stack):
        by_registry = code_at(entry, 'mmengine/registry/build_functions.py') and 'cfg' in entry.tb_frame.f_locals
        by_runner = code_at(entry, 'mmengine/runner/') and entry.tb_frame.f_code.co_name in RUNNER_METHODS
        if by_registry or by_runner:
            return entry.tb_frame
    return None


def component_of(frame: FrameType | None):
    """Return the class or function that ``frame`` was building."""
    found = frame.f_locals if frame is not None else {}
    return found.get('obj_cls', found.get('scheduler_cls', found.get('runner_cls')))


def package(component) -> str:
    return getattr(component, '__module__', None) and component.__module__.split('.')[0] or ''


def place(frame: FrameType, cfg: Config) -> str:
    """Return the key of the config that ``frame`` was building from."""
    built = frame.f_locals.get('cfg')
    if not isinstance(built, dict):
        return RUNNER_METHODS.get(frame.f_code.co_name, 'the config')
    # Runner and components work on copies that they fill up, so take the dict that has most in common.
    candidates = [(path, node) for path, node in walk(cfg._cfg_dict) if path and node.get('type') == built.get('type')]
    if not candidates:
        return type_name(built.get('type', 'the config'))
    best = max(candidates, key=lambda item: sum(key in built and built[key] == item[1][key] for key in item[1]))
    return '.'.join(best[0])


def text_of(error: Exception) -> str:
    """Return the message; ``str`` of a KeyError puts quotes around it."""
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
