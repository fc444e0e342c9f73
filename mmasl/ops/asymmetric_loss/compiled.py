"""Calls cpu.cpp, which ``setup.py`` builds as a plain shared library beside this file (optional at install)."""

import ctypes
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry, margin_logit
from mmasl.ops.asymmetric_loss.target import check_target

LEVELS = ('baseline', 'AVX2', 'AVX-512')
PARALLEL_FROM = 32768  # logits; below, waking the other threads costs more than they save
DTYPES = {
    dtype: code
    for code, dtype in enumerate(
        (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8)
    )
}


class _Job(ctypes.Structure):
    """``struct Job`` of cpu.cpp."""

    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ('pred', 'target')],
        *[(name, ctypes.c_int32) for name in ('pred_dtype', 'target_dtype', 'class_index', 'detach_focus')],
        *[(name, ctypes.c_int64) for name in ('rows', 'columns')],
        *[(name, ctypes.c_void_p) for name in ('row_weight', 'element_weight', 'class_weight', 'upstream')],
        *[(name, ctypes.c_double) for name in ('gamma_pos', 'gamma_neg', 'clip', 'margin_hi', 'margin_lo')],
        *[(name, ctypes.c_double) for name in ('weight_pos', 'weight_neg', 'scale')],
        *[(name, ctypes.c_void_p) for name in ('loss', 'grad')],
    ]


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
    outputs = [ctypes.POINTER(ctypes.c_double), ctypes.POINTER(ctypes.c_int64)]
    library.mmasl_asymmetric_loss.argtypes = [ctypes.POINTER(_Job), ctypes.c_int, ctypes.c_int, *outputs]
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
    """The same function as :func:`fill_blocks`, argument by argument; targets are checked in the one pass."""
    rows, columns = pred.shape
    total = max(rows * columns, 1)
    dtype = torch.float64 if pred.dtype == torch.float64 else torch.float32
    reduce = (loss if loss is not None else upstream).dim() == 0
    factor = 1.0 if not reduce else 1 / total if scale is None else scale
    if upstream is not None and reduce:
        factor *= upstream.item()
    # Held by name until the call is over: the library sees addresses only.
    held = {
        'pred': pred.detach().contiguous(),
        'target': _target(target),
        'row_weight': _factor(weight, dtype) if weight is not None and weight.dim() == 1 else None,
        'element_weight': _factor(weight, dtype) if weight is not None and weight.dim() == 2 else None,
        'class_weight': _factor(class_weight, dtype),
        'upstream': None if upstream is None or reduce else _factor(upstream, dtype),
        'loss': None if loss is None or reduce else loss,
        'grad': grad,
    }
    hi, lo = margin_logit(asymmetry.clip, dtype) if asymmetry.clip else (0.0, 0.0)
    alpha = asymmetry.alpha
    job = _Job(
        **{name: None if tensor is None else tensor.data_ptr() for name, tensor in held.items()},
        pred_dtype=DTYPES[pred.dtype],
        target_dtype=DTYPES[held['target'].dtype],
        class_index=target.dim() == 1,
        detach_focus=asymmetry.detach_focus,
        rows=rows,
        columns=columns,
        gamma_pos=asymmetry.gamma_pos,
        gamma_neg=asymmetry.gamma_neg,
        clip=asymmetry.clip,
        margin_hi=hi,
        margin_lo=lo,
        weight_pos=1.0 if alpha is None else alpha,
        weight_neg=1.0 if alpha is None else 1 - alpha,
        scale=factor,
    )
    sum_, ignored = ctypes.c_double(), ctypes.c_int64()
    threads = torch.get_num_threads() if total >= PARALLEL_FROM else 1
    bad = LIBRARY.mmasl_asymmetric_loss(job, threads, level, sum_, ignored)
    if bad and check:
        check_target(target, columns)
    if reduce and scale is None and ignored.value:  # the count is known only now
        correction = total / max(total - ignored.value, 1)
        factor *= correction
        if grad is not None:
            grad.mul_(correction)
    if loss is not None and reduce:
        loss.copy_(torch.tensor(sum_.value * factor, dtype=torch.float64))


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
