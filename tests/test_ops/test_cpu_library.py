"""The compiled libraries are used only where they were built, from the sources that are here."""

import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmasl.functional import _run
from mmasl.ops.asymmetric_loss import OP, cpu
from mmasl.ops.cpu_library import LEVELS, load

FOLDER = Path(cpu.__file__).parent
compiled = pytest.mark.skipif(OP.library.run is None, reason=str(OP.library.reason))


def test_a_folder_without_a_library(tmp_path):
    library = load(tmp_path, 'mmasl_asymmetric_loss')
    assert library.run is None and library.reason.startswith(f'cpu.cpp was not compiled: {tmp_path} holds no _cpu')


@compiled
def test_a_library_of_other_sources(tmp_path):
    folder = tmp_path / 'ops' / FOLDER.name
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns('*.py', '__pycache__'))
    for header in FOLDER.parent.glob('*.h'):
        shutil.copy(header, folder.parent)
    assert load(folder, 'mmasl_asymmetric_loss').reason is None
    with next(folder.parent.glob('*.h')).open('a') as header:
        header.write('\n')
    library = load(folder, 'mmasl_asymmetric_loss')
    assert library.run is None and library.reason.endswith('was compiled from other sources than those beside it')


@compiled
def test_what_is_no_library(tmp_path):
    path = tmp_path / next(FOLDER.glob('_cpu.*')).name
    path.write_text('no library')
    library = load(tmp_path, 'mmasl_asymmetric_loss')
    assert library.run is None and library.reason.startswith(f'{path} cannot be loaded: ')


def test_a_missing_library_is_warned_of_once(monkeypatch):
    missing = OP._replace(library=load(Path('nowhere'), 'mmasl_asymmetric_loss'))
    monkeypatch.setattr(_run, 'WARNED', [])
    pred = torch.zeros(1, 2)
    text = (
        'the CPU library of the losses is not compiled, the losses run in torch operations: cpu.cpp was not compiled: '
    )
    with pytest.warns(UserWarning, match=f'{text}.*. To compile it: python setup.py build_ext --inplace --force$'):
        assert _run.choose_backend(missing, 'auto', pred, pred) is missing.plain
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert _run.choose_backend(missing, 'auto', pred, pred) is missing.plain
        assert _run.choose_backend(missing, 'plain', pred, pred) is missing.plain
    with pytest.raises(ValueError, match="backend: 'cpu' cannot be used because cpu.cpp was not compiled: nowhere"):
        _run.choose_backend(missing, 'cpu', pred, pred)


def test_a_gpu_without_kernels_is_warned_of_once(monkeypatch):
    monkeypatch.setattr(_run, 'WARNED', [])
    monkeypatch.setattr(_run, 'triton_unavailable', lambda pred: 'the package triton is not installed')
    pred = SimpleNamespace(is_cpu=False, is_cuda=True, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        _run._warn_of_slow_losses(OP, pred)
    pred.dtype = torch.bfloat16
    with pytest.warns(UserWarning, match='in torch operations, because the package triton is not installed') as found:
        for _ in range(2):
            _run._warn_of_slow_losses(OP, pred)
    assert len(found) == 1


@compiled
def test_a_library_that_is_there_is_used_without_a_word(monkeypatch):
    monkeypatch.setattr(_run, 'WARNED', [])
    pred = torch.zeros(1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert _run.choose_backend(OP, 'auto', pred, pred) is OP.cpu
    assert OP.library.status == f'compiled, {LEVELS[OP.library.level]}'
