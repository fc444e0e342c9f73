"""Decision thresholds: ASL changes the level of the probabilities, so 0.5 is rarely the best threshold."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmasl.evaluation.functional import check_scores

OBJECTIVES = ('CF1', 'OF1', 'precision')


def choose_thresholds(
    scores: np.ndarray,
    targets: np.ndarray,
    objective: str = 'OF1',
    per_class: bool = False,
    floor: float = 0.9,
) -> np.ndarray:
    r"""Choose the best threshold on these samples, one for all classes or one per class.

    CF1 with ``per_class`` is not useful in most applications. It becomes large when every sample gets the labels of
    hard classes: their recall is then 1, the easy classes keep the mean precision up, and OF1 falls.

    A threshold lies halfway between the two scores that it separates. With ``per_class``, the search raises CF1 or OF1
    by one class at a time, with the other thresholds fixed, until no class can raise it further. A class without
    positives keeps the best common threshold. ``precision`` takes the lowest threshold with a precision of at least
    ``floor``, which has the highest recall. If no threshold reaches ``floor``, it takes the one with the highest
    precision.

    Args:
        scores: ``(N, C)``, floating, in [0, 1].
        targets: ``(N, C)``, 1 positive, 0 negative, -1 ignored.
        objective: 'CF1' or 'OF1' as in :func:`mmasl.evaluation.functional.precision_recall_f1`, or 'precision'.
        per_class: Choose one threshold per class instead of one for all classes.
        floor: The precision to reach with 'precision', in (0, 1].

    Returns:
        ``(C,)`` float64, in [0, 1].

    Raises:
        ValueError: For another objective or floor, shapes that do not match, scores outside [0, 1], targets other than
            0, 1 and -1, or when no class has a positive.

    Example:
        >>> scores = np.array([[0.2, 0.9], [0.1, 0.7], [0.3, 0.6], [0.1, 0.5]])
        >>> targets = np.array([[1, 1], [0, 1], [1, 0], [0, 0]])
        >>> choose_thresholds(scores, targets, per_class=True)
        array([0.15, 0.65])
    """
    if objective not in OBJECTIVES:
        raise ValueError(f'objective: expected one of {OBJECTIVES}, got {objective!r}')
    if not 0 < floor <= 1:
        raise ValueError(f'floor: expected a precision in (0, 1], got {floor}')
    check_scores(scores, targets, probabilities=True)
    if not (targets == 1).any():
        raise ValueError('targets: expected at least one positive label, got none')
    common = _common_threshold(scores, targets, objective, floor)
    if not per_class:
        return np.full(scores.shape[1], common)
    curves = [_Curve(scores[:, c], targets[:, c]) for c in range(scores.shape[1])]
    known = [c for c, curve in enumerate(curves) if curve.positives]
    result = np.full(scores.shape[1], common)
    if objective == 'precision':
        for c in known:
            result[c] = curves[c].thresholds[curves[c].at_precision(floor)]
        return result
    chosen = np.array([curves[c].at(common) for c in known])
    score = _class_f1 if objective == 'CF1' else _overall_f1
    for _ in range(50):
        before = chosen.copy()
        for i in range(len(known)):
            chosen[i] = score([curves[c] for c in known], chosen, i)
        if (before == chosen).all():
            break
    result[known] = [curves[c].thresholds[k] for c, k in zip(known, chosen, strict=True)]
    return result


class _Curve:
    """Precision and recall of predicting the k highest scores of a class, for each k that a threshold can separate."""

    def __init__(self, scores: np.ndarray, targets: np.ndarray) -> None:
        valid = targets >= 0
        order = np.argsort(-scores[valid], kind='stable')
        ranked, hits = scores[valid][order].astype(np.float64), targets[valid][order] == 1
        keep = np.append(True, np.append(ranked[:-1] != ranked[1:], True)[: len(ranked)])
        self.lowest = np.append(np.inf, ranked)[keep]  # of the scores that are predicted
        self.thresholds = (np.append(1.0, ranked)[keep] + np.append(ranked, 0.0)[keep]) / 2
        self.predicted = np.arange(len(ranked) + 1)[keep]
        self.true = np.append(0, np.cumsum(hits))[keep]
        self.positives = int(hits.sum())
        self.precision = self.true / np.maximum(self.predicted, 1)
        self.recall = self.true / max(self.positives, 1)

    def at(self, threshold: float | np.ndarray) -> np.ndarray:
        """Return the entry that belongs to ``threshold``."""
        return np.searchsorted(-self.lowest, -np.asarray(threshold), side='right') - 1

    def at_precision(self, floor: float) -> int:
        """Return the last entry with at least this precision, or the entry with the highest precision."""
        enough = np.flatnonzero((self.precision >= floor) & (self.predicted > 0))
        return int(enough[-1]) if len(enough) else int(np.argmax(self.precision))


def _class_f1(curves: list[_Curve], chosen: np.ndarray, i: int) -> int:
    """Return the entry of curve ``i`` that is best for CF1 while the other classes stay the same."""
    others = [(curve.precision[k], curve.recall[k]) for curve, k in zip(curves, chosen, strict=True)]
    precision, recall = np.sum(others, axis=0) - others[i]
    cp, cr = precision + curves[i].precision, recall + curves[i].recall
    return _best(cp * cr / np.maximum(cp + cr, 1e-12), chosen[i])


def _overall_f1(curves: list[_Curve], chosen: np.ndarray, i: int) -> int:
    """Return the entry of curve ``i`` that is best for OF1 while the other classes stay the same."""
    others = [(curve.true[k], curve.predicted[k]) for curve, k in zip(curves, chosen, strict=True)]
    true, predicted = np.sum(others, axis=0) - others[i]
    positives = sum(curve.positives for curve in curves)
    return _best((true + curves[i].true) / (predicted + curves[i].predicted + positives), chosen[i])


def _best(values: np.ndarray, current: int) -> int:
    best = int(np.argmax(values))
    return best if values[best] > values[current] + 1e-12 else int(current)


def _common_threshold(scores: np.ndarray, targets: np.ndarray, objective: str, floor: float) -> float:
    pooled = _Curve(scores.ravel(), targets.ravel())
    if objective == 'precision':
        return float(pooled.thresholds[pooled.at_precision(floor)])
    if objective == 'OF1':
        return float(pooled.thresholds[np.argmax(pooled.true / (pooled.predicted + pooled.positives))])
    # CF1 needs the counts of every class, so this tries about a thousand candidates at equal steps of the ranking.
    candidates = pooled.thresholds[np.unique(np.linspace(0, len(pooled.thresholds) - 1, 1000).astype(int))]
    candidates = np.unique(np.append(candidates, np.linspace(0, 1, 101)))
    precision, recall = np.zeros((2, len(candidates)))
    for column, target in zip(scores.T, targets.T, strict=True):
        curve = _Curve(column, target)
        if curve.positives:
            precision += curve.precision[curve.at(candidates)]
            recall += curve.recall[curve.at(candidates)]
    return float(candidates[np.argmax(precision * recall / np.maximum(precision + recall, 1e-12))])


def read_thresholds(
    source: float | Sequence[float] | str | Path, num_classes: int | None = None
) -> float | list[float]:
    """Return the thresholds in ``source``: one number, or one number per class.

    Args:
        source: A number in [0, 1], ``num_classes`` numbers, or the path of a file that
            ``tools/analysis_tools/tune_threshold.py`` has written.
        num_classes: Number of classes. None accepts any number of thresholds.

    Raises:
        ValueError: For a file without thresholds, for another number of thresholds, or for one outside [0, 1].

    Example:
        >>> read_thresholds(0.3, num_classes=2), read_thresholds([0.3, 0.5], num_classes=2)
        (0.3, [0.3, 0.5])
    """
    name = 'thr'
    if isinstance(source, str | Path):
        name = f'thr {source}'
        try:
            source = json.loads(Path(source).read_text())['thr']
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f'{name}: expected a number or a file of tools/analysis_tools/tune_threshold.py ({error})'
            ) from error
    values = [source] if isinstance(source, int | float) else list(source)
    if not all(0 <= value <= 1 for value in values):
        raise ValueError(f'{name}: expected numbers in [0, 1], got {values}')
    if isinstance(source, int | float):
        return float(source)
    if num_classes is not None and len(values) != num_classes:
        raise ValueError(f'{name}: expected one number or {num_classes}, one for each class, got {len(values)}')
    return [float(value) for value in values]
