"""Element-wise losses and their gradients: one folder an op, tensors in and tensors out."""

from collections.abc import Callable
from typing import NamedTuple

from mmasl.ops.cpu_library import Library


class Op(NamedTuple):
    """The functions that compute one op; all that run it take the arguments of the reference."""

    reference: Callable
    plain: Callable
    cpu: Callable
    triton: Callable
    check_target: Callable  # (target, number of classes, asymmetry): raises for a value out of range
    library: Library  # what ``cpu`` calls, if it was compiled
