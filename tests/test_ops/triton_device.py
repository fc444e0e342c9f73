"""Where the tests run Triton kernels: on a GPU where there is one, else on the CPU in Triton's interpreter."""

import importlib

import pytest
import torch

GPU = torch.cuda.is_available()
DEVICE = 'cuda' if GPU else 'cpu'
KERNELS = (
    'mmasl.ops.triton_math',  # which the others import
    'mmasl.ops.asymmetric_loss.triton_kernels',
    'mmasl.ops.softmax_asymmetric_loss.triton_kernels',
)

needs_gpu = pytest.mark.skipif(not GPU, reason='needs a GPU')
quiet = pytest.mark.filterwarnings('ignore::RuntimeWarning:triton', 'ignore:Conversion of an array with ndim > 0')


def use_triton(patch: pytest.MonkeyPatch, interpreted: bool = not GPU) -> None:
    """Kernels interpreted or compiled, also where another test has imported them the other way."""
    pytest.importorskip('triton', minversion='3')
    patch.setenv('TRITON_INTERPRET', str(int(interpreted)))
    modules = [importlib.import_module(name) for name in KERNELS]
    if interpreted != modules[0].INTERPRETED:
        for module in modules:
            importlib.reload(module)
