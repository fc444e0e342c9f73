"""Element-wise losses and their gradients. Each op has a folder, and takes and returns tensors."""

from collections.abc import Callable
from typing import NamedTuple

from mmasl.ops.cpu_library import Library


class Op(NamedTuple):
    """The functions that compute one op. Each backend takes the arguments of the reference."""

    reference: Callable
    plain: Callable
    cpu: Callable
    triton: Callable
    library: Library  # the compiled library that ``cpu`` calls
