"""Element-wise losses and their gradients: one folder an op, tensors in and tensors out."""

from collections.abc import Callable
from typing import NamedTuple


class Op(NamedTuple):
    """The functions that compute one op; all that run it take the arguments of the reference."""

    reference: Callable
    cpu: Callable
    check_target: Callable  # (target, number of classes, asymmetry): raises for a value out of range
    triton: Callable
