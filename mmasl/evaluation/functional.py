"""Multi-label measures as this literature defines them, in NumPy. Each measure leaves out targets of -1."""

from collections.abc import Sequence

import numpy as np

BLOCK_ELEMENTS = 2**25  # a block of scores takes 128 MiB in float32, whatever the size of the data set


def average_precision(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    r"""Average precision of each class: rank-based, over all points.

    .. math:: AP = \frac{1}{P} \sum_{i: t_i = 1} \frac{\#\{j: t_j = 1, s_j \ge s_i\}}{\#\{j: t_j \ne -1, s_j \ge s_i\}}

    Samples with equal scores share one rank, so the order of the samples does not matter. This equals scikit-learn's
    ``average_precision_score``; it is not VOC's 11-point measure.

    Args:
        scores: ``(N, C)``, floating, finite; probabilities or logits.
        targets: ``(N, C)``, 1 positive, 0 negative, -1 ignored.

    Returns:
        ``(C,)`` float64 in [0, 1], NaN for a class without a positive.

    Raises:
        ValueError: For shapes that do not match, scores that are not finite, or other targets.

    Example:
        >>> average_precision(np.array([[0.9], [0.8], [0.8], [0.1]]), np.array([[1], [0], [1], [-1]]))
        array([0.83333333])
    """
    check_scores(scores, targets)
    result = np.full(scores.shape[1], np.nan)
    # One contiguous row per class; only the scores are sorted, and only positives are looked up in them.
    scores, targets = np.ascontiguousarray(scores.T), np.ascontiguousarray(targets.T)
    for c, (score, target) in enumerate(zip(scores, targets, strict=True)):
        positive = np.sort(score[target == 1])
        if positive.size:
            valid = np.sort(score[target >= 0])
            hits = positive.size - np.searchsorted(positive, positive, side='left')
            result[c] = np.mean(hits / (valid.size - np.searchsorted(valid, positive, side='left')))
    return result


def label_counts(
    scores: np.ndarray, targets: np.ndarray, thr: float | np.ndarray | None = 0.5, topk: int | None = None
) -> np.ndarray:
    r"""Count the true positives, predicted labels and positive targets of each class.

    The counts of several blocks of samples can be added. A label is predicted if ``score >= thr`` (as in MMPretrain)
    and, with ``topk``, if it is also among the ``topk`` highest scores of its sample. ``thr=None`` forces ``topk``
    predictions on every sample. Ignored labels do not count among the highest, and of equal scores the lower class
    index comes first.

    Args:
        scores: ``(N, C)``, floating, finite.
        targets: ``(N, C)``, 1 positive, 0 negative, -1 ignored.
        thr: One threshold, one threshold per class ``(C,)``, or None.
        topk: Largest number of predicted labels per sample, or None. A number above C means all labels.

    Returns:
        numpy.ndarray: the true positives, predicted and positives, ``(3, C)`` int64.

    Raises:
        ValueError: For shapes that do not match, scores that are not finite, other targets, ``topk`` below 1, or if
            both ``thr`` and ``topk`` are None.

    Example:
        >>> label_counts(np.array([[0.9, 0.2], [0.6, 0.7]]), np.array([[1, 1], [0, 1]]))
        array([[1, 1],
               [2, 1],
               [1, 2]])
        >>> label_counts(np.array([[0.9, 0.2], [0.6, 0.7]]), np.array([[1, 1], [0, 1]]), topk=1)
        array([[1, 1],
               [1, 1],
               [1, 2]])
    """
    if thr is None and topk is None:
        raise ValueError('thr and topk: expected at least one of them, got None for both')
    if topk is not None and topk < 1:
        raise ValueError(f'topk: expected an integer above 0 or None, got {topk}')
    check_scores(scores, targets)
    valid, positive = targets >= 0, targets == 1
    predicted = valid.copy() if thr is None else valid & (scores >= thr)
    if topk is not None:
        crowded = np.count_nonzero(predicted, axis=1) > topk  # few of them, once a model is trained
        if crowded.any():
            predicted[crowded] &= _topk_mask(np.where(valid[crowded], scores[crowded], -np.inf), topk)
    return np.stack([np.count_nonzero(mask, axis=0) for mask in (predicted & positive, predicted, positive)])


def precision_recall_f1(counts: np.ndarray) -> dict[str, float]:
    r"""Per-class and overall precision, recall and F1 from the counts of :func:`label_counts`.

    .. math::
        CP = \frac{1}{C} \sum_c \frac{TP_c}{M_c}, \quad CR = \frac{1}{C} \sum_c \frac{TP_c}{P_c}, \quad
        OP = \frac{\sum_c TP_c}{\sum_c M_c}, \quad OR = \frac{\sum_c TP_c}{\sum_c P_c}, \quad
        F1 = \frac{2 \cdot P \cdot R}{P + R}

    Here :math:`M_c` counts the predicted and :math:`P_c` the positive labels of class c. CF1 is the harmonic mean of CP
    and CR, not the mean of the classes' F1. A class without predictions counts as 0 in CP. A class without positives is
    left out of CP and CR, but its false positives count in OP. OP is 0 if nothing is predicted.

    Args:
        counts: ``(3, C)``, non-negative integers: true positives, predicted, positives.

    Returns:
        ``CP, CR, CF1, OP, OR, OF1`` in [0, 1].

    Raises:
        ValueError: For another shape, or when no class has a positive.

    Example:
        >>> precision_recall_f1(np.array([[1, 1], [2, 1], [1, 2]]))['CP']
        0.75
    """
    if np.ndim(counts) != 2 or len(counts) != 3:
        raise ValueError(f'counts: expected the shape (3, C), got {np.shape(counts)}')
    if not np.any(counts[2]):
        raise ValueError('targets: expected at least one positive, got none: precision and recall are undefined')
    tp, predicted, positive = counts[:, counts[2] > 0]
    cp, cr = np.mean(tp / np.maximum(predicted, 1)), np.mean(tp / positive)
    op, orc = tp.sum() / max(counts[1].sum(), 1), tp.sum() / positive.sum()
    values = {'CP': cp, 'CR': cr, 'CF1': _harmonic_mean(cp, cr), 'OP': op, 'OR': orc, 'OF1': _harmonic_mean(op, orc)}
    return {name: float(value) for name, value in values.items()}


def probability_gap(scores: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    r"""Mean probability of the right answer on positives and on negatives, and their gap (Eq. 9 and 10).

    .. math:: p_t^+ = \overline{p}|_{y=1}, \quad p_t^- = 1 - \overline{p}|_{y=0}, \quad \Delta p = p_t^+ - p_t^-

    Note that :math:`p_t^-` is one minus the mean probability given to negatives.

    Args:
        scores: ``(N, C)``, floating, in [0, 1].
        targets: ``(N, C)``, 1 positive, 0 negative, -1 ignored.

    Returns:
        ``pt_pos, pt_neg, delta_p``, the first two in [0, 1]; NaN where the side has no label.

    Raises:
        ValueError: For shapes that do not match, scores outside [0, 1], or other targets.

    Example:
        >>> probability_gap(np.array([[0.75, 0.25], [0.5, 0.5]]), np.array([[1, 0], [0, -1]]))
        {'pt_pos': 0.75, 'pt_neg': 0.625, 'delta_p': 0.125}
    """
    check_scores(scores, targets, probabilities=True)
    return _overall_gap(_probability_sums(scores, targets))


def multilabel_metrics(
    scores: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    thr: float | np.ndarray = 0.5,
    topk: int | None = 3,
    forced_topk: bool = False,
) -> dict[str, float | np.ndarray]:
    r"""Compute all measures of this module in percent, block by block to bound the memory.

    Args:
        scores: ``(N, C)`` or N rows ``(C,)``, floating, in [0, 1].
        targets: ``(N, C)`` or N rows ``(C,)``, 1 positive, 0 negative, -1 ignored.
        thr: A label is predicted if its score is at least the threshold: one number, or one per class ``(C,)``.
        topk: Also measure the ``topk`` highest labels that pass the threshold. None leaves this out.
        forced_topk: Also measure the ``topk`` highest labels whether or not they pass the threshold.

    Returns:
        dict: in percent, ``AP`` ``(C,)``, each over the samples that are annotated for the class, NaN for a class
        without a positive; ``mAP`` :math:`= \frac{1}{C} \sum_c AP_c` and ``mAP_weighted``
        :math:`= \sum_c P_c AP_c / \sum_c P_c` over the classes with positives, where :math:`P_c` counts the positives
        of class c; ``CP, CR, CF1, OP, OR, OF1``; and the same measures as ``top3_CP``, ... (with ``topk``) and
        ``forced_top3_CP``, ... (with ``forced_topk``). In [0, 1]: ``pt_pos, pt_neg, delta_p`` (see
        :func:`probability_gap`), and ``class_gap``, which has the same three as arrays ``(C,)``.

    Raises:
        ValueError: For empty input, for input without any positive, and under the conditions of the functions above.

    Example:
        >>> scores, targets = np.array([[0.9, 0.2], [0.6, 0.7]]), np.array([[1, 1], [0, 1]])
        >>> result = multilabel_metrics(scores, targets, topk=None)
        >>> result['mAP'], result['CP'], round(result['OF1'], 1)
        (100.0, 75.0, 66.7)
    """
    if len(scores) != len(targets):
        raise ValueError(f'scores and targets: expected as many rows in both, got {len(scores)} and {len(targets)}')
    if len(scores) == 0:
        raise ValueError('scores: expected at least one sample, got none')
    rules = {'': (thr, None)}
    if topk is not None:
        rules[f'top{topk}_'] = (thr, topk)
        if forced_topk:
            rules[f'forced_top{topk}_'] = (None, topk)

    num_samples, num_classes = len(scores), len(scores[0])
    counts = dict.fromkeys(rules, 0)
    sums = np.zeros((2, 2, num_classes))
    step = max(1, BLOCK_ELEMENTS // max(num_classes, 1))
    for start in range(0, num_samples, step):
        block = np.asarray(scores[start : start + step]), np.asarray(targets[start : start + step])
        check_scores(*block, probabilities=True)
        sums += _probability_sums(*block)
        for name, rule in rules.items():
            counts[name] = counts[name] + label_counts(*block, *rule)

    result = {}
    for name, count in counts.items():
        result.update({name + key: 100 * value for key, value in precision_recall_f1(count).items()})
    ap = []
    step = max(1, BLOCK_ELEMENTS // num_samples)
    for start in range(0, num_classes, step):
        columns = slice(start, start + step)
        ap.append(average_precision(*(np.asarray([row[columns] for row in rows]) for rows in (scores, targets))))
    ap = 100 * np.concatenate(ap)
    positives = counts[''][2]
    weighted = np.sum(ap * positives, where=positives > 0) / np.sum(positives)
    overall = {'mAP': float(np.nanmean(ap)), 'mAP_weighted': float(weighted), **result, **_overall_gap(sums)}
    return {**overall, 'AP': ap, 'class_gap': _gap(sums)}


def check_scores(scores: np.ndarray, targets: np.ndarray, probabilities: bool = False) -> None:
    """Raise ValueError unless both have the shape (N, C), scores are finite and targets are 0, 1 or -1."""
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(
            f'scores and targets: expected both in the shape (N, C), got {scores.shape} and {targets.shape}'
        )
    if scores.size == 0:
        raise ValueError(f'scores: expected at least one sample and one class, got the shape {scores.shape}')
    low, high = scores.min(), scores.max()  # NaN if there is one
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f'scores: expected finite values, got {low if np.isnan(low) else (low, high)}')
    if probabilities and (low < 0 or high > 1):
        raise ValueError(f'scores: expected probabilities in [0, 1], got values from {low} to {high}')
    check_targets(targets)


def check_targets(targets: np.ndarray) -> None:
    """Raise ValueError unless every target is 1 (positive), 0 (negative) or -1 (ignored)."""
    known = (targets == 0) | (targets == 1) | (targets == -1)
    if not known.all():
        raise ValueError(f'targets: expected 0, 1 or -1 (ignored), got {targets[~known][0]}')


def _topk_mask(scores: np.ndarray, topk: int) -> np.ndarray:
    """Mark the ``topk`` highest of each row, of equal ones the first."""
    kth = np.partition(scores, -topk, axis=1)[:, -topk, None]
    above, tied = scores > kth, scores == kth
    room = topk - np.count_nonzero(above, axis=1)
    crowded = np.flatnonzero(np.count_nonzero(tied, axis=1) > room)  # the others need no count along the row
    tied[crowded] &= np.cumsum(tied[crowded], axis=1) <= room[crowded, None]
    return above | tied


def _probability_sums(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Sum and number of the scores of positives and of negatives of each class, ``(2, 2, C)``."""
    masks = targets == 1, targets == 0
    return np.array([[scores.sum(0, where=mask, dtype=np.float64), np.count_nonzero(mask, axis=0)] for mask in masks])


def _gap(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Eq. 9 and 10 of sums ``(2, 2, ...)``."""
    totals, numbers = sums[:, 0], sums[:, 1]
    positive, negative = np.divide(totals, numbers, out=np.full_like(totals, np.nan), where=numbers > 0)
    return {'pt_pos': positive, 'pt_neg': 1 - negative, 'delta_p': positive + negative - 1}


def _overall_gap(sums: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in _gap(sums.sum(2)).items()}


def _harmonic_mean(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b > 0 else 0.0
