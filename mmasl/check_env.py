"""Prints the versions of the OpenMMLab stack, what can run on it, and a command for each known trouble.

``python -m mmasl.check_env`` exits with 1 if there is a trouble. ``python mmasl/check_env.py`` works even without
torch, because this file needs only the standard library.
"""

import importlib
import importlib.metadata
import io
import re
import sys
import warnings
from collections import namedtuple
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

TASKS = ('classification', 'detection')
Trouble = namedtuple('Trouble', 'what cure tasks')
# For each import name: the pin for the maintained forks, and for the last original packages. A test compares these with
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
# The modules that configs import, in the order of their dependencies. mmdet itself is empty, unlike its parts.
IMPORTS = ('torch', 'torchvision', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmcv._ext', 'mmpretrain.datasets')
IMPORTS += ('mmpretrain.evaluation', 'mmdet.datasets', 'mmdet.evaluation', 'mmdet.models')
STOPS = {'mmpretrain': TASKS[:1], 'mmdet': TASKS[1:], 'mmcv._ext': TASKS[1:]}  # the others stop both tasks
AGAIN = '--force-reinstall --no-deps'
BUILD = f'pip install "setuptools<82" wheel packaging ninja psutil && pip install {AGAIN} --no-cache-dir '
BUILD += '--no-build-isolation '


def diagnose(found, errors):
    """Return the troubles of a stack with their cures and the tasks that they stop, each cause before its consequences.

    ``found`` has the distributions that provide each import name of ``PINS``, with their versions, and ``errors`` the
    reason for each import that fails. The key ``mmcv._ext`` stands for mmcv's compiled ops.
    """
    pins, troubles = pins_for(found), {}
    at = {name: version_tuple(next(iter(dists.values()), '0')) for name, dists in found.items()}

    def add(name, what, *packages, remove=()):
        steps = [f'pip uninstall -y {" ".join(remove)}'] if remove else []
        steps += [(BUILD if each in PINS['mmcv'] else 'pip install ') + each for each in packages]
        troubles.setdefault(name, Trouble(what, ' && '.join(steps), STOPS.get(name, TASKS)))

    for name, dists in found.items():
        if len(dists) > 1 and name != 'cv2':
            add(name, f'{" and ".join(dists)} are both installed and overwrite each other', pins[name], remove=dists)
        elif not dists:
            torch = next(iter(found['torch'].values()), '').split('+')[0]
            fits = f'torchvision torch=={torch}' if name == 'torchvision' and torch else pins[name]
            add(name, f'{name} is missing', fits)
    if (0,) < at['torch'] < (2, 3) and at['numpy'] >= (2,):
        add('numpy', 'this torch was built for numpy 1, and numpy is 2', '"numpy<2"')
    if at['torch'] >= (2, 6) and 'mmengine' in found['mmengine'] and at['mmengine'] <= (0, 10, 7):
        what = 'mmengine 0.10.7 cannot load its checkpoints, because torch.load reads only weights since torch 2.6'
        add('mmengine', what, PINS['mmengine'][0], remove=['mmengine'])
    if 'mmdet' in found['mmdet'] and at['mmdet'] <= (3, 3, 0) and at['mmcv'] >= (2, 2):
        fork = at['torch'] >= (2, 6)  # mmcv 2.1 is as old as torch 2.1, and the fork of mmdet takes any mmcv 2
        cure, remove = (PINS['mmdet'][0], ['mmdet']) if fork else (PINS['mmcv'][1], found['mmcv'])
        add('mmdet', 'this mmdet refuses mmcv 2.2 and later', cure, remove=remove)
    if 'libGL' in errors.get('cv2', ''):
        add('cv2', 'opencv-python needs libGL, which this system does not have', f'{AGAIN} {pins["cv2"]}')
    if 'mmcv._ext' in errors and not {'mmcv'} & (troubles.keys() | errors.keys()):
        what, cures = f'the compiled ops of mmcv fail: {errors["mmcv._ext"]}', [pins['mmcv']]
        if at['torch'] >= (2, 14):
            what += '; torch 2.14 and later need C++20, with which mmcv is not compiled, so torch is replaced too'
            cures.insert(0, f'{pins["torch"]} {pins["torchvision"]}')
        add('mmcv._ext', what, *cures, remove={'mmcv-lite'} & found['mmcv'].keys())
    if not troubles.keys() & PINS.keys():  # otherwise these errors follow from the troubles above
        for name, error in errors.items():
            if not ('mmcv._ext' in error and 'mmcv._ext' in troubles):
                add(name, f'import {name} fails: {error}', f'{AGAIN} {pins[name.partition(".")[0]]}')
    return list(troubles.values())


def pins_for(found):
    """Return the pin of each import name: that of the original packages if any of them is there without a fork."""
    names = {name for dists in found.values() for name in dists}
    originals = names & {'mmengine', 'mmcv', 'mmcv-lite', 'mmpretrain', 'mmdet'} and 'onedl-' not in ' '.join(names)
    return {name: pair[bool(originals)] for name, pair in PINS.items()}


def version_tuple(version):
    """Return a version as a tuple: ``'2.11.0+cu130'`` becomes ``(2, 11, 0)``."""
    return tuple(int(part) for part in re.match(r'\d+(\.\d+)*', version).group().split('.'))


def distributions_by_package():
    """Return the distributions of each import name. Python 3.10 finds only those with a file top_level.txt itself."""
    providers = {name: list(dists) for name, dists in importlib.metadata.packages_distributions().items()}
    if sys.version_info < (3, 11):
        for dist in importlib.metadata.distributions():
            if dist.read_text('top_level.txt') is None:
                for package in {file.parts[0] for file in dist.files or () if file.name == '__init__.py'}:
                    providers.setdefault(package, []).append(dist.name)
    return providers


def gather():
    """Return ``found`` and ``errors`` of the running Python for :func:`diagnose`."""
    providers, errors, version = distributions_by_package(), {}, importlib.metadata.version
    found = {name: {dist: version(dist) for dist in sorted(set(providers.get(name, ())))} for name in PINS}
    for name in IMPORTS:
        package = name if name == 'mmcv._ext' else name.split('.')[0]
        if found[name.split('.')[0]] and package not in errors:
            try:  # without the messages of the packages about their optional parts
                with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                    warnings.simplefilter('ignore')
                    importlib.import_module(name)
            except Exception as error:  # a broken package may raise anything
                errors[package] = f'{type(error).__name__}: {error}'.splitlines()[0]
    return found, errors


def backends():
    """Return lines on which backend the losses use on the CPU and on the GPU, and why."""
    try:
        import torch

        from mmasl.ops.asymmetric_loss import OP, Asymmetry
        from mmasl.ops.triton_check import find_fault
        from mmasl.ops.triton_support import triton_unavailable

        cpu, gpu = 'plain' if OP.library.reason else 'cpu', 'none, because torch finds no GPU'
        if torch.cuda.is_available():
            pred = torch.zeros(1, 80, device='cuda')
            fault = triton_unavailable(pred) or find_fault(OP, pred, pred, None, None, 1.0, Asymmetry(), reduce=True)
            gpu = f'plain ({fault})' if fault else f'triton ({torch.cuda.get_device_name()})'
        return [f'{"loss on CPU":<13}{cpu} ({OP.library.status})', f'{"loss on GPU":<13}{gpu}']
    except Exception as error:  # a broken torch or GPU may raise anything
        return [f'{"loss":<13}cannot run ({type(error).__name__}: {error})'.splitlines()[0]]


def report(found, errors, venv=''):
    """Return the lines to print and the troubles. ``make install`` repairs ``venv``, the environment of a clone."""
    lines = [f'{"python":<13}{sys.version.split()[0]} ({sys.prefix})']
    for (name, dists), pin in zip(found.items(), pins_for(found).values(), strict=True):
        versions = ', '.join(f'{at} ({dist})' for dist, at in dists.items()) or 'missing'
        tested = pin.partition('==')[2]
        known = any(version_tuple(at) == version_tuple(tested) for at in dists.values())
        lines.append(f'{name:<13}{versions}' + ('' if known else f', tested with {tested}'))
    lines += [f'{"mmcv._ext":<13}{errors.get("mmcv._ext", "loads")}'] if found['mmcv'] else []
    troubles = diagnose(found, errors)
    lines += backends()
    for trouble in troubles:
        lines += [f'trouble: {trouble.what}'] + ([] if venv else [f'   cure: {trouble.cure}'])
    if troubles and venv:
        install = 'make install' + (' STACK=openmmlab' if 'openmmlab' in venv else '')
        lines.append(f'   cure: {install}; if this does not help, rm -rf {venv} && {install}')
    stopped = {task for trouble in troubles for task in trouble.tasks}
    return lines + [f'{task} configs {"cannot" if task in stopped else "can"} run' for task in TASKS], troubles


def main():
    prefix, clone = Path(sys.prefix).resolve(), Path(__file__).resolve().parents[1]
    lines, troubles = report(*gather(), prefix.name if prefix.parent == clone else '')
    print('\n'.join(lines))
    return 1 if troubles else 0


if __name__ == '__main__':
    sys.exit(main())
