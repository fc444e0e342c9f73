import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from mmasl.evaluation import (
    average_precision,
    functional,
    label_counts,
    multilabel_metrics,
    precision_recall_f1,
    probability_gap,
)


def random_case(seed, num_samples=60, num_classes=9, ignored=0.2, digits=None, dtype=np.float32):
    """Scores, with many ties for ``digits``, and targets; the last class has no positive."""
    rng = np.random.default_rng(seed)
    scores = rng.random((num_samples, num_classes)).astype(dtype)
    if digits is not None:
        scores = scores.round(digits)
    targets = (rng.random((num_samples, num_classes)) < 0.3).astype(np.int8)
    targets[0] = 1
    targets[:, -1] = 0
    targets[1:][rng.random((num_samples - 1, num_classes)) < ignored] = -1
    return scores, targets


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
@pytest.mark.parametrize('digits', [None, 1, 0])
def test_average_precision_is_that_of_sklearn(digits, dtype):
    for seed in range(10):
        scores, targets = random_case(seed, digits=digits, dtype=dtype)
        ap = average_precision(scores, targets)
        for c in range(scores.shape[1] - 1):
            valid = targets[:, c] >= 0
            assert ap[c] == pytest.approx(average_precision_score(targets[valid, c], scores[valid, c]), abs=1e-12)
        assert np.isnan(ap[-1])


def test_average_precision_by_hand():
    scores = np.array([[0.9], [0.8], [0.7], [0.6]])
    for targets, expected in [
        ([1, 0, 1, 0], (1 / 1 + 2 / 3) / 2),
        ([0, 0, 0, 1], 1 / 4),
        ([1, -1, 1, 0], 1.0),  # without the second sample both positives lead
        ([-1, -1, 0, 1], 1 / 2),
    ]:
        assert average_precision(scores, np.array(targets)[:, None])[0] == pytest.approx(expected)
    assert average_precision(np.full((4, 1), 0.5), np.array([[1], [0], [0], [0]]))[0] == 1 / 4  # one rank for all


def test_average_precision_takes_logits_and_any_order():
    scores, targets = random_case(0, digits=1)
    order = np.random.default_rng(0).permutation(len(scores))
    expected = average_precision(scores, targets)
    np.testing.assert_array_equal(average_precision(8 * scores - 4, targets), expected)
    np.testing.assert_allclose(average_precision(scores[order], targets[order]), expected, rtol=1e-14)


@pytest.mark.parametrize('topk', [None, 1, 3, 100])
@pytest.mark.parametrize('thr', [0.2, 0.5, 0.999])
def test_precision_recall_are_those_of_sklearn(thr, topk):
    scores, targets = random_case(1)
    result = precision_recall_f1(label_counts(scores, targets, thr, topk))

    valid, truth = targets >= 0, targets == 1
    ranks = np.where(valid, scores, -1).argsort(axis=1)[:, ::-1].argsort(axis=1)
    predicted = valid & (scores >= thr) & (ranks < (topk or 100))
    kept = truth.any(axis=0)
    assert not kept.all()
    # Where a label is ignored, target and prediction are both False here: it counts in neither.
    expected = {'CP': precision_score(truth[:, kept], predicted[:, kept], average='macro', zero_division=0)}
    expected['CR'] = recall_score(truth[:, kept], predicted[:, kept], average='macro', zero_division=0)
    expected['OP'] = precision_score(truth, predicted, average='micro', zero_division=0)
    expected['OR'] = recall_score(truth, predicted, average='micro', zero_division=0)
    expected['OF1'] = f1_score(truth, predicted, average='micro', zero_division=0)
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, abs=1e-12), name


def test_cf1_is_the_harmonic_mean_of_cp_and_cr():
    # The paper's Table 7: CP 87.2 and CR 76.4 give CF1 81.4.
    result = precision_recall_f1(np.array([[872 * 764], [764_000], [872_000]]))
    assert [round(100 * result[name], 1) for name in ('CP', 'CR', 'CF1')] == [87.2, 76.4, 81.4]
    # Two classes: precision 1 and 1/4, recall 1/4 and 1. The mean of their F1 would be 0.4.
    assert precision_recall_f1(np.array([[1, 1], [1, 4], [4, 1]]))['CF1'] == 0.625


def test_classes_without_predictions_or_positives():
    tp, predicted, positive = [3, 0, 0], [4, 0, 2], [6, 2, 0]
    result = precision_recall_f1(np.array([tp, predicted, positive]))
    assert result['CP'] == (3 / 4 + 0) / 2  # no prediction counts 0, no positive is left out
    assert result['CR'] == (3 / 6 + 0) / 2
    assert result['OP'] == 3 / 6  # the false positives of the third class count
    assert result['OR'] == 3 / 8
    assert set(precision_recall_f1(np.array([[0], [0], [2]])).values()) == {0}


def test_topk_by_hand():
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.9, 0.4, 0.3, 0.2], [0.6, 0.6, 0.6, 0.6]])
    targets = np.array([[1, 0, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1]])
    # Of the equal scores of the last sample the first two count.
    np.testing.assert_array_equal(label_counts(scores, targets, 0.5, 2)[1], [3, 2, 0, 0])
    np.testing.assert_array_equal(label_counts(scores, targets, None, 2)[1], [3, 3, 0, 0])
    np.testing.assert_array_equal(label_counts(scores, targets, 0.5, 2)[0], [2, 1, 0, 0])  # true positives
    np.testing.assert_array_equal(label_counts(scores, targets, None, 9)[1], [3, 3, 3, 3])


def test_an_ignored_label_takes_no_place_among_the_top():
    scores, targets = np.array([[0.9, 0.8, 0.7]]), np.array([[-1, 1, 0]])
    np.testing.assert_array_equal(label_counts(scores, targets, 0.5, 1), [[0, 1, 0], [0, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(label_counts(scores, -np.ones((1, 3)), None, 2), np.zeros((3, 3)))


def test_threshold_counts_when_reached():
    np.testing.assert_array_equal(label_counts(np.array([[0.5, 0.49]]), np.array([[1, 1]]), 0.5)[1], [1, 0])


def test_probability_gap():
    scores, targets = random_case(2)
    pos, neg = scores[targets == 1].mean(dtype=np.float64), scores[targets == 0].mean(dtype=np.float64)
    assert probability_gap(scores, targets) == pytest.approx(
        {'pt_pos': pos, 'pt_neg': 1 - neg, 'delta_p': pos - (1 - neg)}, abs=1e-12
    )
    assert np.isnan(probability_gap(np.array([[0.5]]), np.array([[1]]))['delta_p'])


@pytest.mark.parametrize('block', [1, 25, 10**9])
def test_everything_in_blocks(monkeypatch, block):
    monkeypatch.setattr(functional, 'BLOCK_ELEMENTS', block)
    scores, targets = random_case(3, digits=1)
    result = multilabel_metrics(list(scores), list(targets), thr=0.9, topk=2, forced_topk=True)

    ap = 100 * average_precision(scores, targets)
    np.testing.assert_array_equal(result.pop('AP'), ap)
    for name, values in result.pop('class_gap').items():
        columns = [probability_gap(scores[:, [c]], targets[:, [c]])[name] for c in range(len(ap))]
        np.testing.assert_allclose(values, columns, rtol=1e-12)
    positives = (targets == 1).sum(axis=0)
    weighted = sum(positives[c] * ap[c] for c in range(len(ap) - 1)) / positives.sum()
    expected = {'mAP': ap[:-1].mean(), 'mAP_weighted': weighted, **probability_gap(scores, targets)}
    for prefix, rule in {'': (0.9, None), 'top2_': (0.9, 2), 'forced_top2_': (None, 2)}.items():
        values = precision_recall_f1(label_counts(scores, targets, *rule))
        expected.update({prefix + name: 100 * value for name, value in values.items()})
    assert result == pytest.approx(expected, abs=1e-10)
    assert len({result['CP'], result['top2_CP'], result['forced_top2_CP']}) == 3


ONE = np.ones((1, 1))


@pytest.mark.parametrize(
    'function, arguments, message',
    [
        (average_precision, (np.ones((2, 3)), np.ones((3, 2))), r'shape \(N, C\), got \(2, 3\) and \(3, 2\)'),
        (average_precision, (np.ones(2), np.ones(2)), r'expected both in the shape \(N, C\), got \(2,\)'),
        (average_precision, (np.ones((0, 3)), np.ones((0, 3))), r'at least one sample and one class, got .* \(0, 3\)'),
        (average_precision, (np.array([[np.nan]]), ONE), 'scores: expected finite values, got nan'),
        (average_precision, (np.array([[np.inf]]), ONE), 'scores: expected finite values, got .*inf'),
        (average_precision, (ONE, 0.3 * ONE), r'targets: expected 0, 1 or -1 \(ignored\), got 0.3'),
        (probability_gap, (1.5 * ONE, ONE), r'probabilities in \[0, 1\], got values from 1.5 to 1.5'),
        (label_counts, (ONE, ONE, None, None), 'thr and topk: expected at least one of them'),
        (label_counts, (ONE, ONE, 0.5, 0), 'topk: expected an integer above 0 or None, got 0'),
        (precision_recall_f1, (np.ones((2, 3)),), r'counts: expected the shape \(3, C\), got \(2, 3\)'),
        (precision_recall_f1, (np.zeros((3, 3)),), 'targets: expected at least one positive, got none'),
        (multilabel_metrics, ([], []), 'scores: expected at least one sample, got none'),
        (multilabel_metrics, (ONE, []), 'expected as many rows in both, got 1 and 0'),
        (multilabel_metrics, (-ONE, ONE), r'probabilities in \[0, 1\], got values from -1.0'),
        (multilabel_metrics, (ONE, -ONE), 'targets: expected at least one positive, got none'),
    ],
)
def test_bad_input(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)
