"""The launch of the Triton kernel. triton_support.py decides what is computed when, and what is saved.

The kernel is in triton_kernels.py, which is imported when it is first needed.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from mmasl.ops.analytic import Given
from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry, margin_logit, margin_logit_tensor
from mmasl.ops.asymmetric_loss.reference import asymmetric_loss_reference
from mmasl.ops.target import check_target, may_ignore
from mmasl.ops.triton_support import Launch, Plan, as_number, compiled_exponent, refuse, run_on_triton

BLOCK = 1024  # logits in a tile: 8 for each thread, which reads float32 in two reads of 16 bytes
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
    """Compute :func:`asymmetric_loss_reference`, with the same arguments, in float32 for float32 and half precision.

    The tensors are on a GPU, or in tests on the CPU, where Triton's interpreter runs the kernel. Only ``pred`` gets a
    gradient. ``check`` waits for the GPU.

    Raises:
        ValueError: If :func:`triton_unavailable` gives a reason, or ``check`` finds a target out of range.
    """
    refuse(pred)
    if check:
        check_target(target, pred.shape[1])
    numel = pred.numel()
    plan = Plan(pred.shape, (numel + BLOCK - 1) // BLOCK, None if may_ignore(target) else numel)
    given = Given(target, weight, class_weight, scale, asymmetry)
    return run_on_triton(_launch, asymmetric_loss_reference, plan, pred, given, reduce)


def _launch(what: Launch, pred: Tensor, given: Given) -> None:
    """Launch the kernel :func:`triton_kernels.asymmetric_loss`."""
    from mmasl.ops.asymmetric_loss import triton_kernels

    target, weight, class_weight, asymmetry = given.target, given.weight, given.class_weight, given.asymmetry
    columns = pred.shape[1]
    index = target.dim() == 1
    weight_is = 'none' if weight is None else 'row' if weight.dim() == 1 else 'element'
    gamma_neg, alpha = asymmetry.gamma_neg, asymmetry.alpha
    by_class = class_weight is not None or 'class' in (_kind(gamma_neg), _kind(asymmetry.clip))
    rows_matter = index or weight_is == 'row' or by_class
    width = BLOCK
    if rows_matter:
        width = min(columns & -columns, BLOCK)  # the largest power of two that divides C
        width = 1 if width < 4 else width  # below 4, neighbours share too little to pay for narrow reads
    margin = _margin(asymmetry.clip)
    triton_kernels.asymmetric_loss[(what.programs,)](
        pred=pred,
        target=target,
        weight=weight,
        class_weight=class_weight,
        upstream=what.upstream,
        scale=what.scale,
        out=what.out,
        counts=what.counts,
        total=pred.numel(),
        gamma_pos=as_number(asymmetry.gamma_pos),
        gamma_neg=gamma_neg.contiguous() if isinstance(gamma_neg, Tensor) else as_number(gamma_neg),
        clip=margin.clip,
        margin_hi=margin.hi,
        margin_lo=margin.lo,
        weight_pos=1.0 if alpha is None else as_number(alpha),
        weight_neg=1.0 if alpha is None else as_number(1 - alpha),
        GAMMA_POS=compiled_exponent(asymmetry.gamma_pos),
        GAMMA_NEG=-1 if asymmetry.has_tensors else compiled_exponent(gamma_neg),
        MARGIN=margin.applies_to,
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


class Margin(NamedTuple):
    """The margin as the kernel takes it.

    Attributes:
        clip: The margin; or a tensor with it and both parts of its logit, (3,) or (3, C).
        hi, lo: Both parts of logit(clip), if that is a number.
        applies_to: The kernel's MARGIN: 'all' or 'none' of the classes, or 'some' if only the device knows.
    """

    clip: float | Tensor
    hi: float
    lo: float
    applies_to: str


def _margin(clip: float | Tensor) -> Margin:
    if isinstance(clip, Tensor):
        return Margin(torch.stack([clip, *margin_logit_tensor(clip)]), 0.0, 0.0, 'some')
    return _margin_of_number(clip)


@lru_cache(maxsize=256)
def _margin_of_number(clip: float) -> Margin:
    if clip == 0:
        return Margin(0.0, 0.0, 0.0, 'none')
    hi, lo = margin_logit(clip, torch.float32)
    return Margin(float(clip), hi, lo, 'all')
