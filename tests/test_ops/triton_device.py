"""Where the tests run Triton kernels: on a GPU where there is one, else on the CPU in Triton's interpreter.

``tests/conftest.py`` chooses: Triton settles when it is imported whether its functions are interpreted.
"""

import os
from importlib.metadata import PackageNotFoundError, version

import pytest

GPU = os.environ['TRITON_INTERPRET'] != '1'
DEVICE = 'cuda' if GPU else 'cpu'
try:
    TRITON = int(version('triton').split('.')[0])
except PackageNotFoundError:
    TRITON = 0
INTERPRETER = not GPU and TRITON >= 3  # Triton 2 has no interpreter

gpu = pytest.mark.gpu  # worth running where a GPU is: python -m pytest -m gpu
quiet = pytest.mark.filterwarnings('ignore::RuntimeWarning:triton', 'ignore:Conversion of an array with ndim > 0')


def needs_gpu(test):
    return gpu(pytest.mark.skipif(not GPU, reason='needs a GPU')(test))


def use_triton() -> None:
    """Skip where the kernels can run neither on a GPU nor in the interpreter."""
    if not (TRITON if GPU else INTERPRETER):
        pytest.skip('needs Triton' if GPU else 'needs Triton 3')


def use_interpreter() -> None:
    """Skip where kernels cannot take tensors on the CPU."""
    if not INTERPRETER:
        pytest.skip('needs Triton 3, and TRITON_INTERPRET=1 beside a GPU')
