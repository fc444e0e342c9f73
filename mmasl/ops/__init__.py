"""Element-wise losses and their gradients: one folder an op, tensors in and tensors out."""

from collections.abc import Callable
from typing import NamedTuple


class Op(NamedTuple):
    """The functions that compute one op; all take the arguments of the reference."""

    reference: Callable
    cpu: Callable
    triton: Callable
    triton_unavailable: Callable  # the reason why ``triton`` cannot take a tensor, or None
