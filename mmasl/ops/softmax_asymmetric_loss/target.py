"""Range checks of single-label targets, and their ignored rows."""

import torch
from torch import Tensor

from mmasl.compat import aminmax
from mmasl.ops.target import OTHER_MARKS, is_ignored

ROW_SUM_ERROR = 1e-2  # a row of 10,000 scores that are rounded to bfloat16 passes, and a second label does not


def ignored_rows(target: Tensor, ignore_index: int) -> Tensor:
    """Return which rows (N,) are ignored: those with ``ignore_index``, or with a -1 among their dense labels.

    Example:
        >>> ignored_rows(torch.tensor([0, -1]), ignore_index=-1)
        tensor([False,  True])
        >>> ignored_rows(torch.tensor([[0.5, 0.5], [-1.0, -1.0]]), ignore_index=-1)
        tensor([False,  True])
    """
    if target.dim() == 1:
        return target == ignore_index
    return is_ignored(target).any(1)


def check_single_label(target: Tensor, num_classes: int, ignore_index: int) -> bool:
    """Raise ValueError if a row does not have one label. This reads the values, and so it waits for a GPU.

    Args:
        target: Dense labels (N, C) or class indices (N,), as :func:`softmax_asymmetric_loss_reference` takes them.
        num_classes: C.
        ignore_index: The class index of ignored rows.

    Returns:
        Whether there may be an ignored row.

    Raises:
        ValueError: For a class index outside [0, C) that is not ``ignore_index``, a dense label outside [0, 1], a -1
            in a row that is not all -1, NaN, or a row that does not sum to 1. The text gives the first such row.

    Example:
        >>> check_single_label(torch.tensor([0, 80]), num_classes=80, ignore_index=-1)
        Traceback (most recent call last):
        ...
        ValueError: target: class indices must lie in [0, 79] or be ignore_index=-1 (ignored), got 80 at row 1
    """
    if target.numel() == 0:
        return False
    if target.dim() == 1:
        low, high = (value.item() for value in aminmax(target))
        if low >= 0 and high < num_classes:
            return low <= ignore_index <= high
        label = target.long()
        wrong = ((label < 0) | (label >= num_classes)) & (label != ignore_index)
        allowed = f'class indices must lie in [0, {num_classes - 1}] or be ignore_index={ignore_index} (ignored)'
        _report(wrong, allowed, label)
        return True
    label = target.double()
    ignored = (label == -1).all(1)
    wrong = ~((label >= 0) & (label <= 1)).all(1) & ~ignored  # NaN is wrong too
    worst = torch.where((label >= 0) & (label <= 1), torch.zeros_like(label), 1.0).argmax(1)
    allowed = 'dense labels must lie in [0, 1], or fill their row with -1 (ignored)'
    _report(wrong, allowed, label.gather(1, worst.unsqueeze(1)).squeeze(1))
    total = label.sum(1)
    allowed = 'a row, along the last axis, must sum to 1 (asymmetric_loss is the one for several labels a row)'
    _report(((total - 1).abs() > ROW_SUM_ERROR) & ~ignored, allowed, total)
    return bool(ignored.any())


def _report(wrong: Tensor, allowed: str, values: Tensor) -> None:
    if wrong.any():
        row = int(wrong.nonzero()[0])
        value = values[row].item()
        marked = isinstance(value, int) and value in OTHER_MARKS  # dense labels have no ignore_index
        hint = f'; ignore_index={value} ignores such rows' if marked else ''
        raise ValueError(f'target: {allowed}, got {value:g} at row {row}{hint}')
