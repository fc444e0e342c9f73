"""The Triton backend against the mpmath oracle and the reference: on a GPU, or on the CPU in Triton's interpreter."""

import sys

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from mmasl.ops.asymmetric_loss import Asymmetry, asymmetric_loss_reference
from mmasl.ops.asymmetric_loss import triton as backend
from mmasl.ops.triton_support import common_kernels, triton_unavailable
from mmasl.testing import CLIP, GAMMA_NEG, GAMMA_POS, TOLERANCE, assert_close, exact_asymmetric_loss, logits
from tests.test_ops.triton_device import DEVICE, GPU, gpu, quiet, use_triton

pytestmark = [gpu, quiet]
DTYPES = (torch.float32, torch.float16, torch.bfloat16)

dtypes = pytest.mark.parametrize('dtype', DTYPES, ids=str)


@pytest.fixture(scope='module', autouse=True)
def triton():
    use_triton()


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def run(pred, target, weight=None, class_weight=None, scale=1.0, asymmetry=Asymmetry(), reduce=True, **options):  # noqa: B008
    on_device = [x.to(DEVICE) if isinstance(x, torch.Tensor) else x for x in (target, weight, class_weight, scale)]
    return backend.asymmetric_loss_triton(pred, *on_device, asymmetry, reduce, **options)


def loss_and_gradient(pred, *arguments, upstream=None, **options):
    """Element-wise loss and gradient, or the reduced form where no ``upstream`` (N, C) is given; on the CPU."""
    pred = pred.detach().to(DEVICE).requires_grad_()
    loss = run(pred, *arguments, reduce=upstream is None, **options)
    (gradient,) = torch.autograd.grad(loss, pred, None if upstream is None else upstream.to(DEVICE))
    return loss.detach().cpu(), gradient.cpu()


def reference(pred, *arguments, scale=1.0, asymmetry=Asymmetry(), upstream=None):  # noqa: B008
    pred = pred.detach().double().requires_grad_()
    arguments = [x.double() if x is not None and x.is_floating_point() else x for x in arguments]
    arguments += [None] * (3 - len(arguments))
    loss = asymmetric_loss_reference(pred, *arguments, scale, asymmetry, upstream is None)
    (gradient,) = torch.autograd.grad(loss, pred, None if upstream is None else upstream.double())
    return loss.detach(), gradient


def check(pred, target, asymmetry, dtype):
    exact_loss, exact_gradient = exact_asymmetric_loss(pred, target, *asymmetry)
    loss, gradient = loss_and_gradient(pred, target, asymmetry=asymmetry, upstream=torch.ones(pred.shape))
    assert gradient.dtype == dtype and loss.dtype == torch.float32
    assert_close(loss, exact_loss, dtype, f'loss of {asymmetry}')
    assert_close(gradient, exact_gradient, dtype, f'gradient of {asymmetry}')


@dtypes
@pytest.mark.parametrize('clip', CLIP)
@pytest.mark.parametrize('gamma', (*GAMMA_NEG, 3))
def test_hard_labels_match_the_oracle(dtype, gamma, clip):
    """Positives, negatives and ignored labels in one tensor; each exponent for positives beside two for negatives."""
    pred = logits(clip, dtype).unsqueeze(1).repeat(1, 3)
    target = torch.tensor([0, 1, -1]).expand_as(pred)
    gamma_pos = GAMMA_POS[(*GAMMA_NEG, 3).index(gamma) % len(GAMMA_POS)]
    for detach_focus in (False, True):
        check(pred, target, Asymmetry(gamma_pos, gamma, clip, None, detach_focus), dtype)


@dtypes
@pytest.mark.parametrize('clip', [0, 0.05])
@pytest.mark.parametrize('gamma', [0, 0.3, 1, 4])
def test_soft_labels_alpha_and_ignored_match_the_oracle(dtype, gamma, clip):
    pred = logits(clip, dtype).unsqueeze(1).repeat(1, 5)
    target = torch.tensor([0.0, 0.25, 0.5, 1.0, -1.0]).expand_as(pred)
    check(pred, target, Asymmetry(1, gamma, clip, 0.25, False), dtype)


@dtypes
@pytest.mark.parametrize('tensors', ['gamma', 'clip', 'both', 'scalars', 'gamma without clip'])
def test_constants_in_tensors_match_the_oracle(dtype, tensors):
    classes = [(0.3, 0.05), (0, 1e-6), (1, 0.3), (4, 0.2), (6.2, 0), (0.3, 0)]
    if tensors == 'scalars':
        classes = [(0.3, 0.05)] * 2
    gamma, clip = torch.tensor(classes, device=DEVICE).unbind(1)
    columns = [logits(m if 'gamma' not in tensors else 0.05, dtype) for m in clip.tolist()]
    size = min(map(len, columns))
    pred = torch.stack([column[-size:] for column in columns], 1)  # the logits next to the margin come last
    if tensors == 'scalars':
        gamma, clip = gamma[0], clip[0]
    of_class = {
        'gamma': (gamma, 0.05), 'gamma without clip': (gamma, 0.0), 'clip': (2.0, clip),
    }.get(tensors, (gamma, clip))  # fmt: skip
    for labels in ([0], [1, 0, -1], [1.0, 0.25, 0.0, -1.0]):
        target = torch.tensor(labels).repeat(size)[:size, None].expand_as(pred)
        for detach_focus in (False, True):
            asymmetry = Asymmetry(1, *of_class, 0.3, detach_focus)
            results = loss_and_gradient(pred, target, asymmetry=asymmetry, upstream=torch.ones(pred.shape))
            for c in range(len(classes)):
                constants = [v.reshape(-1)[c * v.dim()].item() if torch.is_tensor(v) else v for v in of_class]
                exact = exact_asymmetric_loss(pred[:, c], target[:, c], 1, *constants, 0.3, detach_focus)
                for actual, value, what in zip(results, exact, ('loss', 'gradient'), strict=True):
                    assert_close(actual[:, c], value, dtype, f'{what} of {constants}')


@dtypes
@pytest.mark.parametrize('clip', [0, 1e-30, 0.05, 0.999])
@pytest.mark.parametrize('gamma', [0, 0.3, 4])
def test_loss_and_gradient_are_finite_at_every_finite_logit(dtype, gamma, clip):
    info = torch.finfo(dtype)
    values = torch.tensor([0.0, 1e4, 65504.0, info.max, info.tiny, 17.0, 88.8, 103.9, 745.2], dtype=torch.float64)
    values = torch.cat([values, -values, logits(clip, torch.float32).double()]).clamp(-info.max, info.max)
    pred = values.to(dtype).unsqueeze(1).repeat(1, 3)
    for target in (torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0, 1, 1])):
        asymmetry = Asymmetry(gamma, gamma, clip)
        options = dict(asymmetry=asymmetry, upstream=torch.ones(pred.shape))
        loss, gradient = loss_and_gradient(pred, target.expand_as(pred), **options)
        assert loss.isfinite().all() and gradient.isfinite().all()
        assert (loss >= 0).all()
        mean, gradient = loss_and_gradient(pred, target.expand_as(pred), scale=1 / pred.numel(), asymmetry=asymmetry)
        assert mean.isfinite() and gradient.isfinite().all()


def test_a_sum_beyond_float32_has_a_mean_that_fits():
    pred = torch.full((4, 1), -3e38)
    mean, _ = loss_and_gradient(pred, torch.ones(4, 1), torch.full((4,), 2.0), scale=1 / 16)
    assert mean.item() == pytest.approx(1.5e38)


@dtypes
@pytest.mark.parametrize('columns', [7, 16, 20])
def test_class_indices_equal_dense_labels(dtype, columns):
    pred = (3 * torch.randn(113, columns)).to(dtype)
    index = torch.randint(-1, columns + 1, (113,))
    dense = torch.nn.functional.one_hot(index.clamp(min=0), columns + 1)[:, :columns]
    dense[index == -1] = -1
    upstream = torch.rand(113, columns)
    for clip in (0, 0.05):
        for gamma_pos in (0, 1):
            options = dict(asymmetry=Asymmetry(gamma_pos, 2, clip), upstream=upstream)
            results = [loss_and_gradient(pred, target, **options) for target in (index, index.short(), dense)]
            for other in results[1:]:
                torch.testing.assert_close(other, results[0], rtol=0, atol=0)


@pytest.mark.parametrize('shape', [(63, 51), (130, 16), (3, 1100)])
@pytest.mark.parametrize('kind', ['index', 'int', 'bool', 'float', 'half'])
def test_weights_and_scales_equal_the_reference(shape, kind):
    rows, columns = shape
    pred = 3 * torch.randn(shape)
    target = {
        'index': torch.randint(-1, columns + 1, (rows,)),
        'int': torch.randint(-1, 2, shape),
        'bool': torch.rand(shape) < 0.1,
        'float': torch.where(torch.rand(shape) < 0.1, -1.0, torch.rand(shape)),
        'half': (torch.rand(shape) < 0.1).half(),
    }[kind]
    row, element, column = torch.rand(rows), torch.rand(shape), torch.rand(columns)
    cases = [
        dict(weights=(None, None), scale=None),
        dict(weights=(row, None), scale=0.01),
        dict(weights=(element.double(), column), scale=torch.tensor(0.01, dtype=torch.float64)),
        dict(weights=(row.half(), column), upstream=torch.rand(shape)),
        dict(weights=(element, None), upstream=torch.tensor(0.7).expand(shape)),
    ]
    for case in cases:
        weights = case.pop('weights')
        actual = loss_and_gradient(pred, target, *weights, asymmetry=Asymmetry(1, 4, 0.05, 0.3), **case)
        expected = reference(pred, target, *weights, asymmetry=Asymmetry(1, 4, 0.05, 0.3), **case)
        for ours, theirs in zip(actual, expected, strict=True):
            assert_close(ours, theirs, torch.float32, str(case))


@st.composite
def problems(draw):
    shape = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    pred = draw(st.sampled_from([1.0, 8.0])) * torch.randn(shape, generator=generator)
    pred = pred.to(draw(st.sampled_from(DTYPES)))
    kind = draw(st.sampled_from(['index', 'int', 'float']))
    if kind == 'index':
        target = torch.randint(-1, shape[1] + 1, shape[:1], generator=generator)
    else:
        target = torch.randint(-1, 2, shape, generator=generator)
        target = target * torch.rand(shape, generator=generator).abs() ** (target > 0) if kind == 'float' else target
    weight = draw(st.sampled_from([None, shape[:1], shape]))
    exponents = st.one_of(st.integers(0, 5), st.floats(0, 6))
    clip, alpha = draw(st.sampled_from([0.0, 0.05, 0.5])), draw(st.sampled_from([None, 0.25]))
    return dict(
        tensors=(
            pred,
            target,
            None if weight is None else torch.rand(weight, generator=generator),
            torch.rand(shape[1], generator=generator) if draw(st.booleans()) else None,
        ),
        scale=draw(st.sampled_from([None, 0.1])),
        asymmetry=Asymmetry(draw(exponents), draw(exponents), clip, alpha, draw(st.booleans())),
        upstream=torch.rand(shape, generator=generator) if draw(st.booleans()) else None,
    )


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(problems())
def test_any_problem_equals_the_reference(problem):
    tensors = problem.pop('tensors')
    actual, expected = loss_and_gradient(*tensors, **problem), reference(*tensors, **problem)
    assert_close(actual[0], expected[0], torch.float32, 'loss')  # what pred was rounded to is where both start
    assert_close(actual[1], expected[1], tensors[0].dtype, 'gradient')


@dtypes
@pytest.mark.parametrize('reduce', [True, False])
def test_backward_runs_twice_and_keeps_what_it_saved(dtype, reduce):
    pred = torch.randn(6, 5).to(DEVICE, dtype).requires_grad_()
    loss = run(pred, torch.randint(0, 2, (6, 5)), scale=0.5, asymmetry=Asymmetry(1, 2), reduce=reduce)
    ones = torch.ones_like(loss)
    loss.backward(ones, retain_graph=True)
    pred.grad.mul_(8)  # what clipping does in place
    loss.backward(ones, retain_graph=True)
    (scaled,) = torch.autograd.grad(loss, pred, 4 * ones, retain_graph=True)
    (again,) = torch.autograd.grad(loss, pred, ones)
    torch.testing.assert_close(scaled, 4 * again, rtol=0, atol=0)
    torch.testing.assert_close(pred.grad, 9 * again, rtol=TOLERANCE[dtype], atol=0)


def test_a_loss_changed_in_place_does_not_reach_backward():
    pred = torch.randn(6, 5, device=DEVICE, requires_grad=True)
    loss = run(pred, torch.ones(6, 5), scale=None)
    (expected,) = torch.autograd.grad(loss, pred, retain_graph=True)
    loss *= 2
    torch.testing.assert_close(torch.autograd.grad(loss, pred)[0], 2 * expected)


@pytest.mark.parametrize('scale', [None, 0.3, torch.tensor(0.3)])
def test_a_second_derivative_is_that_of_the_reference(scale):
    target, results = torch.randint(-1, 2, (5, 3)), []
    for op in (backend.asymmetric_loss_triton, asymmetric_loss_reference):
        pred = torch.linspace(-3, 3, 15, device=DEVICE).reshape(5, 3).requires_grad_()
        on_device = scale.to(DEVICE) if isinstance(scale, torch.Tensor) else scale
        loss = op(pred, target.to(DEVICE), None, None, on_device, Asymmetry(1, 2), True)
        (gradient,) = torch.autograd.grad(loss, pred, create_graph=True)
        results.append(torch.autograd.grad(gradient.square().sum(), pred)[0])
    torch.testing.assert_close(*results)


def test_no_gradient_work_without_need(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('autograd was entered')

    monkeypatch.setattr('mmasl.ops.triton_support._Loss.apply', refuse)
    pred, target = torch.randn(2, 3, device=DEVICE), torch.zeros(2, 3)
    assert not run(pred, target).requires_grad
    with torch.no_grad():
        assert not run(pred.requires_grad_(), target).requires_grad


@pytest.mark.parametrize('shape', [(0, 5), (3, 0), (0, 0)])
def test_empty_input_gives_a_zero_that_back_propagates(shape):
    for target in (torch.zeros(shape), torch.zeros(shape[0], dtype=torch.long)):
        for scale in (1.0, None):
            loss, gradient = loss_and_gradient(torch.zeros(shape), target, scale=scale)
            assert loss.item() == 0 and gradient.shape == shape


@pytest.mark.parametrize('target', [torch.full((3,), -1), torch.full((3, 4), -1), torch.full((3, 4), -1.0)])
def test_ignored_rows_contribute_exactly_nothing_even_where_the_logit_is_nan(target):
    loss, gradient = loss_and_gradient(torch.full((3, 4), torch.nan), target, scale=None)
    assert loss.item() == 0 and gradient.eq(0).all()


@pytest.mark.parametrize('clip', [0.0, 0.05, torch.tensor(0.05)])
def test_a_nan_logit_shows_in_loss_and_gradient(clip):
    constants = dict(asymmetry=Asymmetry(clip=clip))
    loss, gradient = loss_and_gradient(torch.full((3, 4), torch.nan), torch.zeros(3, 4), **constants)
    assert loss.isnan() and gradient.isnan().all()


def test_uninitialised_memory_does_not_leak(poisoned_memory):
    pred = torch.randn(63, 100)
    index = torch.randint(-1, 101, (63,))
    for target in ((torch.rand(63, 100) < 0.03).float(), index):
        for upstream in (None, torch.rand(63, 100)):
            loss, gradient = loss_and_gradient(pred, target, scale=None, upstream=upstream)
            assert loss.isfinite().all() and gradient.isfinite().all()


def test_layouts():
    """Transposed, strided, expanded and misaligned logits and targets give what their contiguous copies give."""
    base, label = torch.randn(10, 12), torch.randint(0, 2, (10, 12))
    cases = [
        (base.t(), label.t()),
        (base[::2, ::3], label[::2, ::3]),
        (base[:1].expand(4, 12), label[:1].expand(4, 12)),
        (base.flatten()[1:].reshape(7, 17), label.flatten()[1:].reshape(7, 17)),
    ]
    for pred, target in cases:
        actual = loss_and_gradient(pred, target, asymmetry=Asymmetry(1, 2))
        expected = loss_and_gradient(pred.contiguous(), target.contiguous(), asymmetry=Asymmetry(1, 2))
        torch.testing.assert_close(actual, expected)


def test_same_inputs_same_bits():
    rows = 100_000 if GPU else 300
    pred, target = torch.randn(rows, 33), torch.randint(-1, 34, (rows,))
    first, second = (loss_and_gradient(pred, target, scale=None) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_targets_are_checked_when_asked():
    pred = torch.zeros(2, 3, device=DEVICE)
    run(pred, torch.tensor([0, 4]))
    with pytest.raises(ValueError, match='got 4 at row 1'):
        run(pred, torch.tensor([0, 4]), check=True)


def test_what_the_kernels_cannot_take_is_refused_with_the_reason(monkeypatch):
    with pytest.raises(ValueError, match='cannot be used because pred is float64'):
        run(torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 3))
    monkeypatch.setitem(sys.modules, 'mmasl.ops.triton_math', None)
    monkeypatch.delattr('mmasl.ops.triton_math', raising=False)
    common_kernels.cache_clear()
    assert 'triton cannot be imported' in triton_unavailable(torch.zeros(2, 3, device=DEVICE))
    common_kernels.cache_clear()
