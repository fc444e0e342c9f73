"""Statistics of the labels of a training set."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

KINDS = ('multi-label', 'single-label', 'detection')


@dataclass
class LabelStatistics:
    """Counts over the images of a training set.

    Attributes:
        kind: One of ``KINDS``.
        images: Number of images that were read.
        positive: (C,) number of images with the class; in detection, number of its boxes.
        ignored: (C,) number of images in which the class is ignored; in detection, number of its ignored boxes.
        labels_per_image: (images,) number of positive classes; in detection, number of boxes.
    """

    kind: str
    images: int
    positive: np.ndarray
    ignored: np.ndarray
    labels_per_image: np.ndarray

    @property
    def negative(self) -> np.ndarray | None:
        """(C,) number of images in which the class is negative. None in detection, where it depends on the anchors."""
        return None if self.kind == 'detection' else self.images - self.positive - self.ignored

    def summary(self) -> dict:
        """Return the figures by name; a figure that does not exist for this kind is None."""
        positive, per_image = self.positive, self.labels_per_image
        negatives = None if self.negative is None else int(self.negative.sum())
        total = positive.sum() + self.ignored.sum() if negatives is None else self.images * len(positive)
        ordered = np.sort(positive)[::-1]
        return dict(
            kind=self.kind,
            images=self.images,
            classes=len(positive),
            labels_per_image=round(float(per_image.mean()), 4),
            most_labels_of_an_image=int(per_image.max()),
            share_of_images_without_label=round(float(np.mean(per_image == 0)), 4),
            # of labels, as the paper has it: 2.9 / (80 - 2.9) = 0.0376 for MS-COCO
            positive_negative_ratio=None if not negatives else round(float(positive.sum() / negatives), 6),
            share_ignored=round(float(self.ignored.sum() / max(total, 1)), 4),
            most_frequent_class=int(ordered[0]),
            rarest_class=int(ordered[-1]),
            classes_without_label=int(np.sum(positive == 0)),
            imbalance=round(float(ordered[0] / max(ordered[positive[positive > 0].size - 1], 1)), 2),
            share_of_top_fifth=round(float(ordered[: -(-len(ordered) // 5)].sum() / max(positive.sum(), 1)), 4),
        )


def count_labels(samples: Iterable[dict], num_classes: int, detection: bool = False) -> LabelStatistics:
    """Count the labels of samples as OpenMMLab's data sets give them.

    Args:
        samples: Dicts with ``gt_score`` ((C,), -1 for ignored) or else ``gt_label`` (a class index, or several); for
            detection with ``instances`` (boxes with ``bbox_label`` and ``ignore_flag``).
        num_classes: C.
        detection: Whether to count boxes.

    Raises:
        ValueError: If there is no sample, a sample without labels, or a class index outside 0 to C - 1.

    Example:
        >>> statistics = count_labels([dict(gt_label=[0, 1]), dict(gt_label=[0])], num_classes=3)
        >>> statistics.kind, statistics.positive, statistics.summary()['labels_per_image']
        ('multi-label', array([2, 1, 0]), 1.5)
    """
    positive, ignored = np.zeros((2, num_classes), dtype=np.int64)
    per_image, kind = [], None
    for sample in samples:
        kind, labels, unknown = _labels(sample, detection)
        found = np.asarray([*labels, *unknown], dtype=np.int64)
        if found.size and not 0 <= found.min() <= found.max() < num_classes:
            raise ValueError(f'expected class indices from 0 to {num_classes - 1}, got {found.min()} to {found.max()}')
        np.add.at(positive, labels, 1)
        np.add.at(ignored, unknown, 1)
        per_image.append(len(labels))
    if kind is None:
        raise ValueError('the training set has no image')
    per_image = np.array(per_image)
    if kind == 'multi-label' and not ignored.any() and len(per_image) > 1 and (per_image == 1).all():
        kind = 'single-label'  # though each label comes in a list
    return LabelStatistics(kind, len(per_image), positive, ignored, per_image)


def _labels(sample: dict, detection: bool) -> tuple[str, np.ndarray, np.ndarray]:
    """Return the kind of the labels, the positive ones and the ignored ones."""
    none = np.zeros(0, dtype=np.int64)
    if detection and 'instances' in sample:
        boxes = [(box['bbox_label'], box.get('ignore_flag', 0)) for box in sample['instances']]
        labels, flags = np.array(boxes, dtype=np.int64).reshape(-1, 2).T
        return 'detection', labels[flags == 0], labels[flags != 0]
    if not detection and 'gt_score' in sample:
        score = np.asarray(sample['gt_score'])
        return 'multi-label', np.flatnonzero(score > 0), np.flatnonzero(score < 0)
    if not detection and 'gt_label' in sample:
        label = np.asarray(sample['gt_label'], dtype=np.int64)
        return ('multi-label', np.unique(label), none) if label.ndim else ('single-label', label.reshape(1), none)
    expected = 'instances' if detection else 'gt_score or gt_label'
    raise ValueError(f'expected samples with {expected}, got {sorted(sample)}')
