"""Loads the compiled losses, shared libraries that ``setup.py`` builds beside each op if there is a compiler."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmasl.ops.cpu_sources import digest

LEVELS = ('baseline', 'AVX2', 'AVX-512')
PARALLEL_FROM = 32768  # for fewer logits, waking the other threads costs more than it saves
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
        run: Its function, which fills the memory that a packed struct points to, and returns how many targets are out
            of range. It takes a struct because ctypes needs more time for twenty arguments than the loss does for a
            thousand logits.
        level: The index in :data:`LEVELS` of the widest instruction set that this processor has.
        reason: The reason why there is no library, in which case ``run`` is None; or None.
    """

    run: Callable[[bytes], int] | None
    level: int
    reason: str | None

    @property
    def status(self) -> str:
        """The instruction set, or the reason why there is no library and the command that compiles it."""
        if self.reason is None:
            return f'compiled, {LEVELS[self.level]}'
        return f'not compiled, the losses run in torch operations: {self.reason}. To compile it: {BUILD}'


def load(folder: Path, function: str) -> Library:
    """Load the library ``_cpu`` of a folder, or find the reason why it cannot be used.

    Example:
        >>> load(Path('nowhere'), 'mmasl_loss').reason
        'cpu.cpp was not compiled: nowhere holds no _cpu.so'
    """
    path = folder / '_cpu.so'
    if not path.exists():
        return Library(None, 0, f'cpu.cpp was not compiled: {folder} holds no {path.name}')
    try:
        library = ctypes.CDLL(str(path))  # it finds the OpenMP of torch, which is imported
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
    """Return a weight in the form that the libraries read."""
    return None if tensor is None else tensor.detach().to(dtype).contiguous()


def as_target(target: Tensor) -> Tensor:
    """Return ``target`` contiguous and in a dtype that the libraries read, class indices as int64."""
    if target.dtype == torch.bool:
        return target.contiguous().view(torch.uint8)
    if target.dim() == 1:
        return target.long().contiguous()
    if target.is_floating_point():
        return (target if target.dtype in DTYPES and target.element_size() > 2 else target.float()).contiguous()
    return (target if target.dtype in (torch.int64, torch.uint8) else target.long()).contiguous()
