"""The Triton backend: how the kernel is launched. What is computed when, and saved, says triton_support.py.

The kernel is in triton_kernels.py, which is imported when first needed.
"""

from functools import lru_cache

import torch
from torch import Tensor

from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry, margin_logit, margin_logit_tensor
from mmasl.ops.asymmetric_loss.reference import asymmetric_loss_reference
from mmasl.ops.target import check_target
from mmasl.ops.triton_support import Launch, Plan, as_number, compiled_exponent, may_ignore, refuse, run_on_triton

BLOCK = 1024  # logits in a tile: 8 a thread, so that float32 is read 16 bytes at a time twice
WARPS = 4


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

    For tensors on a GPU; on the CPU in Triton's interpreter, which is for tests. ``weight``, ``class_weight`` and
    ``target`` get no gradient. ``check`` waits for the GPU.

    Raises:
        ValueError: :func:`triton_unavailable` gives a reason, or ``check`` finds a target out of range.
    """
    refuse(pred)
    if check:
        check_target(target, pred.shape[1])
    numel = pred.numel()
    plan = Plan(pred.shape, (numel + BLOCK - 1) // BLOCK, None if may_ignore(target) else numel)
    constants = (target, weight, class_weight, scale, asymmetry)
    return run_on_triton(_launch, asymmetric_loss_reference, plan, pred, constants, reduce)


def _launch(
    what: Launch,
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    asymmetry: Asymmetry,
) -> None:
    """Run the one kernel; its arguments are those of :func:`triton_kernels.asymmetric_loss`."""
    from mmasl.ops.asymmetric_loss import triton_kernels

    columns = pred.shape[1]
    index = target.dim() == 1
    weight_is = 'none' if weight is None else 'row' if weight.dim() == 1 else 'element'
    gamma_neg, alpha = asymmetry.gamma_neg, asymmetry.alpha
    by_class = class_weight is not None or 'class' in (_kind(gamma_neg), _kind(asymmetry.clip))
    rows_matter = index or weight_is == 'row' or by_class
    width = BLOCK
    if rows_matter:
        width = min(columns & -columns, BLOCK)  # the largest power of two that divides C
        width = 1 if width < 4 else width  # below, a thread's neighbours share too little to be worth narrow reads
    clip, margin = _margin(asymmetry.clip)
    triton_kernels.asymmetric_loss[(what.programs,)](
        pred,
        target,
        weight,
        class_weight,
        what.upstream,
        what.scale,
        what.out,
        what.counts,
        pred.numel(),
        as_number(asymmetry.gamma_pos),
        gamma_neg.contiguous() if isinstance(gamma_neg, Tensor) else as_number(gamma_neg),
        *clip,
        1.0 if alpha is None else as_number(alpha),
        1.0 if alpha is None else as_number(1 - alpha),
        GAMMA_POS=compiled_exponent(asymmetry.gamma_pos),
        GAMMA_NEG=-1 if asymmetry.has_tensors else compiled_exponent(gamma_neg),
        MARGIN=margin,
        ALPHA=alpha is not None,
        DETACH=asymmetry.detach_focus,
        GAMMA_IS=_kind(gamma_neg),
        CLIP_IS=_kind(asymmetry.clip),
        TARGET='index' if index else 'soft' if target.is_floating_point() else 'hard',
        IGNORE=may_ignore(target),
        WEIGHT=weight_is,
        CLASS_WEIGHT=class_weight is not None,
        UPSTREAM=what.upstream_is,
        COUNT=what.counts is not None,
        MODE=what.mode,
        COLUMNS=columns if rows_matter else 0,
        SEGMENTS=BLOCK // width,
        WIDTH=width,
        num_warps=WARPS,
    )


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
