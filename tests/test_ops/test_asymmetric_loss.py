"""Every backend against the mpmath oracle of Eq. 7 and Eq. 8, and the promises about autograd."""

import copy
from functools import partial

import pytest
import torch

from mmasl.ops.asymmetric_loss import (
    OP,
    Asymmetry,
    asymmetric_loss_cpu,
    asymmetric_loss_plain,
    asymmetric_loss_reference,
)
from mmasl.ops.cpu_library import LEVELS
from mmasl.testing import CLIP, GAMMA_NEG, GAMMA_POS, assert_close, exact_asymmetric_loss, logits, peak_memory

BACKENDS = ('reference', 'plain', *LEVELS)
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

dtypes = pytest.mark.parametrize('dtype', DTYPES, ids=str)


@pytest.fixture(params=BACKENDS)
def run(request):
    """Each backend; the compiled one for each instruction set."""
    if request.param in ('reference', 'plain'):
        return getattr(OP, request.param)
    level = LEVELS.index(request.param)
    if OP.library.reason or level > OP.library.level:
        pytest.skip(OP.library.reason or f'this processor has no {request.param}')
    return partial(asymmetric_loss_cpu, level=level)


def loss_and_gradient(run, pred, target, asymmetry, weight=None, class_weight=None, scale=1.0, upstream=None):
    """Element-wise loss and gradient; the reduced form where no ``upstream`` (N, C) is given."""
    pred = pred.detach().requires_grad_()
    loss = run(pred, target, weight, class_weight, scale, asymmetry, upstream is None)
    (gradient,) = torch.autograd.grad(loss, pred, upstream)
    return loss.detach(), gradient


def check(run, pred, target, asymmetry, dtype):
    exact_loss, exact_gradient = exact_asymmetric_loss(pred, target, *asymmetry)
    loss, gradient = loss_and_gradient(run, pred, target, asymmetry, upstream=torch.ones(pred.shape))
    assert gradient.dtype == dtype
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert_close(loss, exact_loss, dtype, f'loss of {asymmetry}')
    assert_close(gradient, exact_gradient, dtype, f'gradient of {asymmetry}')


@dtypes
@pytest.mark.parametrize('detach_focus', [False, True])
@pytest.mark.parametrize('gamma', GAMMA_POS)
def test_positives_match_the_oracle(run, dtype, gamma, detach_focus):
    pred = logits(0, dtype).unsqueeze(1)
    check(run, pred, torch.ones_like(pred), Asymmetry(gamma, 0, 0, None, detach_focus), dtype)


@dtypes
@pytest.mark.parametrize('clip', CLIP)
@pytest.mark.parametrize('gamma', GAMMA_NEG)
def test_negatives_match_the_oracle(run, dtype, gamma, clip):
    pred = logits(clip, dtype).unsqueeze(1)
    for detach_focus in (False, True):
        check(run, pred, torch.zeros_like(pred), Asymmetry(0, gamma, clip, None, detach_focus), dtype)


@dtypes
@pytest.mark.parametrize('clip', [0, 0.05])
def test_soft_labels_alpha_and_ignored_match_the_oracle(run, dtype, clip):
    pred = logits(clip, dtype).unsqueeze(1).repeat(1, 5)
    target = torch.tensor([0.0, 0.25, 0.5, 1.0, -1.0]).expand_as(pred)
    check(run, pred, target, Asymmetry(1, 2, clip, 0.25, False), dtype)


CLASSES = {'gamma': [0, 0.3, 1, 4, 6.2, 0.3, 2], 'clip': [0.05, 0.05, 1e-6, 0.3, 0.2, 0, 0]}


@dtypes
@pytest.mark.parametrize('tensors', ['gamma', 'clip', 'gamma and clip'])
def test_a_constant_for_each_class_matches_the_oracle(run, dtype, tensors):
    wide = torch.promote_types(dtype, torch.float32)
    gamma, clip = (torch.tensor(CLASSES[name]).to(wide) for name in ('gamma', 'clip'))
    # Six ulps beside the margin, where it is kept in twice the precision.
    near = clip if wide == torch.float32 else torch.zeros_like(clip)
    pred = torch.stack([logits(value or 0.3 * (wide == torch.float32), dtype) for value in near.tolist()], 1)
    of_class = gamma if 'gamma' in tensors else torch.tensor(4.0).to(wide), clip if 'clip' in tensors else 0.05
    asymmetry = Asymmetry(1, *of_class, 0.3)
    for labels in ([0.0], [1.0, 0.25, 0.0, -1.0]):
        target = torch.tensor(labels).repeat(len(pred))[: len(pred), None].expand_as(pred)
        upstream = torch.rand(pred.shape)
        results = loss_and_gradient(run, pred, target, asymmetry, upstream=upstream)
        for c in range(len(gamma)):
            constants = [
                value[c].item() if torch.is_tensor(value) and value.dim() else float(value) for value in of_class
            ]
            exact_loss, slope = exact_asymmetric_loss(pred[:, c], target[:, c], 1, *constants, 0.3)
            assert_close(results[0][:, c], exact_loss, dtype, f'loss of {constants}')
            assert_close(results[1][:, c], slope * upstream[:, c], dtype, f'gradient of {constants}')


@pytest.mark.parametrize('clip', [0, 1e-6, 0.05, 0.999])
@pytest.mark.parametrize('gamma', [0, 0.3, 1, 4])
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_loss_and_gradient_are_finite_at_every_finite_logit(run, dtype, gamma, clip):
    largest = torch.finfo(dtype).max
    values = [0.0, 1e4, 65504.0, largest, torch.finfo(dtype).tiny, 88.8, 103.9, 745.2]
    pred = torch.tensor(values + [-value for value in values], dtype=torch.float64).clamp(-largest, largest).to(dtype)
    pred = pred.unsqueeze(1).repeat(1, 3)
    target = torch.tensor([0.0, 0.5, 1.0]).expand_as(pred)
    asymmetry = Asymmetry(gamma, gamma, clip)
    loss, gradient = loss_and_gradient(run, pred, target, asymmetry, upstream=torch.ones(pred.shape))
    assert loss.isfinite().all() and gradient.isfinite().all()
    # float64's own largest number has no wider type to be summed in.
    mean, gradient = loss_and_gradient(run, pred, target, asymmetry, scale=1 / pred.numel())
    assert gradient.isfinite().all()
    assert mean.isfinite() or dtype == torch.float64


def test_a_sum_beyond_float32_has_a_mean_that_fits(run):
    pred = torch.full((4, 1), -3e38)
    weight = torch.full((4,), 2.0)
    mean, _ = loss_and_gradient(run, pred, torch.ones(4, 1), Asymmetry(), weight, scale=1 / 16)
    assert mean.item() == pytest.approx(1.5e38)


@pytest.mark.parametrize('clip', [0, 0.05])
def test_gradcheck(run, clip):
    torch.manual_seed(0)
    pred = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[0, 1, -1]]).expand(5, 3)
    weight, class_weight = torch.rand(5), torch.rand(3)
    constants = (target, weight, class_weight, 0.5, Asymmetry(1, 2, clip, 0.3))
    for reduce in (True, False):
        assert torch.autograd.gradcheck(lambda z: run(z, *constants, reduce), pred)  # noqa: B023
        assert torch.autograd.gradgradcheck(lambda z: run(z, *constants, reduce), pred)  # noqa: B023


@pytest.mark.parametrize('clip', [0, 0.05])
@dtypes
def test_class_indices_equal_dense_labels(run, dtype, clip):
    torch.manual_seed(0)
    pred = (3 * torch.randn(13, 7)).to(dtype)
    index = torch.tensor([0, 6, 7, -1, 3, 7, 7, 2, 2, -1, 5, 7, 1])
    dense = torch.nn.functional.one_hot(index.clamp(0, 7), 8)[:, :7]
    dense[index == -1] = -1
    upstream = torch.rand(13, 7)
    results = [loss_and_gradient(run, pred, t, Asymmetry(1, 2, clip), upstream=upstream) for t in (index, dense)]
    exact = {} if run is asymmetric_loss_plain else dict(rtol=0, atol=0)  # torch computes some ends of rows otherwise
    for by_index, by_label in zip(*results, strict=True):
        torch.testing.assert_close(by_index, by_label, **exact)


@pytest.mark.parametrize('clip', [0.05, torch.full((1,), 0.05)], ids=['number', 'class'])
@pytest.mark.parametrize('active', [0.0, 0.05, 0.5, 1.0])
def test_any_number_of_negatives_above_the_margin(run, clip, active):
    for size in (1, 7, 8, 15, 16, 17, 33, 2047, 2048, 2049, 4100):  # around the lengths of vectors and blocks
        generator = torch.Generator().manual_seed(size)
        pred = torch.randn(size, 1, generator=generator).abs()
        pred = torch.where(torch.rand(size, 1, generator=generator) < active, pred, -5 - pred).requires_grad_()
        target = (torch.rand(size, 1, generator=generator) < 0.1).float()
        constants = (target, None, None, 1.0, Asymmetry(0, 4, clip))
        for reduce in (True, False):
            loss, expected = (f(pred, *constants, reduce) for f in (run, asymmetric_loss_reference))
            assert_close(loss.detach(), expected.detach().double(), torch.float32, f'loss of {size} logits')
            (actual,), (gradient,) = (torch.autograd.grad(x.sum(), pred) for x in (loss, expected))
            assert_close(actual, gradient.double(), torch.float32, f'gradient of {size} logits')


@pytest.mark.parametrize('run', BACKENDS[1:], indirect=True)
def test_no_one_hot_tensor_is_built_for_class_indices(run):
    """Peak memory above inputs and targets, the returned gradient included, as a multiple of the logits' bytes."""
    pred = torch.randn(44_800 // 4, 80, requires_grad=True)
    index = torch.randint(0, 81, (44_800 // 4,))
    peak = peak_memory(lambda: run(pred, index, None, None, 1.0, Asymmetry(), True).backward())
    assert peak < 2.2 * pred.numel() * pred.element_size()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize('reduce, scale', [(True, 0.5), (True, None), (False, None)])
def test_backward_runs_twice_and_keeps_what_it_saved(run, dtype, reduce, scale):
    torch.manual_seed(0)
    pred = torch.randn(6, 5).to(dtype).requires_grad_()
    loss = run(pred, torch.randint(-1, 2, (6, 5)), None, None, scale, Asymmetry(1, 2), reduce)
    ones = torch.ones_like(loss)
    (first,) = torch.autograd.grad(loss, pred, ones, retain_graph=True)
    first.mul_(100)  # the receiver may do as it likes with what it got
    loss.backward(ones, retain_graph=True)
    pred.grad.mul_(7)
    loss.backward(ones, retain_graph=True)
    (scaled,) = torch.autograd.grad(loss, pred, 3 * ones, retain_graph=True)
    (again,) = torch.autograd.grad(loss, pred, ones)
    tolerance = dict(rtol=4e-3, atol=1e-5) if dtype == torch.float16 else dict(rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(scaled, 3 * again, **tolerance)
    torch.testing.assert_close(pred.grad, 8 * again, **tolerance)


def test_no_gradient_work_without_need(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('autograd was entered')

    monkeypatch.setattr('mmasl.ops.analytic._Loss.apply', refuse)
    pred, target = torch.randn(2, 3), torch.zeros(2, 3)
    arguments = (target, None, None, 1.0, Asymmetry(), True)
    assert not asymmetric_loss_cpu(pred, *arguments).requires_grad
    with torch.no_grad():
        assert not asymmetric_loss_cpu(pred.requires_grad_(), *arguments).requires_grad


@pytest.mark.parametrize('shape', [(0, 5), (3, 0), (0, 0)])
def test_empty_input_gives_a_zero_that_back_propagates(run, shape):
    for target in (torch.zeros(shape), torch.zeros(shape[0], dtype=torch.long)):
        loss, gradient = loss_and_gradient(run, torch.zeros(shape), target, Asymmetry())
        assert loss.item() == 0 and gradient.shape == shape


@pytest.mark.parametrize('index', [True, False])
def test_ignored_rows_contribute_exactly_nothing_even_where_the_logit_is_nan(run, index):
    pred = torch.full((3, 4), torch.nan)
    target = torch.full((3,), -1) if index else torch.full((3, 4), -1)
    loss, gradient = loss_and_gradient(run, pred, target, Asymmetry())
    assert loss.item() == 0 and gradient.eq(0).all()


@pytest.mark.parametrize('label', [0, 1])
@pytest.mark.parametrize('clip', [0.0, 0.05, torch.tensor([0.05, 0.0])])
def test_a_nan_logit_shows_in_loss_and_gradient(run, clip, label):
    """A diverged model must not train on as if its negatives were below the margin."""
    for gamma_neg in (0.5, 2.0):
        loss, gradient = loss_and_gradient(
            run, torch.full((3, 2), torch.nan), torch.full((3, 2), label), Asymmetry(gamma_neg=gamma_neg, clip=clip)
        )
        assert loss.isnan() and gradient.isnan().all()


def test_uninitialised_memory_does_not_leak(run, monkeypatch):
    """Buffers from torch.empty are filled with NaN: any entry left unwritten shows."""
    for name in ('empty_like', 'empty'):
        original = getattr(torch, name)
        poisoned = lambda *a, _original=original, **k: _original(*a, **k).fill_(torch.nan)  # noqa: E731
        monkeypatch.setattr(torch, name, poisoned)
    original_new = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, 'new_empty', lambda *a, **k: original_new(*a, **k).fill_(torch.nan))
    pred = torch.randn(63, 500)
    target = (torch.rand(63, 500) < 0.03).float()
    for upstream in (None, torch.rand(63, 500)):
        loss, gradient = loss_and_gradient(run, pred, target, Asymmetry(), upstream=upstream)
        assert loss.isfinite().all() and gradient.isfinite().all()


def test_layouts(run):
    """Transposed, strided and expanded logits and targets give what their contiguous copies give."""
    torch.manual_seed(0)
    base = torch.randn(10, 12)
    label = torch.randint(0, 2, (10, 12))
    cases = [
        (base.t(), label.t()),
        (base[::2, ::3], label[::2, ::3]),
        (base[:1].expand(4, 12), label[:1].expand(4, 12)),
    ]
    for pred, target in cases:
        actual = loss_and_gradient(run, pred, target, Asymmetry(1, 2))
        expected = loss_and_gradient(run, pred.contiguous(), target.contiguous(), Asymmetry(1, 2))
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize('index', [True, False])
def test_same_inputs_same_bits(run, index):
    """Twice, and for the compiled backend with two threads too: its sums are added in the order of the blocks."""
    torch.manual_seed(0)
    pred = torch.randn(101, 333)
    target = torch.randint(-1, 334, (101,)) if index else torch.randint(-1, 2, (101, 333))
    compiled_here = isinstance(run, partial)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 1, 2 if compiled_here else 1):
            torch.set_num_threads(count)
            results.append(
                loss_and_gradient(run, pred, target, Asymmetry(0.5, 4), torch.linspace(0, 1, 101), scale=None)
            )
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0)


def test_asymmetry_is_a_constant_that_copies():
    asymmetry = Asymmetry(1, 2, 0.1)
    assert copy.deepcopy(asymmetry) == asymmetry
