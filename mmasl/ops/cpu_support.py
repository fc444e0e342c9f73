"""Loads the compiled losses: plain shared libraries that ``setup.py`` builds beside their op (optional at install)."""

import ctypes
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

LEVELS = ('baseline', 'AVX2', 'AVX-512')
PARALLEL_FROM = 32768  # logits; below, waking the other threads costs more than they save
DTYPES = {  # enum Dtype of cpu_support.h
    dtype: code
    for code, dtype in enumerate(
        (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8)
    )
}


def load(folder: Path, function: str, abi: int) -> tuple[ctypes.CDLL | None, str | None]:
    """The library ``_cpu`` of a folder, or None and the reason why it cannot be used.

    Args:
        folder: The folder of the op.
        function: Name of its one function. It takes a packed struct, since ctypes spends more time on twenty arguments
            than the loss does on a thousand logits, and returns how many targets are out of range.
        abi: What the library must say of itself: one that was built from older sources is refused.

    Example:
        >>> load(Path('nowhere'), 'mmasl_loss', 1)[1]
        'cpu.cpp was not built: no _cpu... in nowhere'
    """
    paths = [folder / f'_cpu{suffix}' for suffix in EXTENSION_SUFFIXES]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        return None, f'cpu.cpp was not built: no {paths[0].name} in {folder}'
    try:
        library = ctypes.CDLL(str(path))  # torch is imported, so its OpenMP is the one that is found
    except OSError as error:
        return None, f'{path.name} cannot be loaded: {error}'
    if getattr(library, 'mmasl_abi', lambda: None)() != abi:
        return None, f'{path} was built from older sources: python setup.py build_ext --inplace'
    entry = getattr(library, function)
    entry.restype, entry.argtypes = ctypes.c_int64, [ctypes.c_char_p]
    return library, None


def address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def as_factor(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A weight as the libraries read it."""
    return None if tensor is None else tensor.detach().to(dtype).contiguous()


def as_target(target: Tensor) -> Tensor:
    """``target`` contiguous and of a dtype that the libraries read: class indices as int64."""
    if target.dtype == torch.bool:
        return target.contiguous().view(torch.uint8)
    if target.dim() == 1:
        return target.long().contiguous()
    if target.is_floating_point():
        return (target if target.dtype in DTYPES and target.element_size() > 2 else target.float()).contiguous()
    return (target if target.dtype in (torch.int64, torch.uint8) else target.long()).contiguous()
