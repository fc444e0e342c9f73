"""The softmax loss against the mpmath oracle, and what it promises beyond the contracts of all losses."""

import pytest
import torch

from mmasl.ops.softmax_asymmetric_loss import SoftmaxAsymmetry
from mmasl.testing import GAMMA_NEG, GAMMA_POS, assert_close, exact_softmax_asymmetric_loss, logits
from tests.test_ops.families import DTYPES, SOFTMAX, Backend, backends_of, dtypes, loss_and_gradient
from tests.test_ops.triton_device import gpu, quiet, use_triton

pytestmark = quiet
BOTH = [(gamma, 4, 0) for gamma in GAMMA_POS] + [(0.5, gamma, 0.1) for gamma in GAMMA_NEG] + [(0, 0, 0.1), (2, 2, 1)]

run = backends_of(SOFTMAX)


def rows(dtype):
    """Each logit of the project's grid beside two fixed ones."""
    first = logits(0, dtype).unsqueeze(1)
    return torch.cat([first, torch.tensor([[0.5, -1.25]], dtype=dtype).expand(len(first), 2)], 1)


def check(run, pred, target, asymmetry, dense, class_weight=None):
    gamma_pos, gamma_neg, label_smoothing, _, detach_focus = asymmetry
    exact_loss, exact_gradient = exact_softmax_asymmetric_loss(
        pred, dense, gamma_pos, gamma_neg, label_smoothing, class_weight, detach_focus
    )
    loss, gradient = loss_and_gradient(run, pred, target, asymmetry, None, class_weight, upstream=torch.ones(len(pred)))
    assert gradient.dtype == pred.dtype
    assert loss.dtype == torch.promote_types(pred.dtype, torch.float32)
    assert_close(loss, exact_loss, pred.dtype, f'loss of {asymmetry}')
    assert_close(gradient, exact_gradient, pred.dtype, f'gradient of {asymmetry}')


@dtypes
@pytest.mark.parametrize('constants', BOTH, ids=str)
def test_class_indices_match_the_oracle(run, dtype, constants):
    pred = rows(dtype)
    for label in (0, 1):
        target = torch.full((len(pred),), label)
        dense = torch.nn.functional.one_hot(target, 3)
        check(run, pred, target, SoftmaxAsymmetry(*constants), dense)


@dtypes
def test_soft_labels_class_weights_and_detached_weights_match_the_oracle(run, dtype):
    pred = rows(dtype)
    dense = torch.tensor([[0.25, 0.0, 0.75]]).expand_as(pred)
    class_weight = torch.tensor([0.5, 2.0, 1.5])
    for constants in [(1, 2, 0.1), (0.5, 0.5, 0.25), (2, 4, 0)]:
        for detach_focus in (False, True):
            check(run, pred, dense, SoftmaxAsymmetry(*constants, -1, detach_focus), dense, class_weight)
    check(
        run, pred, torch.full((len(pred),), 2), SoftmaxAsymmetry(1, 2, 0), torch.eye(3)[2].expand_as(pred), class_weight
    )


@dtypes
def test_many_classes_match_the_oracle(run, dtype):
    torch.manual_seed(0)
    pred = (4 * torch.randn(4, 101)).to(dtype)
    target = torch.tensor([0, 100, 50, 3])
    check(run, pred, target, SoftmaxAsymmetry(1, 4, 0.1), torch.nn.functional.one_hot(target, 101))


@gpu
@pytest.mark.parametrize('dtype', DTYPES[1:], ids=str)
def test_rows_wider_than_a_tile_of_triton_match_the_oracle(monkeypatch, dtype):
    """The largest logit in the first tile, in the last, in several, and rows and tiles masked with -inf."""
    use_triton()
    run_triton = Backend(SOFTMAX, 'triton')
    monkeypatch.setattr('mmasl.ops.softmax_asymmetric_loss.triton.MOST_COLUMNS', 16)
    torch.manual_seed(0)
    pred = torch.randn(6, 45)
    pred[0, 0] = pred[1, 44] = pred[2, 3] = pred[2, 20] = pred[2, 40] = 5
    pred[3] = torch.arange(45) / 4
    pred[4] = -pred[3]
    pred = pred.to(dtype)
    target = torch.tensor([0, 44, 20, 44, 44, 7])
    dense = torch.nn.functional.one_hot(target, 45)
    class_weight = torch.linspace(0.5, 1.5, 45)
    check(run_triton, pred, target, SoftmaxAsymmetry(1, 4, 0.1), dense, class_weight)
    check(run_triton, pred, target, SoftmaxAsymmetry(0.5, 4, 0), dense)
    soft = (dense + dense.roll(20, 1)) / 2
    check(run_triton, pred, soft, SoftmaxAsymmetry(0.5, 0.3, 0.1), soft, class_weight)
    narrow = loss_and_gradient(run_triton, pred[:, 16:32], target % 16, SoftmaxAsymmetry(1, 4, 0))
    pred[:, :16] = pred[:, 32:] = -torch.inf
    wide = loss_and_gradient(run_triton, pred, 16 + target % 16, SoftmaxAsymmetry(1, 4, 0))
    torch.testing.assert_close(wide[0], narrow[0])
    torch.testing.assert_close(wide[1][:, 16:32], narrow[1])
    assert wide[1][:, :16].eq(0).all() and wide[1][:, 32:].eq(0).all()


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32], ids=str)
def test_a_confident_row_keeps_the_digits_of_its_loss(run, dtype):
    """Relative to the exact value, where log_softmax gives 0."""
    pred = torch.tensor([[20.0, 0.0, -1.0], [60.0, 0.0, 0.0]], dtype=dtype)
    target = torch.zeros(2, dtype=torch.long)
    for gamma in (0, 0.5):
        exact = exact_softmax_asymmetric_loss(pred, torch.eye(3)[target], gamma, 0, 0)
        results = loss_and_gradient(run, pred, target, SoftmaxAsymmetry(gamma, 0, 0), upstream=torch.ones(2))
        for actual, value in zip(results, exact, strict=True):
            torch.testing.assert_close(actual.double(), value, rtol=50 * torch.finfo(dtype).eps, atol=0)


def test_a_gradient_goes_on_where_the_loss_stops_at_the_largest_float(run):
    pred = torch.tensor([[3e38, -3e38]])
    loss, gradient = loss_and_gradient(run, pred, torch.tensor([1]), SoftmaxAsymmetry(1, 0, 0))
    assert loss == pytest.approx(torch.finfo(torch.float32).max, rel=1e-5)
    assert gradient.tolist() == [[1, -1]]


def test_a_class_masked_with_minus_infinity_takes_no_part(run):
    pred = torch.tensor([[1.0, -torch.inf, 0.25], [0.5, -torch.inf, 3.0]])
    target = torch.tensor([0, 2])
    loss, gradient = loss_and_gradient(run, pred, target, SoftmaxAsymmetry(1, 4, 0))
    fewer, smaller = loss_and_gradient(run, pred[:, [0, 2]], target // 2, SoftmaxAsymmetry(1, 4, 0))
    torch.testing.assert_close(loss, fewer)
    torch.testing.assert_close(gradient[:, [0, 2]], smaller)
    assert gradient[:, 1].eq(0).all()


def test_the_rows_of_ignore_index_contribute_exactly_nothing(run):
    torch.manual_seed(0)
    pred = torch.randn(3, 4)
    kept = loss_and_gradient(run, pred[1:2], torch.tensor([2]), scale=None)
    pred[0], pred[2] = torch.nan, torch.inf
    constants = run.family.asymmetry._replace(ignore_index=3)
    loss, gradient = loss_and_gradient(run, pred, torch.tensor([3, 2, 3]), constants, scale=None)
    torch.testing.assert_close(loss, kept[0])
    torch.testing.assert_close(gradient[1:2], kept[1])
    assert gradient[[0, 2]].eq(0).all()
