"""Differences between the versions of torch and OpenMMLab that mmasl supports. This module needs torch alone."""

from collections.abc import Callable
from functools import lru_cache, wraps

import torch
from torch import Tensor
from torch.autograd import forward_ad

try:
    from torch.compiler import is_compiling
except ImportError:  # torch 2.1
    from torch._utils import is_compiling

# torch.onnx.export has two exporters since torch 2.5, and the newer one needs an additional package. The version is
# compared as numbers, because torch would import the package packaging for it.
TRACING_EXPORTER = {'dynamo': False} if tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 5) else {}

__all__ = [
    'TRACING_EXPORTER',
    'aminmax',
    'at_least_float32',
    'cache_constants',
    'constant_when_traced',
    'in_transform',
    'is_compiling',
    'is_followed',
    'load_afresh',
    'nextafter',
    'overwrite',
    'why_torch_only',
]


def is_followed(tensor: Tensor) -> bool:
    """Return whether torch records operations on ``tensor``, which a kernel that reads memory by address would bypass.

    This is true for a tensor that a transform wraps, for a subclass (fake, distributed), under a TorchDispatchMode and
    in forward mode.
    """
    followed = torch._C._dispatch_isTensorSubclassLike(tensor) and tensor.device.type != 'meta'
    return followed or forward_ad._current_level >= 0


def in_transform() -> bool:
    """Return whether a transform of ``torch.func`` or ``torch.jit.trace`` runs; do not call it inside torch.compile."""
    return torch._C._is_tracing() or torch._C._functorch.peek_interpreter_stack() is not None


def why_torch_only(pred: Tensor) -> str | None:
    """Return the reason why the loss of ``pred`` must use torch operations and read no values, or None.

    Example:
        >>> why_torch_only(torch.zeros(2, 3)) is None
        True
    """
    if is_compiling():
        return 'torch.compile traces the reference'
    if in_transform():
        return 'a transform of torch.func or torch.jit.trace follows the reference'
    if is_followed(pred):
        return 'a TorchDispatchMode, a tensor subclass or forward-mode differentiation follows the reference'
    return None


def aminmax(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``torch.aminmax(values)``, which torch 2.1 lacks for half precision on the CPU."""
    return torch.aminmax(values.float() if values.is_cpu and values.dtype == torch.float16 else values)


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Return ``torch.promote_types(dtype, torch.float32)``, which torch.compile of torch 2.1 cannot trace."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def nextafter(value: Tensor, towards: float) -> Tensor:
    """Return ``torch.nextafter`` of a 0-d tensor on the CPU, which torch 2.1 lacks for half precision."""
    if value.dtype == torch.float16:
        import numpy

        value = value.numpy()
        return torch.tensor(numpy.nextafter(value, value.dtype.type(towards)))
    return torch.nextafter(value, torch.tensor(towards, dtype=value.dtype))


def overwrite(values: Tensor, operation: Callable, *args) -> Tensor:
    """Return ``operation(values, *args)``, computed in place; the operation is one of ``torch.ops.aten`` for gradients.

    Meta tensors have no memory to overwrite, and those of torch 2.1 do not take the argument for it.

    Example:
        >>> values = torch.tensor([5.0])
        >>> overwrite(values, torch.ops.aten.sigmoid_backward, torch.tensor(0.5)) is values, values
        (True, tensor([1.2500]))
    """
    return operation(values, *args) if values.is_meta else operation.grad_input(values, *args, grad_input=values)


def cache_constants(function: Callable) -> Callable:
    """Add an ``lru_cache`` that is bypassed under torch.compile, because torch 2.1 cannot trace through a cache."""
    cached = lru_cache(maxsize=256, typed=True)(function)  # typed, since True equals 1 but is not a valid number

    @wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs) if is_compiling() else cached(*args, **kwargs)

    return call


def constant_when_traced(function: Callable) -> Callable:
    """Mark a function as ``torch.compiler.assume_constant_result`` does, but without importing torch._dynamo.

    That import takes more than a second. torch 2.1 stores the result as a global of the traced module under the name of
    the function, so the wrapper has a name that no other global has.
    """

    @wraps(function)
    def _mmasl_constant(*args):
        return function(*args)

    _mmasl_constant._dynamo_marked_constant = True
    return _mmasl_constant


def load_afresh(loop, sampler) -> None:
    """Restart the data loader, the workers and the endless ``sampler`` of an iteration-based ``loop``.

    MMEngine 0.10.7 starts them together with the loop, before a hook can change the seed or the data set; its fork
    starts them on first use.
    """
    iterator = getattr(loop, 'dataloader_iterator', None)
    if getattr(iterator, '_iterator', None) is None:
        return
    iterator._iterator = loop.dataloader._iterator = None  # loader._iterator keeps persistent workers
    if hasattr(sampler, 'indices') and hasattr(sampler, '_indices_of_rank'):  # InfiniteSampler iterates only once
        sampler.indices = sampler._indices_of_rank()
    loop.dataloader_iterator = type(iterator)(loop.dataloader)
