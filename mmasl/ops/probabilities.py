"""Probabilities as input, where a head has passed its logits through a sigmoid or a mean of sigmoids."""

import torch
from torch import Tensor

from mmasl.compat import aminmax

SMALLEST = 1e-12  # bounds 1/p, as torch's binary_cross_entropy does


def logits_of(probability: Tensor) -> Tensor:
    """The logits of probabilities, in float64: float32 would lose the digits of p next to 1 and next to a margin.

    Exactly 0 and 1 are taken as the nearest number inside, no less than the smallest normal one of the dtype and 1e-12.
    Autograd does not see that, so that a positive at p = 0 still has a gradient, and one that its dtype can hold.

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
    """Raise ValueError where a number lies outside [0, 1]. Reads the values: a synchronisation on a GPU."""
    if probability.numel() == 0:
        return
    for value in aminmax(probability.detach()):
        if value < 0 or value > 1:  # NaN is handed through, as it is among logits
            raise ValueError(
                f'pred: expected probabilities in [0, 1], as activated=True says, got {value.item():g}; a head that '
                'passes logits needs activated=False'
            )
