"""The set-up without network: its pins, and where the one package that it builds itself, mmcv with ops, comes from."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmasl

ROOT = Path(__file__).parents[1]
STACKS = ('onedl', 'openmmlab')
PIN = re.compile(r'([a-z0-9-]+)==([\w.+!]+)( ; [^#]+)?( +# via .+)?')


def canonical(name):
    return re.sub(r'[-_.]+', '-', name).lower()


def pins(stack):
    """The lines of a compiled file as ``[(name, version)]``; one without an exact pin fails."""
    lines = (ROOT / f'requirements/{stack}.txt').read_text().splitlines()
    return [PIN.fullmatch(line).groups()[:2] for line in lines if not line.startswith('#')]


def wanted(name):
    """The requirements that ``requirements/{name}.in`` asks for, those of the files that it includes too."""
    for line in (ROOT / f'requirements/{name}.in').read_text().splitlines():
        if line.startswith('-r '):
            yield from wanted(Path(line[3:]).stem)
        elif line and not line.startswith('#'):
            yield line.partition(' ;')[0]


@pytest.mark.parametrize('stack', STACKS)
def test_the_pins_are_exact_and_hold_all_that_is_asked_for(stack):
    found = pins(stack)
    for requirement in wanted(stack):
        name, _, version = requirement.partition('==')
        name = re.split('[<>]', name)[0]
        assert any(canonical(name) == pin and version in ('', at) for pin, at in found), (
            f'{requirement}: make requirements'
        )
    assert not {name for name, _ in found} & {'opencv-python', 'numba'}


def test_both_stacks_share_all_pins_but_their_own():
    forks, originals = (dict(pins(stack)) for stack in STACKS)
    differ = {name for name in forks.keys() & originals.keys() if forks[name] != originals[name]}
    assert differ == {'numpy', 'opencv-python-headless', 'torch', 'torchvision', 'triton'}


# ---- make


def make(*arguments):
    done = subprocess.run(['make', *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize('stack, version', [('onedl', '3.13'), ('openmmlab', '3.12')])
def test_other_pythons_are_refused(stack, version, tmp_path):
    python = tmp_path / 'python'
    python.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = ({version.replace(".", ", ")}, 0); $2"\n'
    )
    python.chmod(0o755)
    code, output = make('packages', f'STACK={stack}', f'PYTHON={python}', f'VENV={tmp_path}/env')
    assert code and not (tmp_path / 'env').exists()
    assert re.search(rf'error: {stack} needs Python 3\.11 3\.10.* Run: make install PYTHON=python3\.11', output), output


def test_an_environment_of_another_python_is_refused(tmp_path):
    """``make install PYTHON=python3.10`` in an environment of Python 3.11 would test 3.11."""
    (tmp_path / 'bin').mkdir()
    for name, version in (('python', '3.11.7'), ('uv', ''), ('other', '3.10.13')):
        (tmp_path / 'bin' / name).write_text(f'#!/bin/sh\necho Python {version}\n')
        (tmp_path / 'bin' / name).chmod(0o755)
    code, output = make('packages', f'PYTHON={tmp_path}/bin/other', f'VENV={tmp_path}')
    assert code and f'{tmp_path} has Python 3.11.7' in output and 'VENV=' in output


# ---- mmcv with ops

STUB = r"""#!/bin/bash
echo "$@" >> '{log}'
case "$*" in
    -c*sysconfig*) printf '%s\n' '{site}' '{include}' cp311 ;;
    *pip*\ download\ *) mkdir -p '{cache}/part' && cd '{cache}/part' && mkdir m && tar czf mmcv.tar.gz m && rm -r m ;;
    *pip\ wheel\ *) [ -z "$BROKEN" ] || {{ echo "x.cpp:1: fatal error: no"; exit 1; }}
        echo ' [3/78] c++ x'; touch '{cache}/build/{wheel}' ;;
    *_ext*) [ -z "$UNLOADABLE" ] ;;
esac
"""
WHEEL = f'onedl_mmcv-2.3.6-cp311-cp311-linux_{os.uname().machine}.whl'


class Installer:
    """Runs ``install_mmcv.sh`` with a Python that only notes what it is asked to do."""

    def __init__(self, folder):
        self.site, self.include, self.log = (folder / name for name in ('site', 'include', 'log'))
        name = f'torch2.11.0+cu130-cp311-linux_{os.uname().machine}'
        self.cache = folder / 'xdg/mmasl/wheels' / name
        self.house, self.python = folder / 'house', folder / 'python'
        for path in (self.site / 'torch', self.site / 'mmcv', self.include, self.house):
            path.mkdir(parents=True)
        (self.site / 'torch/version.py').write_text("__version__ = '2.11.0+cu130'\n")
        (self.include / 'Python.h').touch()
        paths = dict(site=self.site, include=self.include, cache=self.cache, log=self.log, wheel=WHEEL)
        self.python.write_text(STUB.format(**paths))
        self.python.chmod(0o755)
        self.environment = dict(os.environ, XDG_CACHE_HOME=str(folder / 'xdg'))
        for name in ('WHEELHOUSE', 'FORCE_CUDA'):
            self.environment.pop(name, None)

    def run(self, **environment):
        """The exit status, the output, and the commands that Python got, but for the question where things are."""
        self.log.write_text('')
        done = subprocess.run(
            [ROOT / 'tools/misc/install_mmcv.sh', self.python, 'onedl-mmcv==2.3.6'],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
        )
        commands = [line for line in self.log.read_text().splitlines() if line.startswith(('-m', '-c import torch'))]
        return done.returncode, done.stdout + done.stderr, commands


@pytest.fixture
def installer(tmp_path):
    return Installer(tmp_path / 'a folder')


def test_compiled_ops_that_are_in_place_are_left_alone(installer):
    (installer.site / 'onedl_mmcv-2.3.6.dist-info').mkdir()
    (installer.site / 'mmcv/_ext.cpython-311.so').touch()
    assert installer.run() == (0, '', [])


def test_ops_are_compiled_once_and_an_ops_free_mmcv_of_the_same_version_is_replaced(installer):
    (installer.site / 'onedl_mmcv-2.3.6.dist-info').mkdir()  # as `make demo` leaves it
    code, output, commands = installer.run()
    assert code == 0 and '10 to 25 minutes' in output and '[3/78]' in output
    kinds = [re.search('download|wheel|uv pip install|_ext', command).group() for command in commands]
    assert kinds == ['download', 'wheel', 'uv pip install', '_ext']
    # The wheel is named by its path, so nothing that a cache holds under this name and version can take its place.
    assert commands[2].endswith(f'--reinstall-package onedl-mmcv {installer.cache / WHEEL}')
    assert '--no-cache-dir' in commands[1]
    code, output, commands = installer.run()
    assert code == 0 and len(commands) == 2 and commands[0].endswith(str(installer.cache / WHEEL))


def test_a_build_that_was_cut_short_goes_on_where_it_was(installer):
    code, output, _ = installer.run(BROKEN='1')
    assert code and 'error: x.cpp:1: fatal error: no. The whole output is in ' in output
    (installer.cache / 'build/mmcv/kept.o').touch()
    code, _, commands = installer.run()
    assert code == 0 and 'wheel' in commands[0]  # no second download
    assert not (installer.cache / 'build').exists()


def test_the_wheelhouse_goes_before_the_cache(installer):
    installer.cache.mkdir(parents=True)
    (installer.cache / WHEEL).touch()
    code, output, commands = installer.run(WHEELHOUSE=str(installer.house))
    assert code == 0 and f'{installer.house} has no onedl_mmcv-2.3.6 for cp311' in output
    (installer.house / WHEEL.replace('cp311', 'cp39')).touch()
    (installer.house / WHEEL).touch()
    code, output, commands = installer.run(WHEELHOUSE=str(installer.house))
    assert code == 0 and commands[0].endswith(str(installer.house / WHEEL))


def test_a_wheel_that_does_not_load_is_taken_out_again(installer):
    (installer.house / WHEEL).touch()
    code, output, commands = installer.run(WHEELHOUSE=str(installer.house), UNLOADABLE='1')
    assert code and 'uv pip uninstall' in commands[-1]
    assert (
        f'{installer.house / WHEEL} has no ops, or ops for another torch. Remove it, or leave out WHEELHOUSE' in output
    )


def test_a_missing_compiler_is_said_before_the_build(installer, tmp_path):
    tools = tmp_path / 'bin'
    tools.mkdir()
    for tool in ('bash', 'uname', 'sed', 'head'):
        (tools / tool).symlink_to(f'/usr/bin/{tool}' if Path(f'/usr/bin/{tool}').exists() else f'/bin/{tool}')
    code, output, commands = installer.run(PATH=str(tools))
    assert code and 'mmcv needs gcc and g++ to be built. Run: apt-get install g++' in output and not commands
    (installer.include / 'Python.h').unlink()
    code, output, commands = installer.run()
    assert code and 'Run: apt-get install python3.11-dev' in output and not commands


def test_setup_py_needs_no_torch():
    code = (
        "import runpy, sys; sys.modules['torch'] = None; sys.argv = ['setup.py', '--version'];"
        "runpy.run_path('setup.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split()[-1:] == [mmasl.__version__], done.stderr
