"""The Triton backend: a forward pass that writes only partial sums, a backward pass that computes again.

Nothing waits for the GPU: upstream gradient, scale and number of labels stay on it. The kernels are in
triton_kernels.py, which is imported when first needed.
"""

import os
import shutil
from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor
from torch.autograd import Function

from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry, margin_logit, margin_logit_tensor
from mmasl.ops.asymmetric_loss.reference import asymmetric_loss_reference
from mmasl.ops.target import check_target
from mmasl.ops.triton_support import interpreting, triton_unavailable

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
BLOCK = 1024  # logits in a tile: 8 a thread, so that float32 is read 16 bytes at a time twice
WARPS = 4
PROGRAMS = 32  # for each multiprocessor, several waves: what a program sets up once is spread over its tiles
MOST_PROGRAMS = 8192  # partial sums that one program adds up
INTERPRETED_PROGRAMS = 2  # so that one takes several tiles, as on a GPU


def asymmetric_loss_triton(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | Tensor | None,
    asymmetry: Asymmetry,
    reduce: bool,
    check: bool = False,
) -> Tensor:
    """The same function as :func:`asymmetric_loss_reference`, argument by argument, for float32 and half precision.

    For tensors on a GPU; on the CPU in Triton's interpreter, which is for tests. Sums are float32 within a program and
    float64 over the programs, in an order that depends on the GPU's size only. ``weight``, ``class_weight`` and
    ``target`` get no gradient. A second derivative is the reference's. ``check`` waits for the GPU.

    Raises:
        ValueError: :func:`unavailable` gives a reason, or ``check`` finds a target out of range.
    """
    reason = unavailable(pred)
    if reason is not None:
        raise ValueError(f'pred: the triton backend cannot be used because {reason}')
    if check:
        check_target(target, pred.shape[1])
    constants = (target, weight, class_weight, scale, asymmetry, reduce)
    if pred.numel() == 0:
        return asymmetric_loss_reference(pred, *constants)
    if torch.is_grad_enabled() and pred.requires_grad:
        return _AsymmetricLoss.apply(pred, *constants)
    return _forward(pred, *constants)[0]


def unavailable(pred: Tensor) -> str | None:
    """The reason why these kernels cannot take ``pred``, or None.

    Example:
        >>> unavailable(torch.zeros(2, 3, dtype=torch.float64))
        'pred is float64, which the kernels do not compute in'
    """
    reason = triton_unavailable(pred)
    if reason is not None:
        return reason
    if pred.dtype not in DTYPES:
        return f'pred is {pred.dtype}, which the kernels do not read'
    if pred.is_cuda and torch.version.cuda is not None:
        capability = torch.cuda.get_device_capability(pred.device)
        if capability < (8, 0):
            return f'Triton needs compute capability 8.0, and {pred.device} has {capability[0]}.{capability[1]}'
    module = _kernels()
    if isinstance(module, str):
        return module
    if interpreting() != module.INTERPRETED:
        return 'TRITON_INTERPRET has changed since the kernels were imported'
    return None


@lru_cache(maxsize=1)
def _kernels() -> ModuleType | str:
    """The module of the kernels, or why there is none."""
    try:
        from mmasl.ops.asymmetric_loss import triton_kernels
    except ImportError as error:
        return f'triton cannot be imported: {error}'
    # Triton builds its launcher when the first kernel runs.
    if not (triton_kernels.INTERPRETED or os.environ.get('CC') or shutil.which('gcc') or shutil.which('clang')):
        return 'Triton needs a C compiler: no CC, gcc or clang was found'
    return triton_kernels


class _AsymmetricLoss(Function):
    @staticmethod
    def forward(ctx, pred, target, weight, class_weight, scale, asymmetry, reduce):
        loss, used_scale = _forward(pred, target, weight, class_weight, scale, asymmetry, reduce)
        ctx.scale, ctx.asymmetry, ctx.reduce = scale, asymmetry, reduce
        ctx.save_for_backward(pred, target, weight, class_weight, used_scale)
        return loss

    @staticmethod
    def backward(ctx, upstream):
        pred, target, weight, class_weight, used_scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True
            loss = asymmetric_loss_reference(pred, target, weight, class_weight, ctx.scale, ctx.asymmetry, ctx.reduce)
            (grad,) = torch.autograd.grad(loss, pred, upstream, create_graph=True)
        else:
            # The interpreter cuts digits off where a GPU rounds to bfloat16.
            dtype = torch.float32 if _kernels().INTERPRETED else pred.dtype
            grad = torch.empty_like(pred, dtype=dtype, memory_format=torch.contiguous_format)
            if any(upstream.stride()):
                how, upstream = 'element', upstream.contiguous()
            else:  # one number, also for what sum() or mean() of the element-wise loss hands down
                how = 'scaled' if ctx.reduce else 'plain'
            _launch('grad', pred, target, weight, class_weight, ctx.asymmetry, grad, upstream, used_scale, how)
            grad = grad.to(pred.dtype)
        return grad, None, None, None, None, None, None


def _forward(pred, target, weight, class_weight, scale, asymmetry, reduce) -> tuple[Tensor, Tensor | None]:
    """The loss and, with ``reduce``, the scale that it was multiplied by, 0-d float32 on the device."""
    if not reduce:
        loss = pred.new_empty(pred.shape, dtype=torch.float32)
        _launch('none', pred, target, weight, class_weight, asymmetry, loss)
        return loss, None
    how = 'number'
    if scale is None and not _may_ignore(target):
        scale = 1 / pred.numel()
    elif scale is None:
        how = 'count'
    elif isinstance(scale, Tensor) and scale.device == pred.device:
        how = 'tensor'
    programs = _programs(pred)
    partials = pred.new_empty(programs, dtype=torch.float32)
    counts = pred.new_empty(programs, dtype=torch.int32) if how == 'count' else None
    loss, used_scale = (pred.new_empty((), dtype=torch.float32) for _ in range(2))
    _launch('sum', pred, target, weight, class_weight, asymmetry, partials, counts=counts)
    with torch.cuda.device_of(pred):
        _kernels().reduce_partials[(1,)](
            partials,
            counts,
            float(scale) if how == 'number' else scale,
            loss,
            used_scale,
            programs,
            COUNT=how == 'count',
            SCALE=how,
            BLOCK=MOST_PROGRAMS,
            num_warps=8,
        )
    return loss, used_scale


def _launch(
    mode: str,
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    asymmetry: Asymmetry,
    out: Tensor,
    upstream: Tensor | None = None,
    used_scale: Tensor | None = None,
    upstream_is: str = 'none',
    counts: Tensor | None = None,
) -> None:
    """Run the one kernel; the arguments are those of :func:`triton_kernels.asymmetric_loss`."""
    columns = pred.shape[1]
    index = target.dim() == 1
    weight_is = 'none' if weight is None else 'row' if weight.dim() == 1 else 'element'
    gamma_neg = asymmetry.gamma_neg
    by_class = class_weight is not None or 'class' in (_kind(gamma_neg), _kind(asymmetry.clip))
    rows_matter = index or weight_is == 'row' or by_class
    width = BLOCK
    if rows_matter:
        width = min(columns & -columns, BLOCK)  # the largest power of two that divides C
        width = 1 if width < 4 else width  # below, a thread's neighbours share too little to be worth narrow reads
    if target.dtype == torch.bool:
        target = target.contiguous().view(torch.uint8)
    clip, margin = _margin(asymmetry.clip)
    alpha = asymmetry.alpha
    with torch.cuda.device_of(pred):  # Triton launches on the current device
        _kernels().asymmetric_loss[(_programs(pred),)](
            *(tensor if tensor is None else tensor.contiguous() for tensor in (pred, target, weight, class_weight)),
            upstream,
            used_scale,
            out,
            counts,
            pred.numel(),
            _number(asymmetry.gamma_pos),
            gamma_neg.contiguous() if isinstance(gamma_neg, Tensor) else _number(gamma_neg),
            *clip,
            1.0 if alpha is None else _number(alpha),
            1.0 if alpha is None else _number(1 - alpha),
            GAMMA_POS=_whole(asymmetry.gamma_pos),
            GAMMA_NEG=-1 if asymmetry.has_tensors else _whole(gamma_neg),
            MARGIN=margin,
            ALPHA=alpha is not None,
            DETACH=asymmetry.detach_focus,
            GAMMA_IS=_kind(gamma_neg),
            CLIP_IS=_kind(asymmetry.clip),
            TARGET='index' if index else 'soft' if target.is_floating_point() else 'hard',
            IGNORE=_may_ignore(target),
            WEIGHT=weight_is,
            CLASS_WEIGHT=class_weight is not None,
            UPSTREAM=upstream_is,
            COUNT=counts is not None,
            MODE=mode,
            COLUMNS=columns if rows_matter else 0,
            SEGMENTS=BLOCK // width,
            WIDTH=width,
            num_warps=WARPS,
        )


def _programs(pred: Tensor) -> int:
    """How many programs share the tiles."""
    programs = INTERPRETED_PROGRAMS
    if pred.is_cuda:
        programs = torch.cuda.get_device_properties(pred.device).multi_processor_count * PROGRAMS
    return min((pred.numel() + BLOCK - 1) // BLOCK, programs, MOST_PROGRAMS)


def _number(value: float) -> float:
    """A float, for an int would be compiled in; 0 below the normal numbers, which the interpreter takes for float64."""
    return float(value) if value >= torch.finfo(torch.float32).tiny else 0.0


def _kind(constant: float | Tensor) -> str:
    return ('one', 'class')[constant.dim()] if isinstance(constant, Tensor) else 'number'


@lru_cache(maxsize=256)
def _margin_of_number(clip: float) -> tuple[tuple, str]:
    hi, lo = margin_logit(clip, torch.float32) if clip else (0.0, 0.0)
    return (float(clip), hi, lo), 'all' if clip else 'none'


def _margin(clip: float | Tensor) -> tuple[tuple, str]:
    """The kernel's ``clip, margin_hi, margin_lo``, and its MARGIN."""
    if isinstance(clip, Tensor):
        return (torch.stack([clip, *margin_logit_tensor(clip)]), 0.0, 0.0), 'some'
    return _margin_of_number(clip)


def _whole(gamma: float) -> int:
    """The exponent where the kernels have it without a power, else -1."""
    return int(gamma) if gamma in (0, 1, 2, 3, 4) else -1


def _may_ignore(target: Tensor) -> bool:
    """Whether the dtype can hold the -1 of an ignored label."""
    return target.dtype.is_signed
