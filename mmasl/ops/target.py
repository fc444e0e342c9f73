"""Range checks and counts of dense and class-index targets."""

import torch
from torch import Tensor

from mmasl.compat import aminmax


def check_target(target: Tensor, num_classes: int) -> None:
    """Raise where a target holds a value outside its range. Reads the values: a synchronisation on a GPU.

    Args:
        target: Dense (N, C) or class indices (N,), as :func:`asymmetric_loss_reference` takes them.
        num_classes: C.

    Raises:
        ValueError: A class index below -1 or above C, an integer label other than -1, 0, 1, a float outside [0, 1]
            other than -1, or NaN. The text gives the first such value and its position.

    Example:
        >>> check_target(torch.tensor([0, 81]), num_classes=80)
        Traceback (most recent call last):
        ...
        ValueError: target: class indices must lie in [0, 80] (80 = background) or be -1 (ignored), got 81 at row 1; ...
    """
    if target.dtype == torch.bool or target.numel() == 0:
        return
    index = target.dim() == 1
    low, high = (value.item() for value in aminmax(target))
    if low >= 0 and high <= (num_classes if index else 1):  # false for NaN too, which aminmax hands through
        return
    if index:
        wrong = (target < -1) | (target > num_classes)
        allowed = f'class indices must lie in [0, {num_classes}] ({num_classes} = background) or be -1 (ignored)'
    else:
        wrong = ~(((target >= 0) & (target <= 1)) | (target == -1))
        kind = 'lie in [0, 1]' if target.is_floating_point() else 'be 0 or 1'
        allowed = f'dense labels must {kind} or be -1 (ignored)'
    position = wrong.nonzero()
    if len(position):
        first = position[0].tolist()
        where = f'row {first[0]}' if index else f'row {first[0]}, column {first[1]}'
        hint = '; is num_classes of the head that of the data set?' if index else ''
        raise ValueError(f'target: {allowed}, got {target[tuple(first)].item()} at {where}{hint}')


def count_labelled(target: Tensor, num_classes: int) -> Tensor:
    """The number of elements that are not ignored, as a 0-d float64 tensor on the target's device.

    Example:
        >>> count_labelled(torch.tensor([[1, 0, -1]]), num_classes=3).item()
        2.0
        >>> count_labelled(torch.tensor([2, -1]), num_classes=3).item()
        3.0
    """
    count = (target != -1).sum(dtype=torch.float64)
    return count if target.dim() == 2 else count * num_classes
