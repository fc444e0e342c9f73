"""Whether Triton kernels can run here."""

import os
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor


def interpreting() -> bool:
    """Whether Triton runs kernels in its interpreter, on the CPU, for tests."""
    return os.environ.get('TRITON_INTERPRET', '0') == '1'


@cache
def _installed() -> bool:
    return find_spec('triton') is not None


def triton_unavailable(pred: Tensor) -> str | None:
    """The reason why a Triton kernel cannot take ``pred``, or None.

    Example:
        >>> triton_unavailable(torch.zeros(1, 2, dtype=torch.float64))
        'pred is float64, which the kernels do not compute in'
    """
    if pred.dtype == torch.float64:
        return 'pred is float64, which the kernels do not compute in'
    if not _installed():
        return 'the package triton is not installed'
    if pred.device.type != 'cuda' and not interpreting():
        return f'pred is on {pred.device}, and a kernel needs a CUDA device'
    return None
