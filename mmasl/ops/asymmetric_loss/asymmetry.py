"""The constants of Eq. 7, and the logit of its margin."""

from decimal import Decimal, localcontext
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from mmasl.compat import constant_when_traced


class Asymmetry(NamedTuple):
    """The constants of Eq. 7, already validated.

    Attributes:
        gamma_pos: Focusing exponent of positives, real and >= 0.
        gamma_neg: Focusing exponent of negatives, real and >= 0: a number, or a tensor, 0-d or (C,), on the device of
            the logits and in the dtype of the computation.
        clip: Probability margin m, 0 or in [1e-30, 1): a number or a tensor, like ``gamma_neg``.
        alpha: Weight of positives in [0, 1]; negatives have the weight ``1 - alpha``. None leaves both at 1.
        detach_focus: Leave the focusing weight out of the gradient, as the authors' script does.
    """

    gamma_pos: float = 0.0
    gamma_neg: float | Tensor = 4.0
    clip: float | Tensor = 0.05
    alpha: float | None = None
    detach_focus: bool = False

    @property
    def has_tensors(self) -> bool:
        return isinstance(self.gamma_neg, Tensor) or isinstance(self.clip, Tensor)

    def read_scalars(self) -> 'Asymmetry':
        """Return the constants with numbers in place of 0-d tensors. This waits for the device of the tensors."""
        scalars: dict = {name: v.item() for name, v in self._asdict().items() if isinstance(v, Tensor) and v.dim() == 0}
        return self._replace(**scalars)


@constant_when_traced
@lru_cache(maxsize=256)
def margin_logit(clip: float, dtype: torch.dtype) -> tuple[float, float]:
    """Return logit(m) as two numbers ``hi`` and ``lo`` of ``dtype``, whose sum it is.

    A negative is active exactly if ``(z - hi) - lo > 0``. The rounded logit alone would move the margin by up to half
    an ulp. For gamma_neg < 1 the gradient is so steep there that this would change it by a fifth.

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
    with localcontext() as context:
        context.prec = 60
        margin = Decimal(clip)
        logit = margin.ln() - (1 - margin).ln()
        hi = torch.tensor(float(logit), dtype=dtype, device='cpu').item()
        lo = torch.tensor(float(logit - Decimal(hi)), dtype=dtype, device='cpu').item()
    return hi, lo


def margin_logit_tensor(clip: Tensor) -> tuple[Tensor, Tensor]:
    """Return :func:`margin_logit` of each entry of ``clip``, or -inf for an entry of 0. The host reads no value.

    In float64 ``lo`` is 0, and the margin is right to an ulp of the logit.

    Example:
        >>> margin_logit_tensor(torch.tensor([0.0, 0.5]))[0]
        tensor([-inf, 0.])
    """
    wide = clip.double()
    logit = wide.log() - torch.log1p(-wide)
    hi = logit.to(clip.dtype)
    return hi, torch.where(clip > 0, logit - hi.double(), 0.0).to(clip.dtype)
