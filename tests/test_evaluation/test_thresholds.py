"""Chosen thresholds are the best there are, by brute force; what a file or a list of them may be."""

import itertools
import json

import numpy as np
import pytest

from mmasl.evaluation import label_counts, precision_recall_f1
from mmasl.evaluation.thresholds import choose_thresholds, read_thresholds


def labels(seed, num_samples=12, num_classes=2):
    """Scores with ties, targets with ignored ones."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((num_samples, num_classes)) < 0.4).astype(int)
    scores = np.round(0.3 * targets + 0.6 * rng.random(targets.shape), 1)
    targets[rng.random(targets.shape) < 0.1] = -1
    targets[0] = 1
    return scores, targets


def measure(scores, targets, thr, objective):
    return precision_recall_f1(label_counts(scores, targets, np.asarray(thr)))[objective]


GRID = np.arange(0, 1.01, 0.05)  # between and at all scores


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('objective', ['CF1', 'OF1'])
def test_best_by_brute_force(seed, objective):
    scores, targets = labels(seed)
    common = choose_thresholds(scores, targets, objective)
    best = max(measure(scores, targets, [thr, thr], objective) for thr in GRID)
    assert common[0] == common[1] and measure(scores, targets, common, objective) == pytest.approx(best)
    each = choose_thresholds(scores, targets, objective, per_class=True)
    best = max(measure(scores, targets, thr, objective) for thr in itertools.product(GRID, GRID))
    assert measure(scores, targets, each, objective) == pytest.approx(best)


@pytest.mark.parametrize('per_class', [False, True])
def test_precision_floor_with_the_highest_recall(per_class):
    scores, targets = labels(0, num_samples=60)
    thr = choose_thresholds(scores, targets, 'precision', per_class, floor=0.8)
    columns = [[0], [1]] if per_class else [[0, 1]]
    for column in columns:
        part = scores[:, column], targets[:, column]
        true, predicted, _ = label_counts(*part, thr[column]).sum(1)
        assert true / predicted >= 0.8
        for other in GRID[thr[column[0]] - 0.051 > GRID]:
            lower, more, _ = label_counts(*part, other).sum(1)
            assert lower / more < 0.8 or lower == true


def test_a_precision_that_nothing_has_and_a_class_without_positives():
    scores, targets = np.array([[0.9, 0.2], [0.6, 0.4], [0.3, 0.6]]), np.array([[0, 0], [1, 0], [1, 0]])
    thr = choose_thresholds(scores, targets, 'precision', per_class=True, floor=1.0)
    assert label_counts(scores, targets, thr)[:2, 0].tolist() == [2, 3]  # two of three is the best there is
    assert thr[1] == choose_thresholds(scores, targets, 'precision', floor=1.0)[1]


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        (dict(objective='mAP'), "objective: expected one of .* got 'mAP'"),
        (dict(floor=0.0), r'floor: expected a precision in \(0, 1\], got 0.0'),
        (dict(targets=np.zeros((3, 2))), r'both in the shape \(N, C\), got \(12, 2\) and \(3, 2\)'),
        (dict(targets=np.zeros((12, 2))), 'at least one positive label'),
        (dict(scores=np.full((12, 2), np.nan)), 'scores: expected finite values, got nan'),
        (dict(scores=np.full((12, 2), 1.5)), r'expected probabilities in \[0, 1\], got values from 1.5 to 1.5'),
    ],
)
def test_bad_arguments(changes, text):
    scores, targets = labels(0)
    with pytest.raises(ValueError, match=text):
        choose_thresholds(**(dict(scores=scores, targets=targets) | changes))


def test_reading(tmp_path):
    file = tmp_path / 'thr.json'
    for content, result in ((0.25, 0.25), ([0.1, 1], [0.1, 1.0])):
        file.write_text(json.dumps(dict(thr=content)))
        assert read_thresholds(str(file), 2) == read_thresholds(content, 2) == result
    for content in ('{}', '[]', 'text'):
        file.write_text(content)
        with pytest.raises(ValueError, match='thr.json: expected a number or a file of tools/analysis_tools'):
            read_thresholds(file)
