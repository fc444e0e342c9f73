"""The CPU backend: loss and gradient at once, compiled (cpu.cpp) where it was built, else in plain.py."""

from torch import Tensor

from mmasl.ops.cpu_function import run_on_cpu
from mmasl.ops.softmax_asymmetric_loss import compiled
from mmasl.ops.softmax_asymmetric_loss.asymmetry import SoftmaxAsymmetry
from mmasl.ops.softmax_asymmetric_loss.plain import fill_plain
from mmasl.ops.softmax_asymmetric_loss.reference import softmax_asymmetric_loss_reference


def softmax_asymmetric_loss_cpu(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | Tensor | None,
    asymmetry: SoftmaxAsymmetry,
    reduce: bool,
    check: bool = False,
) -> Tensor:
    """The same function as :func:`softmax_asymmetric_loss_reference`, argument by argument, for tensors on the CPU.

    What is kept for backward says :func:`mmasl.ops.cpu_function.run_on_cpu`.

    Example:
        >>> import torch
        >>> pred = torch.zeros(1, 2, requires_grad=True)
        >>> loss = softmax_asymmetric_loss_cpu(
        ...     pred, torch.tensor([0]), None, None, 1.0, SoftmaxAsymmetry(0, 0, 0), reduce=True)
        >>> loss.backward()
        >>> loss.detach(), pred.grad
        (tensor(0.6931), tensor([[-0.5000,  0.5000]]))
    """
    scale = float(scale) if isinstance(scale, Tensor) else scale
    constants = (target, weight, class_weight, scale, asymmetry)
    fill = fill_plain if compiled.LIBRARY is None else compiled.fill_compiled
    return run_on_cpu(fill, softmax_asymmetric_loss_reference, pred, constants, () if reduce else pred.shape[:1], check)
