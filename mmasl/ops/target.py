"""Range checks and counts of dense labels and class indices."""

import torch
from torch import Tensor

from mmasl.compat import aminmax

UNSIGNED = (torch.bool, torch.uint8)
OTHER_MARKS = (255, -100)  # the marks of ignored labels in uint8 masks and in torch's cross-entropy


def is_ignored(target: Tensor) -> Tensor:
    """Return where ``target`` is -1. An unsigned dtype holds no -1, but torch would find its 255 equal to -1.

    Example:
        >>> is_ignored(torch.tensor([1, -1])), is_ignored(torch.tensor([1, 255], dtype=torch.uint8))
        (tensor([False,  True]), tensor([False, False]))
    """
    return torch.zeros_like(target, dtype=torch.bool) if target.dtype in UNSIGNED else target == -1


def hard_or_soft(target: Tensor) -> Tensor:
    """Return dense labels whose values are not checked as numbers from 0 to 1; an integer above 0 is a positive."""
    return target if target.is_floating_point() else target > 0


def may_ignore(target: Tensor) -> bool:
    """Return whether the dtype can hold the -1 of an ignored label."""
    return target.dtype.is_signed


def check_target(target: Tensor, num_classes: int) -> bool:
    """Raise ValueError if a target holds a value outside its range. This reads the values, and so it waits for a GPU.

    Args:
        target: Dense labels (N, C) or class indices (N,), as :func:`asymmetric_loss_reference` takes them.
        num_classes: C.

    Returns:
        Whether there may be an ignored label.

    Raises:
        ValueError: For a class index below -1 or above C, an integer label other than -1, 0 and 1, a float outside
            [0, 1] other than -1, or NaN. The text gives the first such value and its position.

    Example:
        >>> check_target(torch.tensor([0, 81]), num_classes=80)
        Traceback (most recent call last):
        ...
        ValueError: target: class indices must lie in [0, 80] (80 = background) or be -1 (ignored), got 81 at row 1; ...
    """
    if target.dtype == torch.bool or target.numel() == 0:
        return False
    index = target.dim() == 1
    low, high = (value.item() for value in aminmax(target))
    if low >= 0 and high <= (num_classes if index else 1):  # false for NaN too, which aminmax returns
        return False
    if index:
        wrong = (target < -1) | (target > num_classes)
        allowed = f'class indices must lie in [0, {num_classes}] ({num_classes} = background) or be -1 (ignored)'
    else:
        wrong = ~(((target >= 0) & (target <= 1)) | is_ignored(target))
        kind = 'lie in [0, 1]' if target.is_floating_point() else 'be 0 or 1'
        allowed = f'dense labels must {kind} or be -1 (ignored)'
    position = wrong.nonzero()
    if len(position):
        first = position[0].tolist()
        where = f'row {first[0]}' if index else f'row {first[0]}, column {first[1]}'
        value = target[tuple(first)].item()
        hint = '; is num_classes of the head that of the data set?' if index else ''
        if value in OTHER_MARKS:
            signed = 'target' if target.is_floating_point() else 'target.long()'
            hint = f'; to ignore such labels, pass {signed}.masked_fill(target == {value:g}, -1)'
        raise ValueError(f'target: {allowed}, got {value} at {where}{hint}')
    return True


def count_labelled(target: Tensor, num_classes: int) -> Tensor:
    """Return the number of elements that are not ignored, as a 0-d float64 tensor on the device of the target.

    Example:
        >>> count_labelled(torch.tensor([[1, 0, -1]]), num_classes=3).item()
        2.0
        >>> count_labelled(torch.tensor([2, -1]), num_classes=3).item()
        3.0
    """
    count = (~is_ignored(target)).sum(dtype=torch.float64)
    return count if target.dim() == 2 else count * num_classes
