"""Both paths of the quality loss against the mpmath oracle, and the promises about finiteness, autograd and memory."""

import pytest
import torch

from mmasl.ops.asymmetric_quality_loss import (
    QualityAsymmetry,
    asymmetric_quality_loss_cpu,
    asymmetric_quality_loss_plain,
    asymmetric_quality_loss_reference,
)
from mmasl.testing import GAMMA_POS, assert_close, exact_asymmetric_quality_loss, logits, peak_memory

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
SCORES = (0.0, 0.03125, 0.25, 0.5, 0.75, 0.984375, 1.0, -1.0)  # float16 holds them all

dtypes = pytest.mark.parametrize('dtype', DTYPES, ids=str)
backends = pytest.mark.parametrize(
    'run',
    [asymmetric_quality_loss_reference, asymmetric_quality_loss_plain, asymmetric_quality_loss_cpu],
    ids=['reference', 'plain', 'cpu'],
)


def loss_and_gradient(run, pred, target, asymmetry, weight=None, class_weight=None, scale=1.0, upstream=None):
    """Element-wise loss and gradient; the reduced form where no ``upstream`` (N, C) is given."""
    pred = pred.detach().requires_grad_()
    loss = run(pred, target, weight, class_weight, scale, asymmetry, upstream is None)
    (gradient,) = torch.autograd.grad(loss, pred, upstream)
    return loss.detach(), gradient


def by_class(scores):
    """The tuple (labels, scores) of dense ``scores`` (N, 1)."""
    labels = torch.where(scores > 0, 0, torch.where(scores == -1, -1, 1)).squeeze(1)
    return labels, scores.squeeze(1)


@backends
@dtypes
@pytest.mark.parametrize('gamma', (*GAMMA_POS, 1.5))
def test_every_quality_matches_the_oracle(run, dtype, gamma):
    """Negatives and ignored entries among them, both forms of the target, with and without the quality as a weight."""
    asymmetry = QualityAsymmetry(gamma, 2.0, 0.05, 0.75, iou_weighted=gamma in (0, 2))
    for score in SCORES:
        pred = logits(0.05, dtype).unsqueeze(1)
        target = torch.full(pred.shape, score)
        exact_loss, exact_gradient = exact_asymmetric_quality_loss(pred, target, *asymmetry)
        for form in (target, by_class(target)):
            loss, gradient = loss_and_gradient(run, pred, form, asymmetry, upstream=torch.ones(pred.shape))
            assert gradient.dtype == dtype
            assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
            assert_close(loss, exact_loss, dtype, f'loss at {score}')
            assert_close(gradient, exact_gradient, dtype, f'gradient at {score}')


@backends
@pytest.mark.parametrize('gamma', [0, 0.3, 1, 4])
@dtypes
def test_loss_and_gradient_are_finite_at_every_finite_logit(run, dtype, gamma):
    largest = torch.finfo(dtype).max
    values = torch.tensor([0.0, 1e4, 65504.0, largest, torch.finfo(dtype).tiny, 88.8, 745.2], dtype=torch.float64)
    pred = torch.cat([values, -values]).clamp(-largest, largest).to(dtype).unsqueeze(1).repeat(1, 4)
    target = torch.tensor([0.0, 0.5, 1e-30, 1.0]).expand_as(pred)
    loss, gradient = loss_and_gradient(
        run, pred, target, QualityAsymmetry(gamma, gamma, 0.05), upstream=torch.ones(pred.shape)
    )
    assert loss.isfinite().all() and gradient.isfinite().all()


@backends
def test_a_positive_that_predicts_its_quality_has_no_gradient(run):
    pred, target = torch.zeros(1, 1), torch.full((1, 1), 0.5)  # p = y exactly, a cusp for exponents up to 1
    for gamma in GAMMA_POS:
        loss, gradient = loss_and_gradient(run, pred, target, QualityAsymmetry(gamma))
        assert gradient.item() == 0 and (loss.item() == 0) == (gamma > 0)


@backends
@pytest.mark.parametrize('dense', [False, True])
def test_gradcheck(run, dense):
    torch.manual_seed(0)
    pred = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    labels, scores = torch.tensor([0, 2, 3, -1, 1]), torch.tensor([0.3, 0.9, 0.0, 0.7, 0.0])
    target = torch.tensor([[0.3, 0, 0], [0, 0, 0.9], [0, 0, 0], [-1, -1, -1], [0, 0, 0]]) if dense else (labels, scores)
    constants = (target, torch.rand(5), torch.rand(3), 0.5, QualityAsymmetry(2, 3, 0.05, 0.75))
    for reduce in (True, False):
        assert torch.autograd.gradcheck(lambda z: run(z, *constants, reduce), pred)  # noqa: B023
        assert torch.autograd.gradgradcheck(lambda z: run(z, *constants, reduce), pred)  # noqa: B023


@backends
def test_ignored_rows_contribute_exactly_nothing_even_where_the_logit_is_nan(run):
    pred = torch.full((3, 4), torch.nan)
    for target in ((torch.full((3,), -1), torch.rand(3)), torch.full((3, 4), -1.0)):
        loss, gradient = loss_and_gradient(run, pred, target, QualityAsymmetry(), scale=None)
        assert loss.item() == 0 and gradient.eq(0).all()


@backends
@pytest.mark.parametrize('shape', [(0, 5), (3, 0), (0, 0)])
def test_empty_input_gives_a_zero_that_back_propagates(run, shape):
    labels = torch.zeros(shape[0], dtype=torch.long)
    for target in (torch.zeros(shape), (labels, torch.zeros(shape[0]))):
        loss, gradient = loss_and_gradient(run, torch.zeros(shape), target, QualityAsymmetry())
        assert loss.item() == 0 and gradient.shape == shape


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
def test_backward_runs_twice(dtype):
    torch.manual_seed(0)
    pred = torch.randn(6, 5).to(dtype).requires_grad_()
    target = torch.tensor([0, 5, 2, -1, 4, 5]), torch.rand(6)
    loss = asymmetric_quality_loss_cpu(pred, target, None, None, 0.5, QualityAsymmetry(), True)
    (first,) = torch.autograd.grad(loss, pred, retain_graph=True)
    kept = first.clone()
    first.mul_(100)  # the receiver may do as it likes with what it got
    (again,) = torch.autograd.grad(loss, pred, retain_graph=True)
    (scaled,) = torch.autograd.grad(loss, pred, torch.tensor(3.0))
    torch.testing.assert_close(again, kept, rtol=0, atol=0)
    torch.testing.assert_close(scaled, 3 * kept)


def test_no_one_hot_tensor_is_built_for_labels_with_scores():
    """Peak memory above inputs and targets, the returned gradient included, as a multiple of the logits' bytes."""
    pred = torch.randn(44_800 // 4, 80, requires_grad=True)
    labels = torch.where(torch.rand(len(pred)) < 0.036, torch.randint(80, (len(pred),)), 80)
    target = labels, torch.rand(len(pred))
    arguments = (target, None, None, 1.0, QualityAsymmetry(), True)
    peak = peak_memory(lambda: asymmetric_quality_loss_cpu(pred, *arguments).backward())
    assert peak < 2.2 * pred.numel() * pred.element_size()
