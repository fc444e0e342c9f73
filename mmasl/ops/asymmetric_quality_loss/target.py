"""Quality targets: dense scores (N, C), or class indices (N,) with the score of each, never expanded to (N, C)."""

import torch
from torch import Tensor

from mmasl.ops.target import check_target

QualityTarget = Tensor | tuple[Tensor, Tensor]


def check_quality_target(target: QualityTarget, num_classes: int) -> None:
    """Raise where a target holds a value outside its range. Reads the values: a synchronisation on a GPU.

    Raises:
        ValueError: As :func:`mmasl.ops.target.check_target` for dense scores and for labels; a score outside [0, 1].

    Example:
        >>> check_quality_target((torch.tensor([0, 3]), torch.tensor([0.5, 1.5])), num_classes=3)
        Traceback (most recent call last):
        ...
        ValueError: target: scores must lie in [0, 1], got 1.5 at row 1
    """
    if isinstance(target, Tensor):
        return check_target(target, num_classes)
    labels, scores = target
    check_target(labels, num_classes)
    wrong = ~((scores >= 0) & (scores <= 1)) & (labels != -1)  # NaN is wrong too
    if wrong.any():
        row = wrong.nonzero()[0].item()
        raise ValueError(f'target: scores must lie in [0, 1], got {scores[row].item():g} at row {row}')


def without_positives(target: QualityTarget, num_classes: int) -> Tensor:
    """The target of the negative side: entries that are not negatives are ignored, or a class index that weighs 0.

    Example:
        >>> without_positives(torch.tensor([[0.0, 0.7, -1.0]]), num_classes=3)
        tensor([[-0., -1., -1.]])
        >>> without_positives((torch.tensor([0, 1, 3, -1]), torch.tensor([0.7, 0.0, 0.0, 0.0])), num_classes=3)
        tensor([ 0,  3,  3, -1])
    """
    if isinstance(target, Tensor):
        return -(target != 0).float()
    labels, scores = target
    return torch.where((scores > 0) | (labels < 0), labels, num_classes)
