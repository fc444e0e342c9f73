"""The sdist and the wheel: what is in them, and mim and the model hub on an environment that has the wheel alone."""

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

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


def run(*command, cwd):
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(out):
    """The sdist, and the wheel that is made from it."""
    run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', out, ROOT, cwd=out)
    return next(out.glob('*.tar.gz')), next(out.glob('*.whl'))


def environment_with(wheel, folder):
    """``bin`` of a fresh environment that sees this one's packages but not this one's mmasl."""
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path('purelib', vars=dict(base=folder)))
    # A path in a .pth file is not searched for .pth files itself, so the editable mmasl of this environment stays out.
    (site / 'stack.pth').write_text(sysconfig.get_path('purelib') + '\n')
    run(folder / 'bin/python', '-m', 'pip', 'install', '--no-deps', '--no-index', '-q', wheel, cwd=folder)
    return folder / 'bin'


def test_the_wheel_works_with_mim_and_the_hub(tmp_path, monkeypatch):
    monkeypatch.delenv('PYTHONPATH', raising=False)
    sdist, wheel = build(tmp_path)
    with tarfile.open(sdist) as archive:
        names = {name.split('/', 1)[-1] for name in archive.getnames()}
    assert {'configs/digit_scenes/metafile.yml', 'tools/train.py', 'model-index.yml', 'LICENSE'} <= names
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f'mmasl/.mim/{part}' for part in ('tools/train.py', 'model-index.yml', 'dataset-index.yml')} <= names
    assert f'mmasl/.mim/configs/digit_scenes/{CONFIG}.py' in names
    assert any(name.startswith('mmasl/ops/asymmetric_loss/_cpu') for name in names)
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
    searched = run(
        *(*mim, 'gridsearch', 'mmasl', f'{CONFIG}.py', *options),
        *('--search-args', '--model.head.loss.gamma_neg 1.0 3.0'),
        cwd=tmp_path,
    )
    assert 'hyper parameter search finished successfully' in searched
    assert {path.name for path in tmp_path.glob('work_search_*')} == {
        f'work_search_model.head.loss.gamma_neg_{value}' for value in (1.0, 3.0)
    }
