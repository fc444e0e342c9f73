"""Statistics of the labels of a training set, and the losses that they suggest to try first.

The suggestions are rules of thumb of the paper and of our trials.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

KINDS = ('multi-label', 'single-label', 'detection')
FOCAL = dict(gamma_pos=2.0, gamma_neg=2.0, clip=0.0)
RARE_POSITIVES = 0.3  # positives to negatives; MS-COCO has 0.04. Above it asymmetry has little to correct (ours)
LONG_TAIL = 50  # images of the most frequent class to those of the rarest (ours)


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


def starting_ladder(summary: dict) -> list[dict]:
    """Propose losses in the order to try them, each with the reason; no accuracy is promised.

    The thresholds are the project's choice. Each step is one change, to be tried with a learning rate of its own.

    Args:
        summary: What :meth:`mmasl.analysis.LabelStatistics.summary` returns.

    Returns:
        For each step its ``name``, ``loss`` (the config of the head's loss) and ``reason``.

    Example:
        >>> ladder = starting_ladder(dict(kind='single-label', imbalance=300.0, rarest_class=2))
        >>> [step['name'] for step in ladder]
        ['cross-entropy', 'softmax ASL', 'sigmoid ASL']
    """
    steps = dict(zip(KINDS, (_multi_label, _single_label, _detection), strict=True))
    return [dict(name=name, loss=loss, reason=reason) for name, loss, reason in steps[summary['kind']](summary)]


def _asymmetric(**constants) -> dict:
    return dict(type='mmasl.AsymmetricLoss', **constants)


def _multi_label(summary):
    ratio = summary['positive_negative_ratio']
    reason = 'the reference that every step must beat; unlike that of MMPretrain, it ignores labels of -1'
    yield 'cross-entropy', _asymmetric(gamma_pos=0.0, gamma_neg=0.0, clip=0.0), reason
    yield 'focal loss', _asymmetric(**FOCAL), 'turns down easy samples, of both sides alike (Fig. 5: best for γ 2 to 4)'
    reason = 'the cheapest step against missing labels: negatives below p = 0.05 get no gradient'
    yield 'margin on cross-entropy', _asymmetric(gamma_pos=0.0, gamma_neg=0.0, clip=0.05), reason
    if ratio is not None and ratio > RARE_POSITIVES:
        reason = f'one positive to {1 / ratio:.1f} negatives is mild: a small asymmetry at most is worth a trial'
        yield 'mild asymmetric focusing', _asymmetric(gamma_pos=0.0, gamma_neg=1.0, clip=0.0), reason
    else:
        yield from _few_positives(summary, ratio)
    reason = 'finds γ₋ while it trains; on photographs it paid under a linear layer, and rarely elsewhere'
    yield 'adaptive ASL', dict(type='mmasl.AdaptiveAsymmetricLoss', delta_p_target=0.1), reason


def _few_positives(summary, ratio):
    reason = f'one positive to {1 / ratio:.0f} negatives' if ratio else 'positives are few'
    reason += ': γ₊=0 keeps their gradient'
    if summary['imbalance'] >= LONG_TAIL:
        reason += f', which the rarest classes ({summary["rarest_class"]} images) can spare least'
    yield 'asymmetric focusing', _asymmetric(gamma_pos=0.0, gamma_neg=3.0, clip=0.0), reason
    reason = 'discards easy negatives and those that are probably missing labels'
    if summary['share_of_images_without_label'] > 0.05:
        reason += (
            f'; {summary["share_of_images_without_label"]:.0%} of the images have no label at all: are some missing?'
        )
    yield 'margin on focal loss', _asymmetric(gamma_pos=2.0, gamma_neg=2.0, clip=0.3), reason
    reason = 'both, with the best values of Table 2; γ₋=2, m=0.2 (Fig. 4) next'
    yield 'ASL', _asymmetric(gamma_pos=0.0, gamma_neg=4.0, clip=0.05), reason


def _single_label(summary):
    yield 'cross-entropy', dict(type='CrossEntropyLoss'), 'the reference that every step must beat'
    reason = 'γ₋ acts through label smoothing alone; without it, this is cross-entropy'
    softmax = dict(type='mmasl.SoftmaxAsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, label_smoothing=0.1)
    yield 'softmax ASL', softmax, reason
    tail = summary['imbalance'] >= LONG_TAIL
    reason = f'a long tail ({summary["imbalance"]:.0f} to 1) is' if tail else 'a long tail would be'
    reason += ' its case: each class has its own score, and its many negatives are turned down'
    yield 'sigmoid ASL', _asymmetric(gamma_pos=0.0, gamma_neg=4.0, clip=0.05), reason


def _detection(summary):
    focal = dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25)
    yield 'focal loss', focal, "the head's own loss, α included; reproduce its result before anything else"
    same = _asymmetric(use_sigmoid=True, gamma_pos=2.0, gamma_neg=2.0, clip=0.0, alpha=0.25)
    yield 'the same as ASL', same, 'equal to it by calculation; a check of the config'
    reason = 'less focusing on positives, since few anchors are any; α and γ interact, so tune α again'
    yield 'asymmetric focusing', {**same, 'gamma_pos': 1.0}, reason
