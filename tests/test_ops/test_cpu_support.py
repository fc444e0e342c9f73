"""The compiled libraries are used only where they were built, from the sources that are here."""

from pathlib import Path

import pytest

from mmasl.ops.asymmetric_loss import compiled
from mmasl.ops.cpu_support import load


def test_a_folder_without_a_library(tmp_path):
    library, reason = load(tmp_path, 'mmasl_asymmetric_loss', 1)
    assert library is None and reason.startswith('cpu.cpp was not built: no _cpu')


@pytest.mark.skipif(compiled.LIBRARY is None, reason=str(compiled.REASON))
def test_a_library_of_other_sources(tmp_path):
    library, reason = load(Path(compiled.__file__).parent, 'mmasl_asymmetric_loss', -1)
    assert library is None and reason.endswith('was built from older sources: python setup.py build_ext --inplace')


def test_what_is_no_library(tmp_path):
    name = Path(compiled.LIBRARY._name).name if compiled.LIBRARY else '_cpu.so'
    (tmp_path / name).write_text('no library')
    library, reason = load(tmp_path, 'mmasl_asymmetric_loss', 1)
    assert library is None and name in reason
