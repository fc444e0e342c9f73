"""The sdist and the wheels: what is in them, and what works in an environment that has a wheel alone."""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIG = 'digitnet-asl_ft-1xb16_digitscenes-48px'
FEW = [f'{split}_dataloader.dataset.num_scenes=32' for split in ('train', 'val', 'test')] + ['train_cfg.max_epochs=1']

HUB = f"""
from mmasl.apis import register_models
from mmpretrain import get_model, list_models

register_models()
register_models()
assert '{CONFIG}' in list_models('digitnet*')
print(type(get_model('{CONFIG}').head.loss_module).__name__)
"""


COMPILED = """
import torch
from mmasl import asymmetric_loss
from mmasl.ops.asymmetric_loss import OP

assert OP.library.reason is None, OP.library.reason
print(asymmetric_loss(torch.zeros(2, 80), torch.ones(2, 80), backend='cpu').item())
"""


def run(*command, cwd, **environment):
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """The sdist of a copy without what other builds left, and the wheel that is made from it."""
    out = tmp_path_factory.mktemp('dist')
    left = ('.*', '*.egg-info', '*.so', 'build', 'dist', 'work_dirs', '__pycache__')
    source = shutil.copytree(ROOT, out / 'source', ignore=shutil.ignore_patterns(*left))
    run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', out, source, cwd=out)
    return next(out.glob('*.tar.gz')), next(out.glob('*.whl'))


def environment_with(wheel, folder):
    """``bin`` of a fresh environment that sees this one's packages but not this one's mmasl."""
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path('purelib', vars=dict(base=folder)))
    # A path in a .pth file is not searched for .pth files itself, so the editable mmasl of this environment stays out.
    # One of them is how setuptools brings distutils back to Python 3.12, which MMEngine imports.
    distutils = 'import _distutils_hack; _distutils_hack.add_shim()'
    (site / 'stack.pth').write_text(f'{sysconfig.get_path("purelib")}\n{distutils}\n')
    run(folder / 'bin/python', '-m', 'pip', 'install', '--no-deps', '--no-index', '-q', wheel, cwd=folder)
    return folder / 'bin'


@pytest.fixture(autouse=True)
def no_path(monkeypatch):
    monkeypatch.delenv('PYTHONPATH', raising=False)


def test_one_wheel_serves_every_python_and_needs_no_compiler(built, tmp_path):
    """What ``make wheel`` does, and its result where neither gcc nor anything else is in PATH."""
    pytest.importorskip('auditwheel')
    tag, tools = f'manylinux_2_28_{platform.machine()}', Path(sys.executable).parent
    repair = (tools / 'auditwheel', 'repair', '--plat', tag, '-w', tmp_path, built[1])
    run(*repair, cwd=tmp_path, PATH=f'{tools}:{os.environ["PATH"]}')
    (wheel,) = tmp_path.glob('*.whl')
    assert wheel.name.startswith('mmasl-') and '-py3-none-' in wheel.name and tag in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert not any('.libs/' in name for name in names)  # OpenMP and the others are those of torch and the system
    bin = environment_with(wheel, tmp_path / 'env')
    assert float(run(bin / 'python', '-c', COMPILED, cwd=tmp_path, PATH=str(tmp_path)))
    (library,) = tmp_path.glob('env/lib/python3*/site-packages/mmasl/ops/asymmetric_loss/_cpu.so')
    needed = run(tools / 'patchelf', '--print-needed', library, cwd=tmp_path)
    assert 'libc.so' in needed and 'omp' not in needed


def test_without_a_compiler_pip_says_that_the_library_is_missing(built, tmp_path):
    command = (
        sys.executable,
        '-m',
        'pip',
        'install',
        '--no-deps',
        '--no-build-isolation',
        '--target',
        'site',
        built[0],
    )
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, 'PATH': ''})
    assert done.returncode == 0, done.stderr
    assert 'the CPU library was not compiled' in done.stderr and 'apt-get install g++' in done.stderr
    assert (tmp_path / 'site/mmasl/ops/asymmetric_loss/cpu.py').exists()


def test_the_wheel_works_with_mim_and_the_hub(built, tmp_path):
    sdist, wheel = built
    with tarfile.open(sdist) as archive:
        names = {name.split('/', 1)[-1] for name in archive.getnames()}
    assert {'configs/digit_scenes/metafile.yml', 'tools/train.py', 'model-index.yml', 'LICENSE'} <= names
    assert not any('/results/' in name or 'docs/' in name for name in names)
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f'mmasl/.mim/{part}' for part in ('tools/train.py', 'model-index.yml', 'dataset-index.yml')} <= names
    assert f'mmasl/.mim/configs/digit_scenes/{CONFIG}.py' in names
    assert 'mmasl/ops/asymmetric_loss/_cpu.so' in names
    assert not any('/results/' in name or '__pycache__' in name for name in names)

    python = environment_with(wheel, tmp_path / 'env') / 'python'
    package = Path(run(python, '-c', 'import mmasl; print(mmasl.__file__)', cwd=tmp_path)).parent
    assert package.is_relative_to(tmp_path)
    assert run(python, '-c', HUB, cwd=tmp_path).strip().endswith('AsymmetricLoss')

    mim = (python, '-m', 'mim')
    options = ('--gpus', '0', '--work-dir', 'work', '--cfg-options', *FEW)
    trained = run(*mim, 'train', 'mmasl', f'{CONFIG}.py', *options, cwd=tmp_path)
    assert 'Training finished successfully' in trained
    base = package / f'.mim/configs/digit_scenes/{CONFIG}.py'
    (tmp_path / 'child.py').write_text(f"_base_ = '{base}'\nmodel = dict(head=dict(loss=dict(gamma_neg=3.0)))\n")
    tested = run(*mim, 'test', 'mmasl', 'child.py', '--checkpoint', 'work/epoch_1.pth', *options, cwd=tmp_path)
    assert 'multi-label/mAP' in tested
    dump = ('dump', '--splits', 'val', '--options', 'num_scenes=2')
    run(*mim, 'run', 'mmasl', 'dump_digit_scenes', *dump, cwd=tmp_path)
    assert len(list((tmp_path / 'dump/val').iterdir())) == 2
