"""Whether Triton can run the kernels."""

import sys
from types import SimpleNamespace

from mmasl.ops.triton_support import common_kernels


def test_an_old_triton_is_refused_with_its_version(monkeypatch):
    monkeypatch.setitem(sys.modules, 'triton', SimpleNamespace(__version__='2.1.0'))
    assert common_kernels.__wrapped__() == 'Triton 3 is needed and this is 2.1.0'
