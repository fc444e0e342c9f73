"""The CPU backend: one pass for loss and gradient, compiled (cpu.cpp) where it was built, else in blocks.py."""

from torch import Tensor

from mmasl.ops.asymmetric_loss import compiled
from mmasl.ops.asymmetric_loss.asymmetry import Asymmetry
from mmasl.ops.asymmetric_loss.blocks import fill_blocks
from mmasl.ops.asymmetric_loss.reference import asymmetric_loss_reference
from mmasl.ops.cpu_function import run_on_cpu


def asymmetric_loss_cpu(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    scale: float | Tensor | None,
    asymmetry: Asymmetry,
    reduce: bool,
    check: bool = False,
) -> Tensor:
    """The same function as :func:`asymmetric_loss_reference`, argument by argument, for tensors on the CPU.

    What is kept for backward says :func:`mmasl.ops.cpu_function.run_on_cpu`.

    Example:
        >>> import torch
        >>> pred = torch.zeros(1, 2, requires_grad=True)
        >>> loss = asymmetric_loss_cpu(pred, torch.tensor([0]), None, None, 1.0, Asymmetry(0, 0, 0), reduce=True)
        >>> loss.backward()
        >>> loss.detach(), pred.grad
        (tensor(1.3863), tensor([[-0.5000,  0.5000]]))
    """
    if asymmetry.has_tensors:
        asymmetry = asymmetry.read_scalars()
    scale = float(scale) if isinstance(scale, Tensor) else scale
    constants = (target, weight, class_weight, scale, asymmetry)
    fill = fill_blocks if compiled.LIBRARY is None else compiled.fill_compiled
    return run_on_cpu(fill, asymmetric_loss_reference, pred, constants, () if reduce else pred.shape, check)
