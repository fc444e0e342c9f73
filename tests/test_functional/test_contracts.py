"""What the public function of every loss promises with every backend; what is special to a loss is in its own file."""

import functools

import pytest
import torch
from torch.nn.functional import one_hot

from tests.test_ops.families import QUALITY, agree, families, reductions
from tests.test_ops.triton_device import quiet, use_interpreter

pytestmark = quiet
ROWS, CLASSES = 16, 6


def parts(target):
    return target if isinstance(target, tuple) else (target,)


def reshaped(target, *shape):
    """A target of rows with these dimensions in their place."""
    tensors = tuple(each.reshape(*shape, *each.shape[1:]) for each in parts(target))
    return tensors if isinstance(target, tuple) else tensors[0]


def full(family, loss):
    """``loss`` with an axis of classes where it has one loss for each row."""
    return loss.unsqueeze(1) if family.by_row else loss


@families
@reductions
def test_weights_of_every_shape(family, backend, reduction, logits):
    """A weight for each row, even where N = C, for each element if the loss has elements, and for each class."""
    row, element, column = torch.rand(ROWS), torch.rand(ROWS, CLASSES), torch.rand(CLASSES)
    row[3] = 0
    dense = family.op.reference is not None and not family.by_row
    weights = [(row, row[:, None]), (row[:, None], row[:, None])]
    weights += [(element, element), (element.flatten(), element)] if dense else []
    for target in list(family.targets(ROWS, CLASSES).values())[::2]:
        plain = family.function(logits, target, reduction='none', backend='reference')
        mean = family.function(logits, target, backend='reference')
        count = plain.sum().detach() / mean.detach()  # of what is not ignored
        for weight, broadcast in weights:
            expected = (full(family, plain) * broadcast).reshape(plain.shape)
            expected = dict(none=expected, sum=expected.sum(), mean=expected.sum() / count)[reduction]
            ours = family.function(logits, target, weight, reduction=reduction, backend=backend)
            agree(ours, expected, logits)
        if not family.by_row:
            ours = family.function(logits, target, class_weight=column, reduction='none', backend=backend)
            agree(ours, plain * column, logits)
    (gradient,) = torch.autograd.grad(family.function(logits, target, row, backend=backend), logits)
    assert gradient[3].eq(0).all()
    square = logits[:CLASSES]
    for target in family.targets(CLASSES, CLASSES).values():
        plain = family.function(square, target, reduction='none', backend='reference')
        ours = family.function(square, target, row[:CLASSES], reduction='none', backend=backend)
        agree(ours, (full(family, plain) * row[:CLASSES, None]).reshape(plain.shape), logits)


@families
@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.int64], ids=str)
def test_dtype_of_weights_does_not_matter(family, backend, dtype, logits):
    row, column = torch.arange(ROWS) % 3, torch.arange(CLASSES) % 4
    for target in family.targets(ROWS, CLASSES).values():
        ours, theirs = (
            family.function(logits, target, row.to(kind), class_weight=column.to(kind), backend=backend)
            for kind in (dtype, torch.float32)
        )
        agree(ours, theirs, logits)


@families
@pytest.mark.parametrize(
    'dtype', [torch.bool, torch.uint8, torch.int32, torch.int64, torch.float16, torch.float64], ids=str
)
def test_dtype_of_labels_does_not_matter(family, backend, dtype, logits):
    index = torch.arange(ROWS) % CLASSES
    hot = one_hot(index, CLASSES)
    expected = family.function(logits, hot.float(), backend=backend)
    agree(family.function(logits, hot.to(dtype), backend=backend), expected, logits)
    agree(family.function(logits, index, backend=backend), expected, logits)
    if not (dtype.is_floating_point or dtype == torch.bool):
        agree(family.function(logits, index.to(dtype), backend=backend), expected, logits)


@families
def test_mean_counts_what_is_not_ignored(family, backend, logits):
    for target in family.targets(ROWS, CLASSES).values():
        labels = family.dense(target, CLASSES)
        labels = (labels != -1) if labels.dtype.is_signed else torch.ones_like(labels, dtype=torch.bool)
        count = labels.any(1).sum() if family.by_row else labels.sum()
        mean = family.function(logits, target, backend=backend)
        elements = family.function(logits, target, reduction='none', backend=backend)
        agree(mean, elements.sum() / count, logits)
        assert elements[~(labels.any(1) if family.by_row else labels)].eq(0).all()


@families
@pytest.mark.parametrize('as_tensor', [False, True])
def test_avg_factor(family, backend, as_tensor, logits):
    def factor(value):
        return torch.tensor([value]) if as_tensor else value

    weight = torch.rand(ROWS)
    target = next(iter(family.targets(ROWS, CLASSES).values()))
    total = family.function(logits, target, weight, reduction='sum', backend=backend)
    agree(family.function(logits, target, weight, avg_factor=factor(7.0), backend=backend), total / 7, logits)
    by_zero = family.function(logits, target, weight, avg_factor=factor(0.0), backend=backend)
    torch.testing.assert_close(by_zero, total / torch.finfo(torch.float32).eps)
    elements = family.function(logits, target, reduction='none', backend=backend)
    ignored_factor = family.function(logits, target, reduction='none', avg_factor=factor(4.0), backend=backend)
    torch.testing.assert_close(ignored_factor, elements, rtol=0, atol=0)


@families
def test_more_dimensions_than_two(family, backend):
    torch.manual_seed(0)
    pred, images, rows = torch.randn(2, 3, 4, requires_grad=True), torch.rand(2), torch.rand(2, 3)
    for target in family.targets(6, 4).values():
        shaped = reshaped(target, 2, 3)
        forms = [shaped] if isinstance(target, tuple) or target.dim() == 2 else [shaped, shaped[..., None]]
        for weight, flat_weight in [(images, images.repeat_interleave(3)), (rows if family.by_row else None, rows)]:
            flat_weight = None if weight is None else flat_weight.flatten()
            flat = family.function(pred.reshape(6, 4), target, flat_weight, reduction='none')
            mean = family.function(pred.reshape(6, 4), target, flat_weight)
            for form in forms:
                loss = family.function(pred, form, weight, reduction='none', backend=backend)
                agree(loss, flat.reshape(loss.shape), pred)
                assert loss.shape == (pred.shape[:-1] if family.by_row else pred.shape)
                agree(family.function(pred, form, weight, backend=backend), mean, pred)


@families
def test_all_ignored_gives_a_zero_that_back_propagates(family, backend, logits):
    index = torch.full((ROWS,), -1)
    for target in (torch.full((ROWS, CLASSES), -1), -torch.ones(ROWS, CLASSES), index, (index, torch.rand(ROWS))):
        if not isinstance(target, tuple) or family is QUALITY:
            loss = family.function(logits, target, backend=backend)
            (gradient,) = torch.autograd.grad(loss, logits)
            assert loss.item() == 0 and gradient.eq(0).all()


@families
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@reductions
def test_half_precision_returns_float32_and_rounds_the_gradient_once(family, backend, dtype, reduction):
    torch.manual_seed(0)
    pred = (3 * torch.randn(32, 8)).to(dtype).requires_grad_()
    target = next(iter(family.targets(32, 8).values()))
    loss = family.function(pred, target, reduction=reduction, backend=backend)
    assert loss.dtype == torch.float32
    upstream = torch.rand_like(loss)
    (gradient,) = torch.autograd.grad(loss, pred, upstream)
    dense = family.dense(target, 8)
    labelled = (dense != -1).any(1, keepdim=True) if family.by_row else dense != -1
    _, slope = family.exact(pred.detach(), dense.clamp(min=0) if family.by_row else dense, type(family.asymmetry)())
    count = labelled.sum() if reduction == 'mean' else 1
    exact = slope * labelled * (full(family, upstream) if upstream.dim() else upstream).double() / count
    # Half a unit in the last place of the dtype, and the float32 error below it.
    bound = torch.finfo(dtype).eps / 2 * exact.abs() + 1e-6 * upstream.max() + torch.finfo(dtype).tiny
    assert gradient.dtype == dtype and ((gradient.double() - exact).abs() <= bound).all()


@families
def test_under_autocast_the_loss_stays_in_float32(family, backend, logits):
    for target in family.targets(ROWS, CLASSES).values():
        with torch.autocast('cpu', dtype=torch.bfloat16):
            inside = family.function(logits, target, backend=backend)
        agree(inside, family.function(logits, target), logits, rtol=2e-6, atol=1e-7)


@families
def test_a_weight_that_requires_grad_gets_one_from_auto_and_an_error_from_the_others(family, logits):
    weight = torch.rand(ROWS, requires_grad=True)
    for target in family.targets(ROWS, CLASSES).values():
        (gradient,) = torch.autograd.grad(family.function(logits, target, weight, reduction='sum'), weight)
        elements = family.function(logits, target, reduction='none').detach()
        torch.testing.assert_close(gradient, full(family, elements).sum(1))
        for backend in ('cpu', 'plain'):
            with pytest.raises(ValueError, match='requires grad, which only the reference differentiates'):
                family.function(logits, target, weight, backend=backend)
            with torch.no_grad():  # no gradient can flow, so none is missing
                ours = family.function(logits, target, weight, reduction='sum', backend=backend)
                torch.testing.assert_close(ours, (full(family, elements).sum(1) * weight).sum())


@families
def test_torch_compile_traces_it_without_a_break(family, logits):
    torch.compiler.reset()  # otherwise the constants of another family become symbols
    targets = list(family.targets(ROWS, CLASSES).values())[::3]

    def total(z):
        return sum(family.function(z, target, gamma_pos=0.5, avg_factor=16) for target in targets)

    agree(torch.compile(total, fullgraph=True, backend='aot_eager')(logits), total(logits), logits)


@families
def test_a_named_backend_that_cannot_raises_with_the_reason(family, logits, monkeypatch):
    index = torch.zeros(ROWS, dtype=torch.long)
    use_interpreter()
    with pytest.raises(ValueError, match="'triton' cannot be used because pred is float64"):
        family.function(logits.double(), index, backend='triton')
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    text = "backend: 'triton' cannot be used because .*; expected 'auto' or 'reference'"
    with pytest.raises(ValueError, match=text):
        family.function(logits, index, backend='triton')
    with pytest.raises(ValueError, match="backend: 'cpu' cannot be used because pred is on meta"):
        family.function(logits.to('meta'), index.to('meta'), backend='cpu')


BAD = {
    'shapes': (dict(target=torch.zeros(4, 2)), ValueError, r'target: expected .*\(4, 3\).*\(4,\).*got \(4, 2\)'),
    'float index': (dict(target=torch.zeros(4)), TypeError, 'class indices of an integer dtype .* got torch.float32'),
    'index above C': (dict(target=torch.tensor([0, 1, 2, 4])), ValueError, 'target: .* got 4 at row 3'),
    'index below -1': (
        dict(target=torch.tensor([0, -2, 2, 1])),
        ValueError,
        'or be (ignore_index=)?-1 .* got -2 at row 1',
    ),
    'label above 1': (dict(target=torch.full((4, 3), 1.5)), ValueError, r'lie in \[0, 1\].* got 1.5 at row 0'),
    'label below 0': (dict(target=torch.full((4, 3), -0.5)), ValueError, 'target: .* got -0.5 at row 0'),
    'nan label': (dict(target=torch.full((4, 3), torch.nan)), ValueError, 'got nan at row 0'),
    'no tensor': (dict(target=[0, 1, 2, 3]), TypeError, 'target: expected .* got list'),
    'negative gamma': (dict(gamma_neg=-1), ValueError, r'gamma_neg: expected a real number in \[0, inf\), got -1'),
    'negative gamma_pos': (dict(gamma_pos=-1), ValueError, 'gamma_pos: .* got -1'),
    'nan gamma': (dict(gamma_pos=float('nan')), ValueError, 'gamma_pos: .* got nan'),
    'reduction': (
        dict(reduction='avg'),
        ValueError,
        r"reduction: expected one of \('none', 'mean', 'sum'\), got 'avg'",
    ),
    'sum': (dict(reduction='sum', avg_factor=2), ValueError, "avg_factor: cannot be .* use reduction='mean'"),
    'avg_factor': (dict(avg_factor=-1), ValueError, r'avg_factor: .* got -1'),
    'avg_factor tensor': (dict(avg_factor=torch.tensor(-1.0)), ValueError, r'avg_factor: .* got -1'),
    'avg_factor shape': (dict(avg_factor=torch.ones(2)), ValueError, r'one element, got shape \(2,\)'),
    'integer pred': (
        dict(pred=torch.zeros(4, 3).long()),
        TypeError,
        'pred: expected a floating-point .* got a torch.int64',
    ),
    'weight': (dict(weight=torch.ones(3)), ValueError, r'weight: expected .*\(4,\).* got \(3,\)'),
    'weight kind': (dict(weight=2.0), TypeError, 'weight: expected a tensor, got float'),
    'class_weight': (dict(class_weight=torch.ones(4)), ValueError, r'class_weight: expected .*\(3,\).* got \(4,\)'),
    'backend': (dict(backend='cuda'), ValueError, r"backend: expected one of .* got 'cuda'"),
}


@families
@pytest.mark.parametrize('change, error, text', BAD.values(), ids=BAD)
def test_bad_input(family, change, error, text):
    arguments = dict(pred=torch.zeros(4, 3), target=torch.tensor([0, 1, 2, -1])) | change
    with pytest.raises(error, match=text):
        family.function(**arguments)


@families
def test_range_checks_can_be_switched_off(family):
    for target in (torch.full((1, 2), 1.5), torch.tensor([7])):
        assert family.function(torch.zeros(1, 2), target, check_target_range=False).isfinite()


@families
@pytest.mark.parametrize('name', ['reference', 'plain', 'cpu'])
def test_another_default_device_changes_nothing(family, name):
    pred = torch.linspace(-4, 4, 3000 * CLASSES).reshape(-1, CLASSES).requires_grad_()
    for target in family.targets(len(pred), CLASSES).values():
        for reduction in ('mean', 'none'):
            run = functools.partial(family.function, pred, target, reduction=reduction, backend=name)
            expected = run()
            with torch.device('meta'):
                agree(run(), expected, pred)
