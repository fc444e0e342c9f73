"""Prints what the OpenMMLab stack consists of and, for each known trouble, the one command that cures it.

``python -m mmasl.check_env`` exits with 1 when the configs cannot run; ``--task`` asks for one kind of them only.
Where even torch is missing, ``python mmasl/check_env.py`` says so: this file needs the standard library alone.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import io
import re
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

TASKS = ('classification', 'detection')
# import name: the distributions that provide it, the maintained fork first
PROVIDERS = {
    'torch': ('torch',),
    'torchvision': ('torchvision',),
    'numpy': ('numpy',),
    'cv2': ('opencv-python-headless', 'opencv-python', 'opencv-contrib-python', 'opencv-contrib-python-headless'),
    'mmengine': ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    'mmcv': ('onedl-mmcv', 'mmcv', 'mmcv-lite'),
    'mmpretrain': ('onedl-mmpretrain', 'mmpretrain'),
    'mmdet': ('onedl-mmdetection', 'mmdet'),
}
OPENMMLAB = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet')
NEEDED_BY = dict.fromkeys(PROVIDERS, TASKS)
NEEDED_BY |= {'mmpretrain': TASKS[:1], 'mmdet': TASKS[1:], 'mmcv._ext': TASKS[1:], 'openmim': ()}
# What configs import, packages before those that need them: mmdet itself is empty, its parts are not
IMPORTS = ('torch', 'torchvision', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmcv._ext', 'mmpretrain', 'mmpretrain.datasets')
IMPORTS += ('mmpretrain.evaluation', 'mmdet', 'mmdet.datasets', 'mmdet.evaluation', 'mmdet.models')
# The versions of requirements/ (a test compares them): of the maintained forks, and of the last original packages
FORKS = {
    'torch': 'torch==2.11.0',
    'torchvision': 'torchvision==0.26.0',
    'numpy': 'numpy==2.2.6',
    'cv2': 'opencv-python-headless==4.12.0.88',
    'mmengine': 'onedl-mmengine==0.10.12',
    'mmcv': 'onedl-mmcv==2.3.6',
    'mmpretrain': 'onedl-mmpretrain==1.3.6',
    'mmdet': 'onedl-mmdetection==3.5.1',
}
ORIGINALS = {
    'torch': 'torch==2.1.2',
    'torchvision': 'torchvision==0.16.2',
    'numpy': 'numpy==1.26.4',
    'cv2': 'opencv-python-headless==4.11.0.86',
    'mmengine': 'mmengine==0.10.7',
    'mmcv': 'mmcv==2.1.0',
    'mmpretrain': 'mmpretrain==1.2.0',
    'mmdet': 'mmdet==3.3.0',
}
ORIGINALS_VENV = '.venv-openmmlab'  # of ``make install STACK=openmmlab``
BUILD_TOOLS = 'pip install "setuptools<82" wheel packaging ninja psutil'
FROM_SOURCE = 'MMCV_WITH_OPS=1 pip install --force-reinstall --no-deps --no-cache-dir --no-build-isolation'


@dataclass(frozen=True)
class Facts:
    """What :func:`diagnose` judges: versions by distribution, and by import name why an import fails.

    ``errors`` has the key ``mmcv._ext`` for mmcv's compiled ops; ``own_venv`` is the name of the environment in a
    clone, where ``make`` repairs it.
    """

    versions: dict
    errors: dict = field(default_factory=dict)
    gpu: str = ''
    triton: str = ''
    kernel: str = ''
    own_venv: str = ''


@dataclass(frozen=True)
class Trouble:
    """A trouble, the tasks that it stops and the command that cures it."""

    what: str
    cure: str
    tasks: tuple = TASKS


def version_tuple(version):
    """``'2.11.0+cu130'`` → ``(2, 11, 0)``.

    Example:
        >>> version_tuple('2.6.0rc1')
        (2, 6, 0)
    """
    return tuple(int(part) for part in re.match(r'\d+(\.\d+)*', version).group().split('.'))


def diagnose(facts):
    """The troubles that ``facts`` show, causes before what follows from them."""
    versions, errors = facts.versions, facts.errors
    provided = {name: [d for d in dists if d in versions] for name, dists in PROVIDERS.items()}
    forks = any(d.startswith('onedl-') for d in versions) or not any(provided[name] for name in OPENMMLAB)
    at = {name: version_tuple(versions[dists[0]]) for name, dists in provided.items() if dists}
    blamed, troubles, wanted = set(), [], FORKS if forks else ORIGINALS
    make = 'make install STACK=openmmlab' if facts.own_venv == ORIGINALS_VENV else 'make install'

    def add(name, what, pip_command, afresh=True):
        blamed.add(name)
        own = f'rm -rf {facts.own_venv} && {make}' if afresh else make
        troubles.append(Trouble(what, own if facts.own_venv else pip_command, NEEDED_BY[name]))

    for name, dists in provided.items():
        if len(dists) > 1 and name != 'cv2':
            remove = f'pip uninstall -y {" ".join(dists)} && '
            command = build_mmcv(dists[0], versions[dists[0]]) if name == 'mmcv' else f'pip install {wanted[name]}'
            what = f'{" and ".join(dists)} are both installed and overwrite each other'
            add(name, what, remove + command)
        elif not dists:
            command = build_mmcv(*wanted[name].split('==')) if name == 'mmcv' else f'pip install {wanted[name]}'
            if name in ('mmdet', 'mmpretrain'):
                command = f'pip install --no-build-isolation {wanted[name]}'
            if name == 'torchvision' and 'torch' in versions:  # the one that fits, not the one that replaces torch
                command = f'pip install torchvision torch=={versions["torch"].split("+")[0]}'
            add(name, f'{name} is missing', command, afresh=False)

    torch, numpy, mmcv = at.get('torch', (0,)), at.get('numpy', (0,)), at.get('mmcv', (0,))
    if (0,) < torch < (2, 3) and numpy >= (2,):
        what = f'torch {versions["torch"]} was built for numpy 1 and numpy is {versions["numpy"]}'
        add('numpy', what, 'pip install "numpy<2"')
    if torch >= (2, 6) and 'mmengine' in versions and at['mmengine'] <= (0, 10, 7):
        what = (
            f'mmengine {versions["mmengine"]} cannot load its checkpoints under torch {versions["torch"]}: '
            'torch.load reads weights only since 2.6'
        )
        command = f'pip uninstall -y mmengine && pip install {FORKS["mmengine"]}'
        add('mmengine', what, command)
    if 'mmdet' in versions and at['mmdet'] <= (3, 3, 0) and mmcv >= (2, 2):
        what = f'mmdet {versions["mmdet"]} refuses mmcv {".".join(map(str, mmcv))} (it asserts mmcv<2.2.0)'
        command = f'pip uninstall -y {provided["mmcv"][0]} && ' + build_mmcv('mmcv', '2.1.0')
        if torch >= (2, 6):  # mmcv 2.1 is as old as torch 2.1; the fork of mmdet takes any mmcv 2
            command = f'pip uninstall -y mmdet && pip install --no-build-isolation {FORKS["mmdet"]}'
        add('mmdet', what, command)
    if 'cv2' in errors and 'libGL' in errors['cv2']:
        command = f'pip install --force-reinstall --no-deps {wanted["cv2"]}'
        add('cv2', 'opencv-python needs a system libGL that is not there', command)
    if 'mmcv._ext' in errors and 'mmcv' not in blamed and 'mmcv' not in errors:
        absent = re.search(r"No module named '?mmcv\._ext", errors['mmcv._ext'])
        what = 'mmcv has no compiled ops (mmcv._ext)' if absent else f'mmcv._ext fails: {errors["mmcv._ext"]}'
        command = build_mmcv(provided['mmcv'][0], versions[provided['mmcv'][0]])
        if torch >= (2, 14):
            what += f'; torch {versions["torch"]} needs C++20, for which mmcv does not ask, so torch goes back too'
            command = f'pip install {FORKS["torch"]} {FORKS["torchvision"]} && ' + command
        add('mmcv._ext', what, command, afresh=not absent)
    if 'openmim' in versions and version_tuple(versions.get('setuptools', '82'))[0] >= 82:
        add('openmim', 'openmim needs pkg_resources, which setuptools 82 dropped', 'pip install "setuptools<82"', False)
    if not blamed & set(PROVIDERS):  # else these errors follow from the troubles above
        for name, error in errors.items():
            if name not in blamed and not ('mmcv._ext' in error and 'mmcv._ext' in blamed):
                command = f'pip install --force-reinstall --no-deps {wanted[name.partition(".")[0]]}'
                add(name, f'import {name} fails: {error}', command)
    return troubles


def build_mmcv(distribution, version):
    """The command that builds mmcv with its ops; mmcv-lite never has them."""
    if distribution == 'mmcv-lite':
        return f'pip uninstall -y mmcv-lite && {build_mmcv("mmcv", version)}'
    return f'{BUILD_TOOLS} && {FROM_SOURCE} {distribution}=={version}'


def import_error(name):
    """Why ``import name`` fails, in one line; empty when it works."""
    quiet = io.StringIO()  # what the packages say of their own optional parts
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            warnings.simplefilter('ignore')
            importlib.import_module(name)
    except Exception as error:  # whatever a broken package raises is a finding
        return f'{type(error).__name__}: {error}'.splitlines()[0]
    return ''


def gather():
    """The facts of the running Python."""
    names = {d for dists in PROVIDERS.values() for d in dists} | {'openmim', 'setuptools', 'triton', 'timm'}
    versions = {}
    for name in sorted(names):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    errors = {}
    for name in IMPORTS:
        package = name if name == 'mmcv._ext' else name.split('.')[0]
        if package not in errors and any(d in versions for d in PROVIDERS[name.split('.')[0]]):
            error = import_error(name)
            if error:
                errors[package] = error
    if 'torch' in versions and 'torch' not in errors:
        versions['torch'] = importlib.import_module('torch').__version__  # with +cu130, which the metadata may lack
    prefix, clone = Path(sys.prefix).resolve(), Path(__file__).resolve().parents[1]
    own_venv = next((name for name in ('.venv', ORIGINALS_VENV) if prefix == clone / name), '')
    return Facts(versions, errors, *gather_gpu(), kernel=gather_kernel(), own_venv=own_venv)


def gather_gpu():
    """One phrase each on the GPU and on Triton, from using them."""
    try:
        import torch

        if not torch.cuda.is_available():
            return 'none that torch can use: everything runs on the CPU', 'not usable without a GPU'
        torch.ones(1, device='cuda').sum().item()
        gpu = f'{torch.cuda.get_device_name()}, usable'
    except Exception as error:
        return f'not usable: {error}'.splitlines()[0], 'not usable without a GPU'
    try:
        import triton

        from mmasl.ops.asymmetric_loss import OP, Asymmetry
        from mmasl.ops.triton_check import find_fault
        from mmasl.ops.triton_support import triton_unavailable

        pred, target = torch.zeros(1, 80, device='cuda'), torch.zeros(1, 80, device='cuda')
        fault = triton_unavailable(pred) or find_fault(OP, pred, target, None, None, 1.0, Asymmetry(), reduce=True)
        return gpu, f'{triton.__version__}, {f"not usable: {fault}" if fault else "usable"}'
    except Exception as error:
        return gpu, f'not usable: {type(error).__name__}: {error}'.splitlines()[0]


def gather_kernel():
    """One phrase on the compiled CPU kernel, without which the loss runs in torch operations."""
    try:
        from mmasl.ops.asymmetric_loss.compiled import LIBRARY, REASON, level
        from mmasl.ops.cpu_support import LEVELS
    except ImportError as error:
        return f'unknown: {error}'
    return f'usable, {LEVELS[level]}' if LIBRARY else f'not usable, torch operations take its place: {REASON}'


def report(facts, tasks):
    """The lines to print and whether all of ``tasks`` can run."""
    lines = [f'{"python":<13}{sys.version.split()[0]} ({sys.prefix})']
    for name, dists in PROVIDERS.items():
        found = [f'{facts.versions[d]} ({d})' if d != name else facts.versions[d] for d in dists if d in facts.versions]
        lines.append(f'{name:<13}{", ".join(found) or "missing"}')
        if name == 'mmcv' and found:
            lines.append(f'{"mmcv._ext":<13}{facts.errors.get("mmcv._ext", "loads")}')
    lines += [f'{"GPU":<13}{facts.gpu}', f'{"Triton":<13}{facts.triton}', f'{"CPU kernel":<13}{facts.kernel}']
    troubles = diagnose(facts)
    stopped = {task for trouble in troubles for task in trouble.tasks}
    for trouble in troubles:
        if not trouble.tasks or set(trouble.tasks) & set(tasks):  # another task's trouble is not asked for
            lines += [f'trouble: {trouble.what}', f'   cure: {trouble.cure}']
    lines += [f'{task} configs: {"cannot run" if task in stopped else "can run"}' for task in tasks]
    return lines, not stopped & set(tasks)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog='python -m mmasl.check_env', description=__doc__.splitlines()[0])
    parser.add_argument('--task', choices=(*TASKS, 'all'), default='all', help='configs that have to run')
    task = parser.parse_args(arguments).task
    lines, ready = report(gather(), TASKS if task == 'all' else (task,))
    print('\n'.join(lines))
    return 0 if ready else 1


if __name__ == '__main__':
    sys.exit(main())
