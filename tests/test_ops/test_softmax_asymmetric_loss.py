"""Every backend against the mpmath oracle, and the promises about finiteness and autograd."""

from functools import partial

import pytest
import torch

from mmasl.ops.cpu_library import LEVELS
from mmasl.ops.softmax_asymmetric_loss import (
    OP,
    SoftmaxAsymmetry,
    softmax_asymmetric_loss_cpu,
    softmax_asymmetric_loss_triton,
)
from mmasl.testing import GAMMA_NEG, GAMMA_POS, assert_close, exact_softmax_asymmetric_loss, logits
from tests.test_ops.triton_device import DEVICE, gpu, quiet, use_triton

pytestmark = quiet

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
BOTH = [(gamma, 4, 0) for gamma in GAMMA_POS] + [(0.5, gamma, 0.1) for gamma in GAMMA_NEG] + [(0, 0, 0.1), (2, 2, 1)]

dtypes = pytest.mark.parametrize('dtype', DTYPES, ids=str)


def run_triton(pred, *constants):
    """On a GPU where there is one; the result is on the CPU."""
    if pred.dtype == torch.float64:
        pytest.skip('the kernels do not compute in float64')
    on_device = (x.to(DEVICE) if torch.is_tensor(x) else x for x in constants)
    return softmax_asymmetric_loss_triton(pred.to(DEVICE), *on_device).cpu()


@pytest.fixture(params=('reference', 'plain', *LEVELS, pytest.param('triton', marks=gpu)))
def run(request, monkeypatch):
    """Each backend; the compiled one for each instruction set."""
    if request.param == 'triton':
        use_triton()
        return run_triton
    if request.param in ('reference', 'plain'):
        return getattr(OP, request.param)
    level = LEVELS.index(request.param)
    if OP.library.reason or level > OP.library.level:
        pytest.skip(OP.library.reason or f'this processor has no {request.param}')
    return partial(softmax_asymmetric_loss_cpu, level=level)


def loss_and_gradient(run, pred, target, asymmetry, weight=None, class_weight=None, scale=1.0, upstream=None):
    """A loss for each row and its gradient; the reduced form where no ``upstream`` (N,) is given."""
    pred = pred.detach().requires_grad_()
    loss = run(pred, target, weight, class_weight, scale, asymmetry, upstream is None)
    (gradient,) = torch.autograd.grad(loss, pred, upstream)
    return loss.detach(), gradient


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
    assert loss.dtype == (torch.float64 if pred.dtype == torch.float64 else torch.float32)
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


def test_a_nan_logit_shows_in_the_loss_and_gradient_of_its_row(run):
    pred = torch.tensor([[0.5, torch.nan, 0.25], [0.5, 1.0, 0.25]])
    for target in (torch.tensor([0, 1]), torch.eye(3)[:2]):
        upstream = torch.ones(2)
        loss, gradient = loss_and_gradient(run, pred, target, SoftmaxAsymmetry(0, 4, 0), upstream=upstream)
        assert loss[0].isnan() and gradient[0].isnan().any()
        assert loss[1].isfinite() and gradient[1].isfinite().all()


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


@dtypes
@pytest.mark.parametrize('gamma', [0, 0.3, 1, 4])
def test_loss_and_gradient_are_finite_at_every_finite_logit(run, dtype, gamma):
    largest = torch.finfo(dtype).max
    values = [0.0, 1e4, 65504.0, largest, torch.finfo(dtype).tiny, 88.8, 103.9, 745.2]
    first = torch.tensor(values + [-value for value in values], dtype=torch.float64).clamp(-largest, largest).to(dtype)
    pred = torch.cartesian_prod(first, first, first[:4])[:: 5 if run is run_triton else 1]  # its interpreter is slow
    for target in (torch.zeros(len(pred), dtype=torch.long), torch.full(pred.shape, 1 / 3)):
        for label_smoothing in (0, 0.1):
            asymmetry = SoftmaxAsymmetry(gamma, gamma, label_smoothing)
            loss, gradient = loss_and_gradient(run, pred, target, asymmetry, upstream=torch.ones(len(pred)))
            assert loss.isfinite().all() and gradient.isfinite().all()
            mean, gradient = loss_and_gradient(run, pred, target, asymmetry, scale=1 / len(pred))
            assert gradient.isfinite().all()
            assert mean.isfinite() or dtype == torch.float64  # which no wider type sums


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


def test_a_sum_beyond_float32_has_a_mean_that_fits(run):
    pred = torch.tensor([[0.0, -3e38]]).expand(4, 2)
    constants = (SoftmaxAsymmetry(0, 0, 0), torch.full((4,), 2.0), torch.full((2,), 2.0))
    mean, _ = loss_and_gradient(run, pred, torch.ones(4, dtype=torch.long), *constants, scale=1 / 32)
    assert mean.item() == pytest.approx(1.5e38)


@pytest.mark.parametrize('constants', [(1, 2, 0.1), (0.5, 0.5, 0.2), (2, 4, 0)], ids=str)
def test_gradcheck(run, constants):
    torch.manual_seed(0)
    pred = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weight, class_weight = torch.rand(4), torch.rand(3)
    for target in (torch.tensor([0, 2, -1, 1]), torch.rand(4, 3).softmax(1)):
        constant = (target, weight, class_weight, 0.5, SoftmaxAsymmetry(*constants))
        for reduce in (True, False):
            assert torch.autograd.gradcheck(lambda z: run(z, *constant, reduce), pred)  # noqa: B023
            assert torch.autograd.gradgradcheck(lambda z: run(z, *constant, reduce), pred)  # noqa: B023


def test_the_second_derivative_is_finite_in_the_tails(run):
    values = torch.tensor([-100.0, -30.0, 0.0, 30.0, 100.0, 3e4])
    pred = torch.cartesian_prod(values, values).requires_grad_()
    for constants in [(0.3, 0.3, 0.1), (1, 4, 0.1)]:
        for target in (torch.zeros(36, dtype=torch.long), torch.full((36, 2), 0.5)):
            loss = run(pred, target, None, None, 1.0, SoftmaxAsymmetry(*constants), True)
            (gradient,) = torch.autograd.grad(loss, pred, create_graph=True)
            (second,) = torch.autograd.grad(gradient.square().sum(), pred)
            assert second.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize('reduce', [True, False])
def test_backward_runs_twice_and_keeps_what_it_saved(run, dtype, reduce):
    torch.manual_seed(0)
    pred = torch.randn(6, 5).to(dtype).requires_grad_()
    loss = run(pred, torch.randint(0, 5, (6,)), None, None, 0.5, SoftmaxAsymmetry(1, 2), reduce)
    ones = torch.ones_like(loss)
    (first,) = torch.autograd.grad(loss, pred, ones, retain_graph=True)
    first.mul_(100)  # the receiver may do as it likes with what it got
    loss.backward(ones, retain_graph=True)
    pred.grad.mul_(7)
    loss.backward(ones, retain_graph=True)
    (scaled,) = torch.autograd.grad(loss, pred, 3 * ones, retain_graph=True)
    (again,) = torch.autograd.grad(loss, pred, ones)
    tolerance = dict(rtol=4e-3, atol=1e-4) if dtype == torch.float16 else dict(rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(scaled, 3 * again, **tolerance)
    torch.testing.assert_close(pred.grad, 8 * again, **tolerance)


@pytest.mark.parametrize('shape', [(0, 5), (3, 0), (0, 0)])
def test_empty_input_gives_a_zero_that_back_propagates(run, shape):
    for target in (torch.zeros(shape), torch.zeros(shape[0], dtype=torch.long)):
        for upstream in (None, torch.ones(shape[0])):
            loss, gradient = loss_and_gradient(run, torch.zeros(shape), target, SoftmaxAsymmetry(), upstream=upstream)
            assert loss.eq(0).all() and gradient.shape == shape


def test_ignored_rows_contribute_exactly_nothing_even_where_the_logit_is_nan(run):
    torch.manual_seed(0)
    pred = torch.randn(3, 4)
    kept = loss_and_gradient(run, pred[1:2], torch.tensor([2]), SoftmaxAsymmetry(), scale=None)
    pred[0], pred[2] = torch.nan, torch.inf
    dense = torch.tensor([[-1.0] * 4, [0, 0, 1, 0], [-1.0] * 4])
    for target, ignore_index in [(torch.tensor([-1, 2, -1]), -1), (torch.tensor([3, 2, 3]), 3), (dense, -1)]:
        loss, gradient = loss_and_gradient(
            run, pred, target, SoftmaxAsymmetry(ignore_index=ignore_index), torch.ones(3), scale=None
        )
        torch.testing.assert_close(loss, kept[0])  # divided by the one row that counts
        torch.testing.assert_close(gradient[1:2], kept[1])
        assert gradient[[0, 2]].eq(0).all()


def test_layouts(run):
    """Transposed, strided and expanded logits and labels give what their contiguous copies give."""
    torch.manual_seed(0)
    base, label = torch.randn(10, 10), torch.rand(10, 10).softmax(1)
    for pred, target in [(base.t(), label), (base[::2, ::3], label[::2, ::3]), (base[:1].expand(4, 10), label[:4])]:
        actual = loss_and_gradient(run, pred, target, SoftmaxAsymmetry(1, 2))
        expected = loss_and_gradient(run, pred.contiguous(), target.contiguous(), SoftmaxAsymmetry(1, 2))
        torch.testing.assert_close(actual, expected)


def test_no_gradient_work_without_need(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('autograd was entered')

    monkeypatch.setattr('mmasl.ops.analytic._Loss.apply', refuse)
    pred = torch.randn(2, 3)
    arguments = (torch.tensor([0, 1]), None, None, 1.0, SoftmaxAsymmetry(), True)
    assert not softmax_asymmetric_loss_cpu(pred, *arguments).requires_grad
    with torch.no_grad():
        assert not softmax_asymmetric_loss_cpu(pred.requires_grad_(), *arguments).requires_grad


@pytest.mark.parametrize('label_smoothing', [0, 0.1])
def test_same_inputs_same_bits_and_nothing_of_uninitialised_memory(run, poisoned_memory, label_smoothing):
    """Twice, and for the compiled backend with two threads."""
    torch.manual_seed(0)
    rows = 9 if run is run_triton else 101  # its interpreter is slow
    pred, target = torch.randn(rows, 333), torch.randint(-1, 333, (rows,))
    compiled_here = isinstance(run, partial)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 1, 2 if compiled_here else 1):
            torch.set_num_threads(count)
            results.append(loss_and_gradient(run, pred, target, SoftmaxAsymmetry(0.5, 4, label_smoothing), scale=None))
    finally:
        torch.set_num_threads(threads)
    assert all(value.isfinite().all() for value in results[0])
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0)
