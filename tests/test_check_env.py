"""Each known trouble is recognised and has a cure, without an installation of the stack that has it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmasl import check_env
from mmasl.check_env import PINS, diagnose

ROOT = Path(__file__).parents[1]
FORKED = {
    'torch': '2.11.0+cu130',
    'torchvision': '0.26.0',
    'numpy': '2.2.6',
    'opencv-python-headless': '4.12.0.88',
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmpretrain': '1.3.6',
    'onedl-mmdetection': '3.5.1',
}
ORIGINAL = {
    'torch': '2.1.2',
    'torchvision': '0.16.2',
    'numpy': '1.26.4',
    'opencv-python': '4.11.0',
    'mmengine': '0.10.7',
    'mmcv': '2.1.0',
    'mmpretrain': '1.2.0',
    'mmdet': '3.3.0',
}
NO_OPS = "ModuleNotFoundError: No module named 'mmcv._ext'"
C, D, CD = ('classification',), ('detection',), ('classification', 'detection')
# the stack, what differs (None is not installed), import errors, the trouble, its cure, the tasks that it stops
TROUBLES = {
    'mmcv without ops': (
        FORKED,
        {},
        {'mmcv._ext': NO_OPS, 'mmdet': NO_OPS},
        "the compiled ops of mmcv fail: .* No module named 'mmcv._ext'",
        r'--no-cache-dir --no-build-isolation onedl-mmcv==2\.3\.6$',
        D,
    ),
    'original mmcv without ops': (ORIGINAL, {}, {'mmcv._ext': NO_OPS}, 'compiled ops', r' mmcv==2\.1\.0$', D),
    'mmcv-lite': (
        ORIGINAL,
        {'mmcv': None, 'mmcv-lite': '2.1.0'},
        {'mmcv._ext': NO_OPS},
        'compiled ops',
        r'^pip uninstall -y mmcv-lite && .* mmcv==2\.1\.0$',
        D,
    ),
    'ops of another torch': (
        FORKED,
        {},
        {'mmcv._ext': 'ImportError: undefined symbol: _ZN3c10'},
        'the compiled ops of mmcv fail: ImportError: undefined symbol',
        'onedl-mmcv==2.3.6',
        D,
    ),
    'no ops, and a torch for which they cannot be built': (
        FORKED,
        {'torch': '2.14.0'},
        {'mmcv._ext': NO_OPS},
        r'torch 2\.14 and later need C\+\+20',
        r'^pip install torch==2\.11\.0 torchvision==0\.26\.0 && .*onedl-mmcv',
        D,
    ),
    'mmdet refuses mmcv 2.2': (
        ORIGINAL,
        {'mmcv': '2.2.0'},
        {'mmdet': 'AssertionError: MMCV==2.2.0 is used but incompatible.'},
        'this mmdet refuses mmcv 2.2 and later',
        r'^pip uninstall -y mmcv && .*mmcv==2\.1\.0$',
        D,
    ),
    'mmdet refuses mmcv 2.2 under a new torch': (
        FORKED,
        {'onedl-mmdetection': None, 'mmdet': '3.3.0'},
        {'mmdet': 'AssertionError: MMCV==2.3.6 is used but incompatible.'},
        'this mmdet refuses mmcv 2.2 and later',
        '^pip uninstall -y mmdet && pip install onedl-mmdetection==3.5.1$',
        D,
    ),
    'mmengine cannot load checkpoints': (
        FORKED,
        {'onedl-mmengine': None, 'mmengine': '0.10.7', 'torch': '2.6.0'},
        {},
        r'mmengine 0\.10\.7 cannot load its checkpoints',
        '^pip uninstall -y mmengine && pip install onedl-mmengine==0.10.12$',
        CD,
    ),
    'no mmdet': (FORKED, {'onedl-mmdetection': None}, {}, 'mmdet is missing', 'onedl-mmdetection==3.5.1$', D),
    'no original mmdet': (ORIGINAL, {'mmdet': None}, {}, 'mmdet is missing', ' mmdet==3.3.0$', D),
    'no mmpretrain': (FORKED, {'onedl-mmpretrain': None}, {}, 'mmpretrain is missing', 'onedl-mmpretrain==1.3.6$', C),
    'no mmengine': (FORKED, {'onedl-mmengine': None}, {}, 'mmengine is missing', 'onedl-mmengine==0.10.12$', CD),
    'no torchvision': (
        FORKED,
        {'torchvision': None, 'torch': '2.9.1+cpu'},
        {},
        'torchvision is missing',
        r'^pip install torchvision torch==2\.9\.1$',
        CD,
    ),
    'numpy 2 under an old torch': (
        ORIGINAL,
        {'numpy': '2.0.1'},
        {'torch': 'ImportError: numpy.core.multiarray failed to import'},
        'this torch was built for numpy 1, and numpy is 2',
        'pip install "numpy<2"',
        CD,
    ),
    'fork and original side by side': (
        FORKED,
        {'mmengine': '0.10.4'},
        {},
        'onedl-mmengine and mmengine are both installed and overwrite each other',
        '^pip uninstall -y onedl-mmengine mmengine && pip install onedl-mmengine==0.10.12$',
        CD,
    ),
    'no libGL': (
        FORKED,
        {'opencv-python': '4.12.0.88'},
        {'cv2': 'ImportError: libGL.so.1: cannot open shared object file', 'mmcv': 'ImportError: libGL.so.1'},
        'opencv-python needs libGL, which this system',
        'pip install --force-reinstall --no-deps opencv-python-headless==4.12.0.88',
        CD,
    ),
    'anything else': (
        FORKED,
        {},
        {'mmpretrain': 'TypeError: surprise'},
        'import mmpretrain fails: TypeError: surprise',
        'onedl-mmpretrain==1.3.6',
        C,
    ),
}


def found(stack, changes=None):
    """Return what :func:`check_env.gather` finds for ``stack`` with ``changes``."""
    versions = {name: version for name, version in {**stack, **(changes or {})}.items() if version}
    return {name: {d: at for d, at in versions.items() if provides(d) == name} for name in PINS}


def provides(distribution):
    """Return the import name of a distribution."""
    name = distribution.removeprefix('onedl-').removesuffix('-lite')
    return {'mmdetection': 'mmdet'}.get(name, 'cv2' if 'opencv' in name else name)


@pytest.mark.parametrize('stack', [FORKED, ORIGINAL], ids=['forks', 'originals'])
def test_stacks_that_work_have_no_trouble(stack):
    assert diagnose(found(stack), {}) == []
    lines, troubles = check_env.report(found(stack), {})
    assert not troubles and lines[-2:] == ['classification configs can run', 'detection configs can run']


@pytest.mark.parametrize('name', TROUBLES)
def test_one_trouble_one_cure(name):
    stack, changes, errors, what, cure, tasks = TROUBLES[name]
    (trouble,) = diagnose(found(stack, changes), errors)
    assert re.search(what, trouble.what)
    assert re.search(cure, trouble.cure), trouble.cure
    assert trouble.tasks == tasks


def test_in_the_clones_own_venv_make_cures():
    lines, _ = check_env.report(found(FORKED, {'mmengine': '0.10.4', 'onedl-mmdetection': None}), {}, '.venv-openmmlab')
    assert [line for line in lines if 'cure' in line] == [
        '   cure: make install STACK=openmmlab; if this does not help, rm -rf .venv-openmmlab && make install '
        'STACK=openmmlab'
    ]


def test_ready_is_judged_per_task():
    lines, troubles = check_env.report(found(FORKED), {'mmcv._ext': NO_OPS})
    assert len(troubles) == 1 and sum('cure: pip install' in line for line in lines) == 1
    assert lines[-2:] == ['classification configs can run', 'detection configs cannot run']


def test_versions_beside_those_that_are_tested():
    lines, _ = check_env.report(found(FORKED, {'numpy': '2.3.0'}), {})
    assert 'numpy        2.3.0 (numpy), tested with 2.2.6' in lines
    assert 'torch        2.11.0+cu130 (torch)' in lines


def test_versions_are_those_of_requirements():
    for column, stack in enumerate(('onedl', 'openmmlab')):
        pins = {line.split(' ')[0] for line in (ROOT / f'requirements/{stack}.txt').read_text().splitlines()}
        assert {pair[column] for pair in PINS.values()} <= pins


def run(*command):
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)


def test_this_environment_can_run_the_configs():
    done = run('-m', 'mmasl.check_env')
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'mmcv._ext    loads' in done.stdout and re.search('loss on GPU  (triton|plain|none)', done.stdout)
    state = r'loss on CPU  (cpu \(compiled, |plain \(not compiled, .*To compile it: )'
    assert re.search(state, done.stdout), done.stdout


def test_an_empty_python_gets_a_report_and_no_traceback():
    done = run('-I', '-S', 'mmasl/check_env.py')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'trouble: torch is missing' in done.stdout
    assert 'cure: pip install torch==2.11.0' in done.stdout
