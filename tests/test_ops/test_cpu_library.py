"""The compiled libraries are used only where they were built, from the sources that are here."""

import shutil
from pathlib import Path

import pytest

from mmasl.ops.asymmetric_loss import LIBRARY, cpu
from mmasl.ops.cpu_library import load

FOLDER = Path(cpu.__file__).parent
compiled = pytest.mark.skipif(LIBRARY.run is None, reason=str(LIBRARY.reason))


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
