"""Loads the compiled losses: plain shared libraries that ``setup.py`` builds beside their op (optional at install)."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmasl.ops.cpu_sources import digest

LEVELS = ('baseline', 'AVX2', 'AVX-512')
PARALLEL_FROM = 32768  # logits; below, waking the other threads costs more than they save
BUILD = 'python setup.py build_ext --inplace --force'
DTYPES = {  # enum Dtype of simd.h
    dtype: code
    for code, dtype in enumerate(
        (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8)
    )
}


@dataclass(frozen=True, eq=False)
class Library:
    """A compiled loss.

    Attributes:
        run: Its one function, which fills what a packed struct points to and returns how many targets are out of range.
            A struct, since ctypes spends more time on twenty arguments than the loss does on a thousand logits.
        level: Index in :data:`LEVELS` of the widest instruction set that this processor has.
        reason: Why there is none: ``run`` is None then.
    """

    run: Callable[[bytes], int] | None
    level: int
    reason: str | None

    @property
    def status(self) -> str:
        """One phrase: the instruction set, or why there is no library and the command that compiles it."""
        if self.reason is None:
            return f'compiled, {LEVELS[self.level]}'
        return f'not compiled, the losses run in torch operations: {self.reason}. To compile it: {BUILD}'


def load(folder: Path, function: str) -> Library:
    """The library ``_cpu`` of a folder, or the reason why it cannot be used.

    Example:
        >>> load(Path('nowhere'), 'mmasl_loss').reason
        'cpu.cpp was not compiled: nowhere holds no _cpu.so'
    """
    path = folder / '_cpu.so'
    if not path.exists():
        return Library(None, 0, f'cpu.cpp was not compiled: {folder} holds no {path.name}')
    try:
        library = ctypes.CDLL(str(path))  # torch is imported, so its OpenMP is the one that is found
        library.mmasl_sources.restype = ctypes.c_char_p
        sources = library.mmasl_sources().decode()
    except (OSError, AttributeError) as error:
        return Library(None, 0, f'{path} cannot be loaded: {error}')
    if sources != digest(folder):
        return Library(None, 0, f'{path} was compiled from other sources than those beside it')
    run = getattr(library, function)
    run.restype, run.argtypes = ctypes.c_int64, [ctypes.c_char_p]
    return Library(run, library.mmasl_level(), None)


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
