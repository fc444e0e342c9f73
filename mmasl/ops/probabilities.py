"""Probabilities as input, from heads that pass their logits through a sigmoid or average several sigmoids."""

import torch
from torch import Tensor

from mmasl.compat import aminmax

SMALLEST = 1e-12  # it bounds 1/p; torch's binary_cross_entropy has this bound too


def logits_of(probability: Tensor) -> Tensor:
    """Return the logits of probabilities, in float64; float32 would lose digits of p next to 1 and next to a margin.

    Exactly 0 and 1 are replaced by the nearest number inside. At 0 this is 1e-12, or the smallest normal number of the
    dtype if that is larger. Autograd does not see the replacement, so a positive at p = 0 has a gradient, which its
    dtype can hold.

    Args:
        probability: Numbers in [0, 1], any shape and floating dtype.

    Example:
        >>> logits_of(torch.tensor([0.0, 0.5, 1.0]))
        tensor([-27.6310,   0.0000,  16.6355], dtype=torch.float64)
    """
    dtype = torch.finfo(probability.dtype)
    wide = probability.double()
    with torch.no_grad():
        shift = wide.clamp(max(dtype.tiny, SMALLEST), 1 - dtype.eps / 2).sub_(wide)
    return torch.logit(wide + shift)


def check_probabilities(probability: Tensor) -> None:
    """Raise ValueError if a number lies outside [0, 1]. This reads the values, and so it waits for a GPU."""
    if probability.numel() == 0:
        return
    for value in aminmax(probability.detach()):
        if value < 0 or value > 1:  # NaN passes, as it does among logits
            raise ValueError(
                f'pred: expected probabilities in [0, 1], as activated=True says, got {value.item():g}; a head that '
                'passes logits needs activated=False'
            )
