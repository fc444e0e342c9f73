import numpy as np
import pytest
import torch

from mmasl.analysis import probability_gap, probability_sums
from mmasl.evaluation import functional


def batch(rows=40, columns=7):
    generator = torch.Generator().manual_seed(0)
    pred = 3 * torch.randn(rows, columns, generator=generator)
    return pred, torch.randint(-1, 2, (rows, columns), generator=generator)


def expected(pred, target):
    return functional.probability_gap(pred.double().sigmoid().numpy(), target.numpy())


def test_dense_targets_are_measured_as_the_metric_does():
    pred, target = batch()
    gap = probability_gap(probability_sums(pred, target))
    assert gap == pytest.approx(expected(pred, target), abs=1e-6)
    halves = sum(probability_sums(pred[rows], target[rows]) for rows in (slice(0, 13), slice(13, None)))
    assert probability_gap(halves) == pytest.approx(gap, abs=1e-6)


def test_class_indices_are_the_one_hot_targets():
    pred, _ = batch()
    index = torch.arange(40) % 9 - 1  # -1: ignored, 7: background
    dense = torch.nn.functional.one_hot(index.clamp(0), 8)[:, :7]
    dense[index < 0] = -1
    assert torch.allclose(probability_sums(pred, index), probability_sums(pred, dense))
    assert probability_gap(probability_sums(pred, index)) == pytest.approx(expected(pred, dense), abs=1e-6)
    assert torch.equal(probability_sums(pred, index[:, None]), probability_sums(pred, index))
    folded = probability_sums(pred.reshape(5, 8, 7), index.reshape(5, 8))
    assert torch.equal(folded, probability_sums(pred, index))


@pytest.mark.parametrize('form', ['row', 'element', 'flat'])
@pytest.mark.parametrize('dense', [True, False])
def test_a_weight_of_zero_leaves_out_and_others_change_nothing(form, dense):
    pred, target = batch()
    if not dense:
        target = torch.arange(40) % 8
    weight = torch.full((40,) if form == 'row' else (40, 7), 0.3)
    weight[::3] = 0
    kept = torch.arange(40) % 3 != 0
    sums = probability_sums(pred, target, weight.flatten() if form == 'flat' else weight)
    assert torch.allclose(sums, probability_sums(pred[kept], target[kept]))


def test_a_soft_label_is_a_share_of_both_sides():
    pred, _ = batch()
    soft = probability_sums(pred, torch.full_like(pred, 0.25))
    ones, zeros = (probability_sums(pred, torch.full_like(pred, value)) for value in (1, 0))
    assert torch.allclose(soft, 0.25 * ones + 0.75 * zeros)


def test_what_is_ignored_may_be_anything():
    pred, target = torch.tensor([[0.0, float('nan')], [2.0, 1.0]]), torch.tensor([[1, -1], [0, 0]])
    assert torch.isfinite(probability_sums(pred, target)).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_dtypes(dtype):
    pred, target = batch()
    pred = pred.to(dtype).requires_grad_()
    sums = probability_sums(pred, target)
    assert sums.dtype == torch.float64 and not sums.requires_grad
    assert probability_gap(sums) == pytest.approx(expected(pred.detach(), target), abs=1e-6)


@pytest.mark.parametrize(
    'target', [torch.zeros(0, 3), torch.zeros(0).long(), torch.ones(2, 3), torch.full((2, 3), -1), torch.full((2,), 3)]
)
def test_without_positives_or_negatives_there_is_no_gap(target):
    pred = torch.zeros(len(target), 3)
    assert probability_gap(probability_sums(pred, target)) == {}
    weight = torch.zeros(len(target))
    assert np.array_equal(probability_sums(pred, target, weight), np.zeros((2, 2)))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match='target: expected dense labels of shape'):
        probability_sums(torch.zeros(2, 3), torch.zeros(3, 3))
