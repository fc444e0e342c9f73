"""Prints the versions of the OpenMMLab stack, the configs that it can run, and a command for each known trouble.

``python -m mmasl.check_env`` exits with 1 if the configs cannot run; ``--task`` checks one kind of config only.
``python mmasl/check_env.py`` works even without torch, because this file needs only the standard library.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import io
import re
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

TASKS = ('classification', 'detection')
# Each import name has its pin for the maintained forks and for the last original packages. A test compares these with
# the files in requirements/.
PINS = {
    'torch': ('torch==2.11.0', 'torch==2.1.2'),
    'torchvision': ('torchvision==0.26.0', 'torchvision==0.16.2'),
    'numpy': ('numpy==2.2.6', 'numpy==1.26.4'),
    'cv2': ('opencv-python-headless==4.12.0.88', 'opencv-python-headless==4.11.0.86'),
    'mmengine': ('onedl-mmengine==0.10.12', 'mmengine==0.10.7'),
    'mmcv': ('onedl-mmcv==2.3.6', 'mmcv==2.1.0'),
    'mmpretrain': ('onedl-mmpretrain==1.3.6', 'mmpretrain==1.2.0'),
    'mmdet': ('onedl-mmdetection==3.5.1', 'mmdet==3.3.0'),
}
STOPS = {'mmpretrain': TASKS[:1], 'mmdet': TASKS[1:], 'mmcv._ext': TASKS[1:]}  # the others stop both
# The modules that configs import, in the order of their dependencies. mmdet itself is empty, unlike its parts.
IMPORTS = ('torch', 'torchvision', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmcv._ext', 'mmpretrain.datasets')
IMPORTS += ('mmpretrain.evaluation', 'mmdet.datasets', 'mmdet.evaluation', 'mmdet.models')
BUILD_MMCV = (
    'pip install "setuptools<82" wheel packaging ninja psutil && '
    'pip install --force-reinstall --no-deps --no-cache-dir --no-build-isolation '
)


class Trouble(NamedTuple):
    """A trouble, the command that cures it, and the tasks that it stops."""

    what: str
    cure: str
    tasks: tuple


def version_tuple(version):
    """Return a version as a tuple: ``'2.11.0+cu130'`` becomes ``(2, 11, 0)``."""
    return tuple(int(part) for part in re.match(r'\d+(\.\d+)*', version).group().split('.'))


def diagnose(found, errors, venv=''):
    """Return the troubles of a stack, each cause before its consequences.

    Args:
        found: The distributions that provide each import name of ``PINS``, with their versions.
        errors: The reason for each import that fails; the key ``mmcv._ext`` stands for mmcv's compiled ops.
        venv: The name of a clone's own environment, which ``make install`` repairs.
    """
    names = {name for dists in found.values() for name in dists}
    originals = names & {'mmengine', 'mmcv', 'mmcv-lite', 'mmpretrain', 'mmdet'} and 'onedl-' not in ' '.join(names)
    pins = {name: pair[bool(originals)] for name, pair in PINS.items()}
    at = {name: version_tuple(next(iter(dists.values()), '0')) for name, dists in found.items()}
    troubles = {}

    def add(name, what, cure, afresh=True):
        if venv:
            stack = ' STACK=openmmlab' if 'openmmlab' in venv else ''
            cure = (f'rm -rf {venv} && ' if afresh else '') + f'make install{stack}'
        troubles.setdefault(name, Trouble(what, cure, STOPS.get(name, TASKS)))

    def install(name):
        return (BUILD_MMCV if name == 'mmcv' else 'pip install ') + pins[name]

    for name, dists in found.items():
        if len(dists) > 1 and name != 'cv2':
            what = f'{" and ".join(dists)} are both installed and overwrite each other'
            add(name, what, f'pip uninstall -y {" ".join(dists)} && {install(name)}')
        elif not dists:
            torch = next(iter(found['torch'].values()), '').split('+')[0]
            fits = f' torch=={torch}' if name == 'torchvision' and torch else ''  # the version for this torch
            add(name, f'{name} is missing', f'pip install torchvision{fits}' if fits else install(name), afresh=False)
    if (0,) < at['torch'] < (2, 3) and at['numpy'] >= (2,):
        add('numpy', 'this torch was built for numpy 1 and numpy is 2', 'pip install "numpy<2"')
    if at['torch'] >= (2, 6) and 'mmengine' in found['mmengine'] and at['mmengine'] <= (0, 10, 7):
        what = 'mmengine 0.10.7 cannot load its checkpoints: torch.load reads weights only since torch 2.6'
        add('mmengine', what, f'pip uninstall -y mmengine && pip install {PINS["mmengine"][0]}')
    if 'mmdet' in found['mmdet'] and at['mmdet'] <= (3, 3, 0) and at['mmcv'] >= (2, 2):
        cure = f'pip uninstall -y {next(iter(found["mmcv"]))} && {BUILD_MMCV}{PINS["mmcv"][1]}'
        if at['torch'] >= (2, 6):  # mmcv 2.1 is as old as torch 2.1; the fork of mmdet takes any mmcv 2
            cure = f'pip uninstall -y mmdet && pip install {PINS["mmdet"][0]}'
        add('mmdet', 'this mmdet refuses mmcv 2.2 and later', cure)
    if 'libGL' in errors.get('cv2', ''):
        cure = f'pip install --force-reinstall --no-deps {pins["cv2"]}'
        add('cv2', 'opencv-python needs a system libGL that is not there', cure)
    if 'mmcv._ext' in errors and not {'mmcv'} & (troubles.keys() | errors.keys()):
        absent = "No module named 'mmcv._ext" in errors['mmcv._ext']
        what = 'mmcv has no compiled ops (mmcv._ext)' if absent else f'mmcv._ext fails: {errors["mmcv._ext"]}'
        cure = ('pip uninstall -y mmcv-lite && ' if 'mmcv-lite' in found['mmcv'] else '') + install('mmcv')
        if at['torch'] >= (2, 14):
            what += '; torch 2.14 and later need C++20, for which mmcv does not ask, so torch goes back too'
            cure = f'pip install {pins["torch"]} {pins["torchvision"]} && {cure}'
        add('mmcv._ext', what, cure, afresh=not absent)
    if not troubles.keys() & PINS.keys():  # else these errors follow from the troubles above
        for name, error in errors.items():
            if not ('mmcv._ext' in error and 'mmcv._ext' in troubles):
                cure = f'pip install --force-reinstall --no-deps {pins[name.partition(".")[0]]}'
                add(name, f'import {name} fails: {error}', cure)
    return list(troubles.values())


def import_error(name):
    """Return in one line why ``import name`` fails, or an empty string if it works."""
    quiet = io.StringIO()  # hides messages of the packages about their optional parts
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            warnings.simplefilter('ignore')
            importlib.import_module(name)
    except Exception as error:  # a broken package may raise anything
        return f'{type(error).__name__}: {error}'.splitlines()[0]
    return ''


def gather():
    """Return ``found`` and ``errors`` of the running Python for :func:`diagnose`."""
    providers, errors = importlib.metadata.packages_distributions(), {}
    version = importlib.metadata.version
    found = {name: {dist: version(dist) for dist in sorted(set(providers.get(name, ())))} for name in PINS}
    for name in IMPORTS:
        package = name if name == 'mmcv._ext' else name.split('.')[0]
        if found[name.split('.')[0]] and package not in errors and (error := import_error(name)):
            errors[package] = error
    return found, errors


def gpu_state():
    """Return a phrase on the GPU and the Triton kernels after trying them."""
    try:
        import torch

        if not torch.cuda.is_available():
            return 'none that torch can use: everything runs on the CPU'
        from mmasl.ops.asymmetric_loss import OP, Asymmetry
        from mmasl.ops.triton_check import find_fault
        from mmasl.ops.triton_support import triton_unavailable

        pred = torch.zeros(1, 80, device='cuda')
        fault = triton_unavailable(pred) or find_fault(OP, pred, pred, None, None, 1.0, Asymmetry(), reduce=True)
        return f'{torch.cuda.get_device_name()}, Triton kernels ' + (f'not usable: {fault}' if fault else 'usable')
    except Exception as error:
        return f'not usable: {type(error).__name__}: {error}'.splitlines()[0]


def library_state():
    """Return a phrase on the compiled CPU library, without which the losses run in torch operations."""
    try:
        from mmasl.ops.asymmetric_loss import OP
    except ImportError as error:
        return f'unknown: {error}'
    return OP.library.status


def report(found, errors, tasks, venv=''):
    """Return the lines to print and whether all of ``tasks`` can run."""
    lines = [f'{"python":<13}{sys.version.split()[0]} ({sys.prefix})']
    for name, dists in found.items():
        lines.append(f'{name:<13}' + (', '.join(f'{at} ({dist})' for dist, at in dists.items()) or 'missing'))
    lines += [f'{"mmcv._ext":<13}{errors.get("mmcv._ext", "loads")}'] if found['mmcv'] else []
    lines += [f'{"GPU":<13}{gpu_state()}', f'{"CPU library":<13}{library_state()}']
    troubles = diagnose(found, errors, venv)
    for trouble in troubles:
        if set(trouble.tasks) & set(tasks):  # leaves out the troubles of other tasks
            lines += [f'trouble: {trouble.what}', f'   cure: {trouble.cure}']
    stopped = {task for trouble in troubles for task in trouble.tasks}
    lines += [f'{task} configs: {"cannot run" if task in stopped else "can run"}' for task in tasks]
    return lines, not stopped & set(tasks)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog='python -m mmasl.check_env', description=__doc__.splitlines()[0])
    parser.add_argument('--task', choices=(*TASKS, 'all'), default='all', help='configs that have to run')
    task = parser.parse_args(arguments).task
    prefix, clone = Path(sys.prefix).resolve(), Path(__file__).resolve().parents[1]
    venv = prefix.name if prefix.parent == clone else ''
    lines, ready = report(*gather(), TASKS if task == 'all' else (task,), venv)
    print('\n'.join(lines))
    return 0 if ready else 1


if __name__ == '__main__':
    sys.exit(main())
