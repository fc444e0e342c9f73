"""Whether Triton kernels can run here."""

import os
import shutil
from functools import cache, lru_cache
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def interpreting() -> bool:
    """Whether Triton runs kernels in its interpreter, on the CPU, for tests."""
    return os.environ.get('TRITON_INTERPRET', '0') == '1'


def triton_unavailable(pred: Tensor) -> str | None:
    """The reason why a Triton kernel cannot take ``pred``, or None.

    Example:
        >>> triton_unavailable(torch.zeros(1, 2, dtype=torch.float64))
        'pred is float64, which the kernels do not compute in'
    """
    if pred.dtype == torch.float64:
        return 'pred is float64, which the kernels do not compute in'
    if pred.dtype not in DTYPES:
        return f'pred is {pred.dtype}, which the kernels do not read'
    if not _installed():
        return 'the package triton is not installed'
    if pred.device.type != 'cuda' and not interpreting():
        return f'pred is on {pred.device}, and a kernel needs a CUDA device'
    if pred.is_cuda and torch.version.cuda is not None:
        capability = torch.cuda.get_device_capability(pred.device)
        if capability < (8, 0):
            return f'Triton needs compute capability 8.0, and {pred.device} has {capability[0]}.{capability[1]}'
    module = common_kernels()
    if isinstance(module, str):
        return module
    if interpreting() != module.INTERPRETED:
        return 'TRITON_INTERPRET has changed since the kernels were imported'
    return None


@lru_cache(maxsize=1)
def common_kernels() -> ModuleType | str:
    """The module ``triton_math``, which every kernel imports, or why it cannot be used."""
    try:
        import triton

        # 2.1, that of torch 2.1, has neither the interpreter that the kernels are tested in nor the names they use.
        if int(triton.__version__[0]) < 3:
            return f'Triton 3 is needed and this is {triton.__version__}'
        from mmasl.ops import triton_math
    except ImportError as error:
        return f'triton cannot be imported: {error}'
    # Triton builds its launcher when the first kernel runs.
    if not (triton_math.INTERPRETED or os.environ.get('CC') or shutil.which('gcc') or shutil.which('clang')):
        return 'Triton needs a C compiler: no CC, gcc or clang was found'
    return triton_math


@cache
def _installed() -> bool:
    return find_spec('triton') is not None
