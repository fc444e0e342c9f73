"""The set-up script's decisions, without network: what is there, what is half-done, and where mmcv comes from."""

import importlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TAG = 'cp{}{}'.format(*sys.version_info[:2])


MMCV = ('onedl-mmcv', '2.3.6')
STACKS = ('onedl', 'openmmlab')


@pytest.fixture(scope='module')
def setup_env():
    sys.path.insert(0, str(ROOT / 'tools/misc'))
    yield importlib.import_module('setup_env')
    sys.path.remove(str(ROOT / 'tools/misc'))


@pytest.fixture(scope='module')
def setup_state(setup_env):
    return importlib.import_module('setup_state')


@pytest.fixture(scope='module')
def setup_log(setup_env):
    return importlib.import_module('setup_log')


@pytest.fixture(scope='module')
def mmcv_wheel(setup_env):
    return importlib.import_module('mmcv_wheel')


def package(site, name, version, complete=True):
    info = site / f'{name.replace("-", "_")}-{version}.dist-info'
    info.mkdir(parents=True)
    for file in ('METADATA', 'RECORD', *(['INSTALLER'] if complete else [])):
        (info / file).touch()
    return info


def wheel(folder, tag=TAG, ops=True, version='2.3.6'):
    folder.mkdir(exist_ok=True)
    path = folder / f'onedl_mmcv-{version}-{tag}-{tag}-linux_{os.uname().machine}.whl'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('mmcv/__init__.py', '')
        if ops:
            archive.writestr('mmcv/_ext.cpython-xyz.so', '')
    return str(path)


# ---- Python


@pytest.mark.parametrize('version', [(3, 9, 18), (3, 13, 0), (2, 7, 18)])
def test_other_pythons_are_refused(setup_env, version):
    with pytest.raises(setup_env.SetupError, match=r'3\.10, 3\.11 or 3\.12 is needed, this is .*make install PYTHON='):
        setup_env.check_python(version, '/usr/bin/python3', 'onedl')


def test_the_original_packages_have_no_build_for_python_3_12(setup_env):
    cure = 'rm -rf .venv-openmmlab && make install STACK=openmmlab PYTHON=python3.11'
    with pytest.raises(setup_env.SetupError, match=rf'3\.10 or 3\.11 is needed, this is 3\.12 .* Run: {cure}'):
        setup_env.check_python((3, 12, 1), '/usr/bin/python3', 'openmmlab', afresh=True)


@pytest.mark.parametrize('version', [(3, 10, 0), (3, 11, 7), (3, 12, 1)])
def test_supported_pythons_pass(setup_env, version):
    setup_env.check_python(version, '/usr/bin/python3', 'onedl')


# ---- requirements


def test_every_requirement_is_an_exact_pin_and_named_once(setup_state):
    parts = {*setup_state.PROFILES['docs'], 'mmcv'}
    assert {file.stem for file in (ROOT / 'requirements').glob('*.txt')} == parts | {'openmmlab'}
    for stack in STACKS:
        names = [setup_state.canonical(name) for part in parts for name, _ in setup_state.pins_of(ROOT, part, stack)]
        assert len(names) == len(set(names)) > 60


def test_the_original_packages_take_the_place_of_the_forks(setup_state):
    parts = [*setup_state.PROFILES['docs'], 'mmcv']
    forks, originals = (dict(p for part in parts for p in setup_state.pins_of(ROOT, part, s)) for s in STACKS)
    own = dict(setup_state.read_pins(ROOT / 'requirements/openmmlab.txt'))
    assert dict(originals.items() - forks.items()) == own
    replaced = {setup_state.ORIGINALS.get(name, name) for name, _ in forks.items() - originals.items()}
    assert replaced == set(own)


def test_pins_for_another_python_are_left_out(setup_state, tmp_path):
    file = tmp_path / 'r.txt'
    file.write_text("# why\na==1\nb==2; python_version < '3.9'\nc==3; python_version < '3.99'\n")
    assert setup_state.read_pins(file) == [('a', '1'), ('c', '3')]


def test_a_loose_requirement_is_an_error(setup_state, tmp_path):
    (tmp_path / 'r.txt').write_text('a>=1\n')
    with pytest.raises(setup_state.SetupError, match='expected "name==version", got "a>=1"'):
        setup_state.read_pins(tmp_path / 'r.txt')


# ---- half-done installs


def test_a_package_cut_short_counts_as_missing_and_is_cleared(setup_state, tmp_path):
    whole = package(tmp_path, 'Some.Name', '1.0')
    half = package(tmp_path, 'torch', '2.11.0', complete=False)
    stash = tmp_path / '~umpy'
    stash.mkdir()
    pins = [('some-name', '1.0'), ('torch', '2.11.0'), ('some-name', '2.0')]
    assert setup_state.missing(pins, tmp_path) == ['torch==2.11.0', 'some-name==2.0']
    setup_state.clear_leftovers(tmp_path)
    assert whole.exists() and not half.exists() and not stash.exists()


@pytest.fixture
def finished(setup_state, tmp_path, monkeypatch):
    """A root and a site-packages where the set-up ``full`` came to its end."""
    root, site = tmp_path / 'a clone', tmp_path / 'site'
    for name in ('requirements', 'tools/misc', 'mmasl/ops'):
        (root / name).mkdir(parents=True)
    for name in (*setup_state.PROFILES['docs'], 'mmcv'):
        (root / f'requirements/{name}.txt').write_text(f'of-{name}==1.0\n')
        package(site, f'of-{name}', '1.0')
    for name in (
        'setup.py',
        'tools/misc/setup_env.py',
        'tools/misc/mmcv_wheel.py',
        'mmasl/ops/k.cpp',
        'mmasl/ops/k.so',
    ):
        (root / name).touch()
    (package(site, 'mmasl', '0.1') / 'direct_url.json').write_text(f'{{"url": "{root.as_uri()}"}}')
    (site / 'mmcv').mkdir()
    (site / 'mmcv/_ext.cpython-xyz.so').touch()
    monkeypatch.setattr(setup_state.sys, 'prefix', str(tmp_path))
    for profile in setup_state.PROFILES:
        setup_state.write_stamp(str(root), profile, 'onedl')
    return root, site


def test_a_finished_set_up_is_left_alone(setup_state, finished, capfd):
    root, site = finished
    assert all(setup_state.is_done(str(root), profile, 'onedl', str(site)) for profile in setup_state.PROFILES)


def break_stamp(root, site):
    (site.parent / 'mmasl-full.stamp').unlink()


def break_pin(root, site):
    (root / 'requirements/torch.txt').write_text('of-torch==2.0\n')


def break_script(root, site):
    (root / 'tools/misc/setup_env.py').write_text('# changed')


def break_package(root, site):
    (site / 'of_tests-1.0.dist-info/INSTALLER').unlink()


def break_ops(root, site):
    (site / 'mmcv/_ext.cpython-xyz.so').unlink()


def break_editable(root, site):
    (site / 'mmasl-0.1.dist-info/direct_url.json').write_text('{"url": "file:///elsewhere"}')


def break_source(root, site):
    (root / 'mmasl/ops/k.cpp').write_text('// changed')


def break_kernel(root, site):
    (root / 'mmasl/ops/k.so').unlink()


DAMAGES = [break_stamp, break_pin, break_script, break_package, break_ops, break_editable, break_source, break_kernel]


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_set_up_is_seen(setup_state, finished, damage):
    root, site = finished
    damage(root, site)
    assert not setup_state.is_done(str(root), 'full', 'onedl', str(site))


def test_a_finished_set_up_of_the_forks_is_none_of_the_original_packages(setup_state, finished):
    root, site = finished
    (root / 'requirements/openmmlab.txt').write_text('of-torch==1.0\n')
    assert not setup_state.is_done(str(root), 'full', 'openmmlab', str(site))
    setup_state.write_stamp(str(root), 'full', 'openmmlab')
    assert setup_state.is_done(str(root), 'full', 'openmmlab', str(site))
    (root / 'requirements/openmmlab.txt').write_text('of-torch==0.9\n')
    assert not setup_state.is_done(str(root), 'full', 'openmmlab', str(site))


def test_the_demo_is_content_without_ops_and_test_tools(setup_state, finished):
    root, site = finished
    break_ops(root, site)
    break_package(root, site)
    assert setup_state.is_done(str(root), 'demo', 'onedl', str(site))


# ---- the wheels of mmcv


def test_cache_is_keyed_by_torch_python_platform_and_cuda(mmcv_wheel, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '/cache')
    key = f'/cache/mmasl/wheels/torch2.11.0+cu130-{TAG}-{mmcv_wheel.platform_tag()}'
    assert mmcv_wheel.wheel_cache('2.11.0+cu130', cuda=False) == key
    assert mmcv_wheel.wheel_cache('2.11.0+cu130', cuda=True) == key + '-cuda'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', '/home/u')
    assert mmcv_wheel.wheel_cache('2.12.0', cuda=False).startswith('/home/u/.cache/mmasl/wheels/torch2.12.0-')


def test_only_a_wheel_with_ops_for_this_python_will_do(mmcv_wheel, tmp_path):
    wheel(tmp_path, tag='cp39')
    wheel(tmp_path, version='2.2.0')
    wheel(tmp_path, ops=False)
    assert mmcv_wheel.find_wheel(str(tmp_path), 'onedl-mmcv', '2.3.6') is None
    assert mmcv_wheel.find_wheel(str(tmp_path), 'onedl-mmcv', '2.2.0')
    assert mmcv_wheel.find_wheel(str(tmp_path / 'absent'), 'onedl-mmcv', '2.3.6') is None


def test_a_broken_wheel_is_named(mmcv_wheel, tmp_path):
    Path(wheel(tmp_path)).write_text('cut short')
    with pytest.raises(mmcv_wheel.SetupError, match=r'onedl_mmcv.*whl is not a wheel .* Remove it and run again'):
        mmcv_wheel.find_wheel(str(tmp_path), 'onedl-mmcv', '2.3.6')


def test_wheelhouse_goes_before_the_cache(mmcv_wheel, tmp_path, monkeypatch, capsys):
    house, cache = tmp_path / 'house', tmp_path / 'cache'
    monkeypatch.delenv('WHEELHOUSE', raising=False)
    assert mmcv_wheel.ready_wheel('onedl-mmcv', '2.3.6', str(cache)) is None
    cached = wheel(cache)
    assert mmcv_wheel.ready_wheel('onedl-mmcv', '2.3.6', str(cache)) == cached
    monkeypatch.setenv('WHEELHOUSE', str(house))
    with pytest.raises(mmcv_wheel.SetupError, match='WHEELHOUSE=.*house is not a folder'):
        mmcv_wheel.ready_wheel('onedl-mmcv', '2.3.6', str(cache))
    housed = wheel(house)
    assert mmcv_wheel.ready_wheel('onedl-mmcv', '2.3.6', str(cache)) == housed
    Path(housed).unlink()
    Path(cached).unlink()
    assert mmcv_wheel.ready_wheel('onedl-mmcv', '2.3.6', str(cache)) is None
    assert f'has no onedl-mmcv 2.3.6 with ops for {TAG}' in capsys.readouterr().out


class Commands:
    """Stands in for Log: keeps the commands, fails where told."""

    path = 'setup.log'

    def __init__(self, mmcv_wheel, fails=None):
        self.commands, self.fails, self.error = [], fails, mmcv_wheel.SetupError

    def run(self, what, command, env=None):
        self.commands.append(command)
        if what == self.fails:
            raise self.error(what + ' failed')


@pytest.fixture
def site(mmcv_wheel, tmp_path, monkeypatch):
    """A site-packages with torch, and nowhere a wheel of mmcv."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'xdg'))
    monkeypatch.delenv('WHEELHOUSE', raising=False)
    (tmp_path / 'torch').mkdir()
    (tmp_path / 'torch/version.py').write_text("__version__ = '2.11.0+cu130'\n")
    return tmp_path


def test_without_a_wheel_the_demo_builds_no_ops_and_leaves_no_trace_in_pips_cache(mmcv_wheel, site):
    log = Commands(mmcv_wheel)
    mmcv_wheel.install_mmcv(log, str(ROOT), *MMCV, str(site), ops=False)
    (command,) = log.commands
    assert {'--no-cache-dir', '--no-binary', 'onedl-mmcv==2.3.6'} <= set(command)
    assert '--no-build-isolation' not in command
    assert command[command.index('--build-constraint') + 1] == str(ROOT / 'requirements/build.txt')


@pytest.mark.parametrize('ops', [True, False])
def test_a_ready_wheel_is_installed_and_tried(mmcv_wheel, site, monkeypatch, ops):
    path = wheel(site / 'house')
    monkeypatch.setenv('WHEELHOUSE', str(site / 'house'))
    log = Commands(mmcv_wheel)
    mmcv_wheel.install_mmcv(log, str(ROOT), *MMCV, str(site), ops)
    install, attempt = log.commands
    assert '--force-reinstall' in install and install[-1] == path
    assert attempt[-1] == 'import torch, mmcv._ext'


def test_ops_are_built_over_an_ops_free_mmcv(mmcv_wheel, site, monkeypatch):
    package(site, 'onedl-mmcv', '2.3.6')
    monkeypatch.setattr(mmcv_wheel, 'build_mmcv', lambda *args: 'built.whl')
    log = Commands(mmcv_wheel)
    mmcv_wheel.install_mmcv(log, str(ROOT), *MMCV, str(site), ops=False)
    assert not log.commands
    mmcv_wheel.install_mmcv(log, str(ROOT), *MMCV, str(site), ops=True)
    assert log.commands[0][-1] == 'built.whl' and '--force-reinstall' in log.commands[0]


def test_a_wheel_that_does_not_load_is_taken_out_again(mmcv_wheel, site, monkeypatch):
    wheel(site / 'house')
    monkeypatch.setenv('WHEELHOUSE', str(site / 'house'))
    called = []
    monkeypatch.setattr(mmcv_wheel.subprocess, 'call', lambda command: called.append(command))
    log, what = (
        Commands(mmcv_wheel, fails='mmcv._ext loads'),
        r'onedl_mmcv.*whl does not fit: remove it, or leave out W',
    )
    with pytest.raises(mmcv_wheel.SetupError, match=what):
        mmcv_wheel.install_mmcv(log, str(ROOT), *MMCV, str(site), ops=True)
    assert 'uninstall' in called[0]


def test_a_missing_compiler_is_said_before_the_build(mmcv_wheel, site, monkeypatch):
    monkeypatch.setenv('PATH', '')
    log = Commands(mmcv_wheel)
    with pytest.raises(mmcv_wheel.SetupError, match=r'needs gcc and g\+\+.*apt-get install'):
        mmcv_wheel.install_mmcv(log, str(ROOT), *MMCV, str(site), ops=True)
    assert not log.commands


# ---- running


def test_output_goes_to_the_log_and_a_failure_gives_one_line(setup_log, tmp_path, capsys):
    lock = os.open(tmp_path, os.O_RDONLY)
    log = setup_log.Log(str(tmp_path / 'setup.log'), lock)
    log.run('fine', [sys.executable, '-c', 'print("[3/78] c++ file")'])
    with pytest.raises(setup_log.SetupError) as error:
        log.run('numpy', [sys.executable, '-c', 'print("ERROR: No matching distribution found for x"); exit(1)'])
    os.close(lock)
    log_path = tmp_path / 'setup.log'
    assert str(error.value) == f'numpy failed: ERROR: No matching distribution found for x (whole output: {log_path})'
    assert '[3/78] c++ file' in log_path.read_text()
    assert 'fine: 0 s' in capsys.readouterr().out


def test_setup_py_needs_no_torch():
    code = (
        "import runpy, sys; sys.modules['torch'] = None; sys.argv = ['setup.py', '--version'];"
        "runpy.run_path('setup.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split()[-1:] == ['0.1.0'], done.stderr
