"""The constants of Eq. 7, and where its margin lies on the logit axis."""

from decimal import Decimal, localcontext
from functools import lru_cache
from typing import NamedTuple

import torch


class Asymmetry(NamedTuple):
    """The constants of Eq. 7, already validated.

    Attributes:
        gamma_pos: Focusing exponent of positives, real and >= 0.
        gamma_neg: Focusing exponent of negatives, real and >= 0.
        clip: Probability margin m, 0 or in [1e-30, 1).
        alpha: Weight of positives in [0, 1], negatives get ``1 - alpha``; None leaves both at 1.
        detach_focus: Leave the focusing weight out of the gradient, as the authors' script does.
    """

    gamma_pos: float = 0.0
    gamma_neg: float = 4.0
    clip: float = 0.05
    alpha: float | None = None
    detach_focus: bool = False


def margin_logit(clip: float, dtype: torch.dtype) -> tuple[float, float]:
    """logit(m) as an unevaluated sum ``hi + lo`` of two numbers of ``dtype``.

    A negative is active exactly where ``(z - hi) - lo > 0``. The rounded logit alone would move the margin by half an
    ulp, where for gamma_neg < 1 the gradient is steep enough to be off by a fifth.

    Args:
        clip: Probability margin m in (0, 1).
        dtype: ``torch.float32`` or ``torch.float64``.

    Returns:
        ``(hi, lo)`` as Python floats that ``dtype`` holds exactly.

    Example:
        >>> margin_logit(0.5, torch.float32)
        (0.0, 0.0)
        >>> hi, lo = margin_logit(0.05, torch.float32)
        >>> round(hi, 6), abs(lo) < 1.2e-7
        (-2.944439, True)
    """
    return _margin_logit(clip, dtype)


# What torch.compiler.assume_constant_result sets; that function itself would import torch._dynamo, a second and more.
margin_logit._dynamo_marked_constant = True


@lru_cache(maxsize=256)
def _margin_logit(clip: float, dtype: torch.dtype) -> tuple[float, float]:
    with localcontext() as context:
        context.prec = 60
        margin = Decimal(clip)
        logit = margin.ln() - (1 - margin).ln()
        hi = torch.tensor(float(logit), dtype=dtype, device='cpu').item()
        lo = torch.tensor(float(logit - Decimal(hi)), dtype=dtype, device='cpu').item()
    return hi, lo
