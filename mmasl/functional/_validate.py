"""Checks of the arguments of all losses. Each raises before any work, with the expected and the given value."""

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

from mmasl.compat import aminmax, at_least_float32, why_torch_only
from mmasl.ops.target import check_target

REDUCTIONS = ('none', 'mean', 'sum')
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
LABELS = (*FLOATS, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
EPS = torch.finfo(torch.float32).eps  # the OpenMMLab packages add it to avg_factor


def check_number(name: str, value: float, low: float, high: float = math.inf, *, open_high: bool = False) -> float:
    """Return ``value`` as a float; raise unless it is finite and in [low, high], or [low, high) with ``open_high``."""
    bracket = ')' if open_high or high == math.inf else ']'
    real = isinstance(value, Real) and not isinstance(value, bool)
    # torch 2.14 compiles no math.isfinite of a number.
    if not real or not low <= value <= high or value == math.inf or (open_high and value == high):
        raise ValueError(f'{name}: expected a real number in [{low:g}, {high:g}{bracket}, got {value!r}')
    return float(value)


def check_reduction(reduction: str, avg_factor: float | Tensor | None) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f'reduction: expected one of {REDUCTIONS}, got {reduction!r}')
    if avg_factor is None:
        return
    if reduction == 'sum':
        raise ValueError(
            "avg_factor: cannot be used with reduction='sum'; use reduction='mean', which divides the sum by avg_factor"
        )
    if isinstance(avg_factor, Tensor):
        if avg_factor.numel() != 1:
            raise ValueError(f'avg_factor: expected a number or one element, got shape {tuple(avg_factor.shape)}')
        if avg_factor.device.type != 'cpu' or why_torch_only(avg_factor) is not None:
            return  # reading it would wait for the device, or torch could not record it
        avg_factor = avg_factor.item()
    check_number('avg_factor', avg_factor, 0)


def sum_scale(reduction: str, avg_factor: float | Tensor | None) -> float | Tensor | None:
    """Return the factor of the sum of losses, or None to divide it by the number of entries that are not ignored."""
    if reduction != 'mean':
        return 1.0
    if avg_factor is None:
        return None
    if isinstance(avg_factor, Tensor):
        return 1 / avg_factor.detach().reshape(()).double().clamp(min=EPS)
    return 1 / max(avg_factor, EPS)


def check_pred(pred: Tensor) -> None:
    if not isinstance(pred, Tensor) or pred.dtype not in FLOATS:
        raise TypeError(f'pred: expected a floating-point tensor of logits, of 16 bits or more, got {_kind(pred)}')
    if pred.device.type == 'mps':
        raise ValueError('pred: expected logits on a CPU or on a CUDA GPU, got mps, which has no float64 for the sums')
    if pred.dim() == 0:
        raise ValueError('pred: expected logits of shape (N, ..., C), or (N,) of one class, got a single number')


def rows_and_classes(pred: Tensor) -> tuple[torch.Size, int]:
    """Return the shape of the rows of ``pred`` and C; each entry of a 1-D ``pred`` is a row with one class."""
    return (pred.shape, 1) if pred.dim() == 1 else (pred.shape[:-1], pred.shape[-1])


def flatten_target(pred: Tensor, target: Tensor) -> Tensor:
    """Return ``target`` as dense labels (R, C) or class indices (R,), where R is the number of rows of ``pred``."""
    if isinstance(target, tuple):
        raise TypeError(
            'target: expected a tensor, got a tuple; a head that passes (labels, scores) needs '
            "loss_cls.type='mmasl.AsymmetricQualityLoss'"
        )
    _check_labels(pred, target)
    if target.shape == pred.shape:
        return target if pred.dim() == 2 else target.reshape(-1, rows_and_classes(pred)[1])
    rows, num_classes = rows_and_classes(pred)
    if num_classes == 1 and target.shape in (rows, (*rows, 1)):
        cure = 'squeeze' if pred.dim() == 1 else 'unsqueeze'
        raise ValueError(
            f'target: expected dense labels of the shape of pred, {tuple(pred.shape)}, got {tuple(target.shape)}, '
            f'which can be read in two ways for one class: pass target.{cure}(-1) where 1 is a positive; class '
            'indices of a detection head, where 0 is the class and 1 is background, need use_sigmoid=True in the '
            'config of the loss'
        )
    if target.shape in (rows, (*rows, 1)):
        return flatten_class_index(pred, target)
    index = '' if pred.dim() == 1 else f' or class indices of shape {tuple(rows)}'
    raise ValueError(
        f'target: expected dense labels of shape {tuple(pred.shape)}{index} for pred of shape {tuple(pred.shape)}, got '
        f'{tuple(target.shape)}{channels_hint("target", pred, target)}'
    )


def _check_labels(pred: Tensor, target: Tensor) -> None:
    if not isinstance(target, Tensor) or target.dtype not in LABELS:
        cure = '; convert it: target.long() or target.float()' if isinstance(target, Tensor) else ''
        raise TypeError(
            'target: expected a tensor of bool, uint8, signed integers or floats of 16 bits or more, got '
            f'{_kind(target)}{cure}'
        )
    if target.device != pred.device:
        raise ValueError(f'target: expected on the device of pred, {pred.device}, got {target.device}')


def flatten_class_index(pred: Tensor, target: Tensor) -> Tensor:
    """Return ``target``, of the shape of the rows of ``pred`` or with a last axis of 1 as int64 class indices (R,)."""
    _check_labels(pred, target)
    if target.is_floating_point() or target.dtype == torch.bool:
        raise TypeError(
            f'target: expected class indices of an integer dtype for shape {tuple(target.shape)} beside pred '
            f'{tuple(pred.shape)}, got {target.dtype}; dense labels have the shape of pred, and a quality for each '
            "row goes in as (labels, scores), to loss_cls.type='mmasl.AsymmetricQualityLoss'"
        )
    _check_class_axis('target', pred, target)
    return target.reshape(-1).long()  # in uint8, torch compares 255 and -1 as equal


def index_of_one_class(pred: Tensor, target: Tensor, check_target_range: bool | None) -> Tensor:
    """Return class indices for ``pred`` of one class (0, or 1 for background) as dense labels, and others unchanged."""
    if not isinstance(target, Tensor) or pred.dim() < 2 or pred.shape[-1] != 1 or target.shape != pred.shape[:-1]:
        return target
    index = flatten_class_index(pred, target)
    if reads_values(pred, check_target_range):
        check_target(index, 1)
    return torch.where(index < 0, index, (index == 0).long()).reshape(pred.shape)


def _is_channels_first(pred: Tensor, other: Tensor) -> bool:
    return pred.dim() > 2 and other.shape == pred.shape[:1] + pred.shape[2:]


def channels_hint(name: str, pred: Tensor, other: Tensor) -> str:
    """Return the cure if ``other`` would fit ``pred`` with its classes on axis 1, and otherwise an empty string."""
    keeps_axis = other.dim() > 2 and other.shape[1] == 1
    if not _is_channels_first(pred, other.squeeze(1) if keeps_axis else other):
        return ''
    return '; classes come last here: pass pred.movedim(1, -1)' + f' and {name}.movedim(1, -1)' * keeps_axis


def _check_class_axis(name: str, pred: Tensor, other: Tensor) -> None:
    """Raise if the shape of ``other`` fits the rows of ``pred`` both with its classes last and with them on axis 1."""
    if _is_channels_first(pred, other):
        raise ValueError(
            f'{name}: the shape {tuple(other.shape)} fits pred of shape {tuple(pred.shape)} with its classes last and '
            f'with its classes on axis 1; pass {name}.unsqueeze(-1) where they are last, and where they are on axis 1 '
            'pass pred.movedim(1, -1) as well'
        )


def flatten_weight(pred: Tensor, weight: Tensor | None) -> Tensor | None:
    """Return ``weight`` as (R,) per row or (R, C) per element; one of shape (N,) is per row, even if N = C."""
    if weight is None:
        return None
    if not isinstance(weight, Tensor) or weight.dtype.is_complex:
        raise TypeError(f'weight: expected a tensor, got {_kind(weight)}')
    if weight.device != pred.device:
        raise ValueError(f'weight: expected on the device of pred, {pred.device}, got {weight.device}')
    rows, num_classes = rows_and_classes(pred)
    if weight.shape in (rows, (*rows, 1)):
        _check_class_axis('weight', pred, weight)
        return weight.reshape(-1)
    if weight.shape == pred.shape[:1]:
        return weight.reshape(-1, *[1] * (len(rows) - 1)).expand(rows).reshape(-1)
    if weight.shape in (pred.shape, (pred.numel(),)):
        return weight.reshape(-1, num_classes)
    hint = channels_hint('weight', pred, weight)
    raise ValueError(
        f'weight: expected shape {tuple(pred.shape[:1])} (a row), {tuple(pred.shape)} or ({pred.numel()},) (an '
        f'element) for pred of shape {tuple(pred.shape)}, got {tuple(weight.shape)}{hint}; per-class weights go in '
        'class_weight'
    )


def reads_values(pred: Tensor, check_target_range: bool | None) -> bool:
    """Return whether to check values in tensors; None checks them on the CPU unless torch records the operations."""
    if check_target_range is None:
        return pred.is_cpu and why_torch_only(pred) is None
    return check_target_range


def copy_constant(name: str, value: Tensor, pred: Tensor, check_target_range: bool | None, **limits) -> Tensor:
    """Return a copy of ``value``, 0-d or (C,), in the dtype in which ``pred`` is computed.

    The copy is necessary because the owner may change ``value`` before a backward pass that computes the loss again. If
    values are read, an entry outside ``limits`` raises the error of :func:`check_number`.
    """
    check_pred(pred)
    if not value.is_floating_point():
        raise TypeError(f'{name}: expected a number or a floating-point tensor, got {_kind(value)}')
    if value.device != pred.device:
        raise ValueError(f'{name}: expected on the device of pred, {pred.device}, got {value.device}')
    num_classes = rows_and_classes(pred)[1]
    if value.shape not in ((), (num_classes,)):
        raise ValueError(
            f'{name}: expected a number, a 0-d tensor or one number a class, shape ({num_classes},), got shape '
            f'{tuple(value.shape)}'
        )
    if value.requires_grad:
        raise ValueError(
            f'{name}: expected a tensor without gradient, for the loss does not differentiate by it; detach it'
        )
    if value.numel() and reads_values(pred, check_target_range):
        for bound in aminmax(value):
            check_number(name, bound.item(), **limits)
    return value.to(at_least_float32(pred.dtype), copy=True)


def as_class_weight(class_weight: Sequence[float] | Tensor | None, num_classes: int | None = None) -> Tensor | None:
    """Return the class weights of a module in float32, or raise now what would otherwise stop the first iteration."""
    if class_weight is None:
        return None
    weight = torch.as_tensor(class_weight, dtype=torch.float32)
    if weight.dim() != 1 or num_classes not in (None, len(weight)):
        length = 'one number for each class' if num_classes is None else f'num_classes={num_classes} numbers'
        raise ValueError(f'class_weight: expected {length}, got shape {tuple(weight.shape)}')
    return weight


def check_class_weight(pred: Tensor, class_weight: Tensor | None) -> None:
    if class_weight is None:
        return
    num_classes = rows_and_classes(pred)[1]
    if not isinstance(class_weight, Tensor) or class_weight.shape != (num_classes,):
        got = tuple(class_weight.shape) if isinstance(class_weight, Tensor) else _kind(class_weight)
        raise ValueError(
            f'class_weight: expected a tensor of shape ({num_classes},), one weight for each class of pred of shape '
            f'{tuple(pred.shape)}, got {got}'
        )
    if class_weight.device != pred.device:
        raise ValueError(f'class_weight: expected on the device of pred, {pred.device}, got {class_weight.device}')


def _kind(value) -> str:
    return f'a {value.dtype} tensor' if isinstance(value, Tensor) else type(value).__name__
