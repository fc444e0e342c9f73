"""Calls cpu.cpp, which ``setup.py`` builds as a plain shared library beside this file (optional at install)."""

import ctypes
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry, margin_logit
from mmasl.ops.target import check_target, count_labelled

LEVELS = ('baseline', 'AVX2', 'AVX-512')
PARALLEL_FROM = 32768  # logits; below, waking the other threads costs more than they save
DTYPES = {
    dtype: code
    for code, dtype in enumerate(
        (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8)
    )
}


def _load() -> tuple[ctypes.CDLL | None, str | None]:
    """The library, or the reason why there is none."""
    folder = Path(__file__).parent
    paths = [folder / f'_cpu{suffix}' for suffix in EXTENSION_SUFFIXES]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        return None, f'cpu.cpp was not built: no {paths[0].name} in {folder}'
    try:
        library = ctypes.CDLL(str(path))  # torch is imported, so its OpenMP is the one that is found
    except OSError as error:
        return None, f'{path.name} cannot be loaded: {error}'
    library.mmasl_asymmetric_loss.restype = ctypes.c_int64
    pointer, integer, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    library.mmasl_asymmetric_loss.argtypes = [
        *(pointer, pointer, integer, pointer, integer, integer, size, size),  # equation, pred, target, shape
        *(pointer, pointer, pointer, pointer, ctypes.c_double),  # weights, upstream, scale
        *(pointer, pointer, pointer, integer, integer),  # sum, loss, grad, threads, level
    ]
    return library, None


LIBRARY, REASON = _load()
level = LIBRARY.mmasl_level() if LIBRARY is not None else None  # index of LEVELS; tests and benchmarks lower it


def fill_compiled(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | None,
    asymmetry: Asymmetry,
    check: bool,
    loss: Tensor | None,
    grad: Tensor | None,
    upstream: Tensor | None = None,
) -> None:
    """The same function as :func:`fill_blocks`, argument by argument; targets are checked in the one pass.

    With scale None the library counts in the same pass and scales the gradient afterwards; where it is rounded to half
    precision, or multiplied by ``upstream``, the count is needed first.
    """
    rows, columns = pred.shape
    dtype = torch.float64 if pred.dtype == torch.float64 else torch.float32
    reduce = (loss if loss is not None else upstream).dim() == 0
    if scale is None and reduce:
        counts_first = upstream is not None or (pred.dtype != dtype and grad is not None)
        scale = 1 / max(count_labelled(target, columns).item(), 1) if counts_first else -1.0
    if upstream is not None and reduce:
        scale *= upstream.item()
        upstream = None
    # Held by name until the call is over: the library sees addresses only.
    pred, flat_target = pred.contiguous(), _target(target)
    weight, class_weight, upstream = _factor(weight, dtype), _factor(class_weight, dtype), _factor(upstream, dtype)
    by_row = weight is not None and weight.dim() == 1
    bad = LIBRARY.mmasl_asymmetric_loss(
        _equation(asymmetry, dtype),
        pred.data_ptr(),
        DTYPES[pred.dtype],
        flat_target.data_ptr(),
        DTYPES[flat_target.dtype],
        target.dim() == 1,
        rows,
        columns,
        _address(weight if by_row else None),
        _address(None if by_row else weight),
        _address(class_weight),
        _address(upstream),
        scale if reduce else 1.0,
        _address(loss if reduce else None),
        _address(None if reduce else loss),
        _address(grad),
        torch.get_num_threads() if rows * columns >= PARALLEL_FROM else 1,
        level,
    )
    if bad and check:
        check_target(target, columns)


@lru_cache(maxsize=256)
def _equation(asymmetry: Asymmetry, dtype: torch.dtype) -> ctypes.Array:
    """``struct Equation`` of cpu.cpp."""
    hi, lo = margin_logit(asymmetry.clip, dtype) if asymmetry.clip else (0.0, 0.0)
    alpha = asymmetry.alpha
    sides = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    constants = (asymmetry.gamma_pos, asymmetry.gamma_neg, asymmetry.clip, hi, lo, *sides, asymmetry.detach_focus)
    return (ctypes.c_double * len(constants))(*constants)


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _factor(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if tensor is None else tensor.detach().to(dtype).contiguous()


def _target(target: Tensor) -> Tensor:
    """``target`` contiguous and of a dtype that the library reads."""
    if target.dtype == torch.bool:
        return target.contiguous().view(torch.uint8)
    if target.dim() == 1:
        return target.long().contiguous()
    if target.is_floating_point():
        return (target if target.dtype in DTYPES and target.element_size() > 2 else target.float()).contiguous()
    return (target if target.dtype in (torch.int64, torch.uint8) else target.long()).contiguous()
