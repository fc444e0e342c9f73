"""What every backend of every family of losses promises; what is special to a family is in a file of its own."""

import pytest
import torch

from mmasl.testing import TOLERANCE, assert_close, peak_memory
from tests.test_ops.families import (
    FAMILIES,
    QUALITY,
    SIGMOID,
    SOFTMAX,
    backends_of,
    dtypes,
    extremes,
    loss_and_gradient,
)
from tests.test_ops.triton_device import GPU, quiet

pytestmark = quiet

FORMS = [(63, 51, torch.float32), (130, 16, torch.float32), (3, 1100, torch.float32)]
FORMS += [(9, 16, dtype) for dtype in (torch.float64, torch.float16, torch.bfloat16)]

run = backends_of(*FAMILIES)
faster = backends_of(*FAMILIES, but=('reference',))
compiled_or_plain = backends_of(*FAMILIES, but=('reference', 'triton'))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def reference(family, pred, target, asymmetry, weight=None, class_weight=None, scale=1.0, upstream=None):
    """What the reference computes in float64."""
    pred = pred.detach().double().requires_grad_()
    loss = family.op.reference(pred, target, weight, class_weight, scale, asymmetry, upstream is None)
    (gradient,) = torch.autograd.grad(loss, pred, None if upstream is None else upstream.double())
    return loss.detach(), gradient


@pytest.mark.parametrize('rows, columns, dtype', FORMS, ids=str)
def test_every_form_of_target_weight_and_scale_equals_the_reference(faster, rows, columns, dtype):
    family = faster.family
    pred = (3 * torch.randn(rows, columns)).to(dtype)
    row, element, column = torch.rand(rows), torch.rand(rows, columns), torch.rand(columns)
    losses = torch.empty(family.loss_shape(pred))
    cases = [
        dict(scale=None),
        dict(weight=row, scale=0.01),
        dict(weight=row.half(), class_weight=column, scale=torch.tensor(0.01, dtype=torch.float64)),
        dict(weight=row, class_weight=column, upstream=torch.rand_like(losses)),
        dict(class_weight=column, upstream=torch.tensor(0.7).expand_as(losses)),
    ]
    if not family.by_row:
        cases += [
            dict(weight=element.double(), class_weight=column, scale=0.01),
            dict(weight=element, upstream=torch.rand_like(losses)),
        ]
    for number, (name, target) in enumerate(family.targets(rows, columns).items()):
        for case in cases[number % 2 :: 2] if faster.is_slow else cases:
            actual = loss_and_gradient(faster, pred, target, **case)
            expected = reference(family, pred, target, family.asymmetry, **case)
            assert actual[0].dtype == torch.promote_types(dtype, torch.float32) and actual[1].dtype == dtype
            assert_close(actual[0], expected[0], torch.float32, f'loss of {name}, {case}')
            wide = torch.float32 if dtype == torch.float64 else dtype
            assert_close(actual[1], expected[1], wide, f'gradient of {name}, {case}')


@dtypes
@pytest.mark.parametrize('columns', [7, 16, 20])
def test_class_indices_equal_dense_labels(run, dtype, columns):
    """To the last bit where a backend promises it: the compiled sigmoid loss and its kernels."""
    family = run.family
    exact = family is SIGMOID and run.name != 'plain'  # torch computes some ends of rows otherwise
    tolerance = dict(rtol=0, atol=0) if exact else dict(rtol=2 * TOLERANCE[dtype], atol=2 * TOLERANCE[dtype])
    rows = 17 if run.is_slow else 113
    pred = (3 * torch.randn(rows, columns)).to(dtype)
    upstream = torch.rand(family.loss_shape(pred))
    for asymmetry in (family.asymmetry, *family.with_exponents(2), *family.with_exponents(0)[-1:]):
        for target in list(family.targets(rows, columns).values())[:2]:
            results = [
                loss_and_gradient(run, pred, form, asymmetry, upstream=upstream)
                for form in (target, family.dense(target, columns))
            ]
            torch.testing.assert_close(*results, **tolerance)


@dtypes
@pytest.mark.parametrize('gamma', [0, 0.3, 1, 4])
def test_loss_and_gradient_are_finite_at_every_finite_logit(run, dtype, gamma):
    for asymmetry in run.family.with_exponents(gamma):
        for pred, target in extremes(run.family, dtype, getattr(asymmetry, 'clip', 0)):
            if run.is_slow and run.family.by_row:
                pred, target = pred[::5], target[::5]
            upstream = torch.ones(run.family.loss_shape(pred))
            loss, gradient = loss_and_gradient(run, pred, target, asymmetry, upstream=upstream)
            assert loss.isfinite().all() and gradient.isfinite().all(), asymmetry
            assert (loss >= 0).all()
            mean, gradient = loss_and_gradient(run, pred, target, asymmetry, scale=1 / pred.numel())
            assert gradient.isfinite().all()
            assert mean.isfinite() or dtype == torch.float64  # which no wider type sums


@pytest.mark.parametrize('weighted', [False, True])
def test_a_sum_beyond_float32_has_a_mean_that_fits(run, weighted):
    """Four losses of 3e38, or of four times that."""
    family = run.family
    asymmetry = family.with_exponents(0)[0]
    if family is SOFTMAX:
        pred, target = torch.tensor([[0.0, -3e38]]).expand(4, 2), torch.ones(4, dtype=torch.long)
    else:
        pred, target = torch.full((4, 1), -3e38), torch.ones(4, 1)
    weights = (torch.full((4,), 2.0), torch.full(pred.shape[1:], 2.0)) if weighted else (None, None)
    mean, _ = loss_and_gradient(run, pred, target, asymmetry, *weights, scale=1 / 32)
    assert mean.item() == pytest.approx(1.5e38 if weighted else 0.375e38)


@pytest.mark.parametrize('shape', [(0, 5), (3, 0), (0, 0)], ids=str)
def test_empty_input_gives_a_zero_that_back_propagates(run, shape):
    pred, index = torch.zeros(shape), torch.zeros(shape[0], dtype=torch.long)
    indices = (index, torch.zeros(shape[0])) if run.family is QUALITY else index
    for target in (torch.zeros(shape), indices):
        for case in (dict(scale=1.0), dict(scale=None), dict(upstream=torch.ones(run.family.loss_shape(pred)))):
            loss, gradient = loss_and_gradient(run, pred, target, **case)
            assert loss.eq(0).all() and gradient.shape == shape


def test_ignored_rows_contribute_exactly_nothing_even_where_the_logit_is_nan(run):
    family = run.family
    pred = torch.randn(3, 4)
    own = torch.tensor([2]), torch.tensor([0.75])
    scores = torch.tensor([torch.nan, 0.75, 0.5])
    kept = loss_and_gradient(run, pred[1:2], own if family is QUALITY else own[0], scale=None)
    pred[0], pred[2] = torch.nan, torch.inf
    index = torch.tensor([-1, 2, -1])
    dense = family.dense(own if family is QUALITY else own[0], 4)
    dense = torch.cat([torch.full((1, 4), -1), dense, torch.full((1, 4), -1)])
    weight = torch.tensor([2.0, 1.0, 3.0])
    for target in ((index, scores) if family is QUALITY else index, dense, dense.float()):
        loss, gradient = loss_and_gradient(run, pred, target, None, weight, scale=None)
        torch.testing.assert_close(loss, kept[0])  # divided by what counts
        torch.testing.assert_close(gradient[1:2], kept[1])
        assert gradient[[0, 2]].eq(0).all()


def test_a_batch_of_which_all_is_ignored(run):
    family, pred = run.family, torch.full((3, 4), torch.nan)
    index = torch.full((3,), -1)
    for target in ((index, torch.rand(3)) if family is QUALITY else index, torch.full((3, 4), -1), -torch.ones(3, 4)):
        for scale in (1.0, None):
            loss, gradient = loss_and_gradient(run, pred, target, scale=scale)
            assert loss.item() == 0 and gradient.eq(0).all()


@pytest.mark.parametrize('gamma', [0, 0.5, 2, 4])
def test_a_nan_logit_shows_in_the_loss_and_gradient_of_its_row(run, gamma):
    """A diverged model must not train on as if its negatives were below the margin."""
    pred = torch.tensor([[0.5, torch.nan, 0.25], [0.5, 1.0, 0.25]])
    for asymmetry in run.family.with_exponents(gamma):
        for target in (torch.tensor([0, 1]), torch.eye(3)[:2], torch.eye(3)[1:]):
            if run.family is QUALITY and target.dim() == 1:
                target = target, torch.tensor([0.5, 0.75])
            upstream = torch.ones(run.family.loss_shape(pred))
            loss, gradient = loss_and_gradient(run, pred, target, asymmetry, upstream=upstream)
            seen = gradient[0].isnan().any() if run.family.by_row else gradient[0, 1].isnan()
            assert (loss[0] if run.family.by_row else loss[0, 1]).isnan() and seen, asymmetry
            assert loss[1].isfinite().all() and gradient[1].isfinite().all()
            total, _ = loss_and_gradient(run, pred, target, asymmetry)
            assert total.isnan()


@pytest.fixture
def poisoned_memory(monkeypatch):
    """Buffers from torch.empty and its kin are filled with NaN or a large number: any entry left unwritten shows."""

    def poison(tensor):
        return tensor.fill_(torch.nan if tensor.is_floating_point() else 10**8)

    for owner, name in ((torch, 'empty'), (torch, 'empty_like'), (torch.Tensor, 'new_empty')):
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, _original=original, **k: poison(_original(*a, **k)))


@pytest.mark.parametrize('form', [0, 2, 3])
@pytest.mark.parametrize('reduce', [True, False])
def test_same_inputs_same_bits_and_nothing_of_uninitialised_memory(run, poisoned_memory, form, reduce):
    """Twice, and with two threads where a library computes: its sums are added in the order of the blocks."""
    rows = 9 if run.is_slow else 10_000 if GPU and run.name == 'triton' else 101
    pred = torch.randn(rows, 333)
    target = list(run.family.targets(rows, 333).values())[form]
    upstream = None if reduce else torch.rand(run.family.loss_shape(pred))
    threads, results = torch.get_num_threads(), []
    weight = torch.linspace(0, 1, rows)
    try:
        for count in (1, 1, 2 if run.is_compiled else 1):
            torch.set_num_threads(count)
            results.append(loss_and_gradient(run, pred, target, None, weight, scale=None, upstream=upstream))
    finally:
        torch.set_num_threads(threads)
    assert all(value.isfinite().all() for value in results[0])
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0)


def test_layouts(run):
    """Transposed, strided, expanded and misaligned tensors give what their contiguous copies give."""
    base, label = torch.randn(10, 12), torch.rand(10, 12).softmax(1)
    cases = [
        (base.t(), label.t()),
        (base[::2, ::3], label[::2, ::3]),
        (base[:1].expand(4, 12), label[:1].expand(4, 12)),
        (base.flatten()[1:].reshape(7, 17), label.flatten()[1:].reshape(7, 17)),
    ]
    for pred, target in cases:
        for form in (target, (target > 0.1).long()):
            actual = loss_and_gradient(run, pred, form)
            expected = loss_and_gradient(run, pred.contiguous(), form.contiguous())
            torch.testing.assert_close(actual, expected)


def test_no_one_hot_tensor_is_built_for_class_indices(compiled_or_plain):
    """Peak memory above inputs and targets, the returned gradient included, as a multiple of the logits' bytes."""
    family, rows, columns = compiled_or_plain.family, 44_800 // 4, 80
    pred = torch.randn(rows, columns, requires_grad=True)
    target = next(iter(family.targets(rows, columns).values()))
    peak = peak_memory(lambda: compiled_or_plain(pred, target).backward())
    most = {'softmax-plain': 9, 'quality-plain': 9}
    assert peak < most.get(f'{family.name}-{compiled_or_plain.name}', 2.2) * pred.numel() * pred.element_size()


def test_targets_are_checked_when_asked(run):
    pred = torch.zeros(2, 3)
    wrong = torch.tensor([0, 4])
    target = (wrong, torch.ones(2)) if run.family is QUALITY else wrong
    run(pred, target)
    with pytest.raises(ValueError, match='got 4 at row 1'):
        run(pred, target, check=True)
