"""The public single-label function: identities with other losses, conventions, backends that agree, bad input."""

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from timm.loss.asymmetric_loss import AsymmetricLossSingleLabel

from mmasl import softmax_asymmetric_loss
from mmasl.functional import _run
from mmasl.testing import assert_close, exact_softmax_asymmetric_loss
from tests.test_ops.triton_device import INTERPRETER, quiet

pytestmark = quiet
EXPLICIT = ['reference', 'plain', 'cpu', *(['triton'] if INTERPRETER else [])]
backends = pytest.mark.parametrize('backend', EXPLICIT)
reductions = pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return (3 * torch.randn(16, 6)).requires_grad_()


@pytest.fixture
def labels():
    return torch.arange(16) % 6


@pytest.fixture
def mixed(labels):
    """Scores as mixup leaves them."""
    return 0.7 * F.one_hot(labels, 6) + 0.3 * F.one_hot(labels.flip(0), 6)


def agree(ours, theirs, logits, rtol=1e-5, atol=1e-6):
    """Equal values, and equal gradients under one random upstream gradient."""
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)
    upstream = torch.rand_like(ours)
    gradients = [torch.autograd.grad(loss, logits, upstream, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=rtol, atol=atol)


@backends
@pytest.mark.parametrize('gammas', [(0, 4), (1, 4), (2, 1), (0.5, 0.5), (0, 0)])
@pytest.mark.parametrize('label_smoothing', [0, 0.1, 0.5])
def test_agrees_with_timm_gradient_included(logits, labels, backend, gammas, label_smoothing):
    """timm differentiates the focusing weights; so does the default here."""
    theirs = AsymmetricLossSingleLabel(*gammas, label_smoothing)(logits, labels)
    agree(softmax_asymmetric_loss(logits, labels, None, *gammas, label_smoothing, backend=backend), theirs, logits)


@backends
@reductions
def test_without_smoothing_and_gamma_pos_it_is_cross_entropy(logits, labels, mixed, backend, reduction):
    for target in (labels, mixed):
        ours = softmax_asymmetric_loss(logits, target, label_smoothing=0, reduction=reduction, backend=backend)
        agree(ours, F.cross_entropy(logits, target, reduction=reduction), logits)


@backends
@reductions
@pytest.mark.parametrize('label_smoothing', [0, 0.1, 1])
def test_without_exponents_it_is_cross_entropy_with_smoothing_and_class_weights(
    logits, labels, mixed, backend, reduction, label_smoothing
):
    constants = dict(reduction=reduction, class_weight=torch.rand(6))
    labels[3] = -100
    for target in (labels, mixed):
        ours = softmax_asymmetric_loss(
            logits, target, None, 0, 0, label_smoothing, ignore_index=-100, **constants, backend=backend
        )
        theirs = F.cross_entropy(
            logits, target, constants['class_weight'], reduction='none', label_smoothing=label_smoothing
        )
        rows = 15 if target is labels else 16
        agree(ours, dict(none=theirs, sum=theirs.sum(), mean=theirs.sum() / rows)[reduction], logits)


@backends
@pytest.mark.parametrize('gamma_pos', [0, 0.5, 2])
def test_without_smoothing_gamma_neg_changes_no_bit(logits, labels, mixed, backend, gamma_pos):
    for target in (labels, mixed):
        few, many = (
            softmax_asymmetric_loss(logits, target, None, gamma_pos, gamma_neg, 0, backend=backend)
            for gamma_neg in (0, 6)
        )
        agree(few, many, logits, rtol=0, atol=0)
    smooth = [softmax_asymmetric_loss(logits, labels, gamma_neg=gamma_neg, backend=backend) for gamma_neg in (0, 6)]
    assert smooth[0] - smooth[1] > 0.01


@backends
def test_a_soft_label_mixes_the_losses_of_the_hard_ones(logits, labels, mixed, backend):
    one, other = (
        softmax_asymmetric_loss(logits, target, None, 1, 4, 0.1, 'none', backend=backend)
        for target in (labels, labels.flip(0))
    )
    ours = softmax_asymmetric_loss(logits, mixed, None, 1, 4, 0.1, 'none', backend=backend)
    agree(ours, 0.7 * one + 0.3 * other, logits)


@backends
@pytest.mark.parametrize('dtype', [torch.bool, torch.uint8, torch.int64, torch.float16], ids=str)
def test_one_hot_labels_of_any_dtype_equal_class_indices(logits, labels, backend, dtype):
    ours = softmax_asymmetric_loss(logits, F.one_hot(labels, 6).to(dtype), gamma_pos=1, backend=backend)
    agree(ours, softmax_asymmetric_loss(logits, labels, gamma_pos=1, backend=backend), logits)
    small = labels.to(torch.uint8)
    agree(softmax_asymmetric_loss(logits, small, gamma_pos=1, backend=backend), ours, logits)


@backends
def test_detach_focus_holds_the_weights(logits, labels, backend):
    p = logits.softmax(1)
    hot = F.one_hot(labels, 6)
    focus = torch.where(hot == 1, (1 - p) ** 2, p**3).detach()
    theirs = -((0.9 * hot + 0.1 / 6) * focus * p.log()).sum(1)
    ours = softmax_asymmetric_loss(logits, labels, None, 2, 3, 0.1, 'none', detach_focus=True, backend=backend)
    agree(ours, theirs, logits, rtol=1e-4)


@backends
@reductions
def test_weights_and_avg_factor(logits, labels, backend, reduction):
    weight = torch.rand(16)
    rows = softmax_asymmetric_loss(logits, labels, reduction='none', backend='reference') * weight
    expected = dict(none=rows, sum=rows.sum(), mean=rows.mean())[reduction]
    for shaped in (weight, weight[:, None]):
        agree(softmax_asymmetric_loss(logits, labels, shaped, reduction=reduction, backend=backend), expected, logits)
    for avg_factor in (7, torch.tensor([7.0])):
        ours = softmax_asymmetric_loss(logits, labels, weight, avg_factor=avg_factor, backend=backend)
        agree(ours, rows.sum() / 7, logits)
    by_nothing = softmax_asymmetric_loss(logits, labels, weight, avg_factor=0, backend=backend)
    torch.testing.assert_close(by_nothing, rows.sum() / torch.finfo(torch.float32).eps)


@backends
@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.int64], ids=str)
@pytest.mark.parametrize('label_smoothing', [0, 0.1])
def test_dtype_of_weights_does_not_matter(logits, labels, backend, dtype, label_smoothing):
    row, column = torch.arange(16) % 3, torch.arange(6) % 4
    constants = dict(gamma_pos=1, label_smoothing=label_smoothing, backend=backend)
    ours = softmax_asymmetric_loss(logits, labels, row.to(dtype), class_weight=column.to(dtype), **constants)
    theirs = softmax_asymmetric_loss(logits, labels, row.float(), class_weight=column.float(), **constants)
    agree(ours, theirs, logits)


@backends
def test_more_dimensions_than_two(backend):
    torch.manual_seed(0)
    pred, weight = torch.randn(2, 3, 4, requires_grad=True), torch.rand(2, 3)
    target = torch.randint(-1, 4, (2, 3))
    flat = softmax_asymmetric_loss(pred.reshape(6, 4), target.flatten(), weight.flatten(), reduction='none')
    for labels in (target, target[..., None]):
        agree(
            softmax_asymmetric_loss(pred, labels, weight, reduction='none', backend=backend), flat.reshape(2, 3), pred
        )
    by_image = softmax_asymmetric_loss(pred, target, weight[:, 0], reduction='none', backend=backend)
    plain = softmax_asymmetric_loss(pred, target, reduction='none', backend=backend)
    agree(by_image, plain * weight[:, :1], pred)


@backends
def test_ignored_rows(logits, labels, backend):
    keep = torch.arange(16) % 3 != 0
    expected = softmax_asymmetric_loss(logits[keep], labels[keep], backend='reference')
    index = labels.masked_fill(~keep, -1)
    dense = F.one_hot(labels, 6).masked_fill(~keep[:, None], -1)
    agree(softmax_asymmetric_loss(logits, index, backend=backend), expected, logits)
    agree(softmax_asymmetric_loss(logits, dense, backend=backend), expected, logits)
    for ignore_index in (-100, 5, 255):
        index = labels.masked_fill(~keep, ignore_index)
        ours = softmax_asymmetric_loss(logits, index, ignore_index=ignore_index, backend=backend)
        kept = index != ignore_index
        agree(ours, softmax_asymmetric_loss(logits[kept], labels[kept], backend='reference'), logits)


@backends
def test_all_ignored_gives_a_zero_that_back_propagates(logits, backend):
    for target in (torch.full((16, 6), -1.0), torch.full((16,), -1)):
        loss = softmax_asymmetric_loss(logits, target, backend=backend)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.item() == 0 and gradient.eq(0).all()


@backends
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@reductions
def test_half_precision_returns_float32_and_rounds_the_gradient_once(backend, dtype, reduction):
    torch.manual_seed(0)
    pred = (3 * torch.randn(32, 8)).to(dtype).requires_grad_()
    target = torch.randint(0, 8, (32,))
    loss = softmax_asymmetric_loss(pred, target, reduction=reduction, backend=backend)
    assert loss.dtype == torch.float32
    upstream = torch.rand_like(loss)
    (gradient,) = torch.autograd.grad(loss, pred, upstream)
    _, slope = exact_softmax_asymmetric_loss(pred.detach(), F.one_hot(target, 8))
    exact = slope * upstream.double().reshape(-1, 1) / (32 if reduction == 'mean' else 1)
    # Half a unit in the last place of the dtype, and the float32 error below it.
    bound = torch.finfo(dtype).eps / 2 * exact.abs() + 1e-6 * upstream.max() + torch.finfo(dtype).tiny
    assert gradient.dtype == dtype and ((gradient.double() - exact).abs() <= bound).all()


def test_under_autocast_the_loss_stays_in_float32(logits, labels):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = [softmax_asymmetric_loss(logits, labels, gamma_pos=1, backend=backend) for backend in EXPLICIT]
    for loss in inside:
        agree(loss, softmax_asymmetric_loss(logits, labels, gamma_pos=1), logits)


def test_a_target_or_weight_that_requires_grad_gets_one_from_auto_and_an_error_from_the_cpu_backend(logits, labels):
    target = logits.detach().softmax(1).requires_grad_()
    softmax_asymmetric_loss(logits, target, label_smoothing=0, reduction='sum').backward()
    torch.testing.assert_close(target.grad, -logits.detach().log_softmax(1))
    with pytest.raises(ValueError, match='requires grad, which only the reference differentiates'):
        softmax_asymmetric_loss(logits, labels, torch.rand(16, requires_grad=True), backend='cpu')


def test_torch_compile_traces_it_without_a_break(logits, labels):
    constants = dict(gamma_pos=0.5, avg_factor=16)
    compiled = torch.compile(
        lambda z, y: softmax_asymmetric_loss(z, y, **constants), fullgraph=True, backend='aot_eager'
    )
    agree(compiled(logits, labels), softmax_asymmetric_loss(logits, labels, **constants), logits)


def test_the_compile_backend_checks_single_labels(monkeypatch):
    monkeypatch.setattr(_run, '_compile', _run._compile.__wrapped__)  # not its cache
    monkeypatch.setattr(torch, 'compile', lambda function: function)
    pred = torch.zeros(2, 3)
    loss = softmax_asymmetric_loss(pred, torch.tensor([2, 0]), label_smoothing=0, backend='compile')
    torch.testing.assert_close(loss, torch.tensor(3.0).log())
    with pytest.raises(ValueError, match=r'lie in \[0, 2\] .* got 3 at row 0'):
        softmax_asymmetric_loss(pred, torch.tensor([3, 0]), backend='compile')


def test_a_named_backend_that_cannot_raises_with_the_reason(logits, labels, monkeypatch):
    with pytest.raises(ValueError, match="'triton' cannot be used because pred is float64"):
        softmax_asymmetric_loss(logits.double(), labels, backend='triton')
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    with pytest.raises(ValueError, match="backend: 'triton' cannot be used because"):
        softmax_asymmetric_loss(logits, labels, backend='triton')


@st.composite
def problems(draw):
    rows, columns = draw(st.integers(0, 7)), draw(st.integers(2, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    dtype = draw(st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]))
    pred = 5 * torch.randn(2 * rows, columns + 1, generator=generator)
    pred = (pred[::2, 1:] if draw(st.booleans()) else pred[:rows, :columns].contiguous()).to(dtype)
    target = torch.randint(-1, columns, (rows,), generator=generator)
    if draw(st.booleans()):
        target = torch.randn(rows, columns, generator=generator).softmax(1).masked_fill((target == -1)[:, None], -1)
    arguments = dict(
        weight=draw(st.sampled_from([None, torch.rand(rows, generator=generator)])),
        gamma_pos=draw(st.sampled_from([0, 0.5, 1, 2])),
        gamma_neg=draw(st.sampled_from([0, 0.3, 1, 4, 6.2])),
        label_smoothing=draw(st.sampled_from([0, 0.1, 1])),
        reduction=draw(st.sampled_from(['none', 'mean', 'sum'])),
        class_weight=draw(st.sampled_from([None, torch.rand(columns, generator=generator)])),
        detach_focus=draw(st.booleans()),
    )
    if arguments['reduction'] == 'mean':
        arguments['avg_factor'] = draw(st.sampled_from([None, 3, 0.5, torch.tensor(7.0)]))
    return pred, target, arguments


def agrees_with_the_reference(backend, problem):
    pred, target, arguments = problem
    results = []
    for each in ('reference', backend):
        leaf = pred.detach().requires_grad_()
        loss = softmax_asymmetric_loss(leaf, target, **arguments, backend=each)
        upstream = torch.rand(loss.shape, generator=torch.Generator().manual_seed(1)).to(loss.dtype)
        results.append((loss.detach(), torch.autograd.grad(loss, leaf, upstream)[0]))
    (expected_loss, expected_gradient), (loss, gradient) = results
    assert loss.dtype == expected_loss.dtype and gradient.dtype == pred.dtype
    assert_close(loss, expected_loss.double(), torch.promote_types(pred.dtype, torch.float32), 'loss')
    assert_close(gradient, expected_gradient.double(), pred.dtype, 'gradient')


@hypothesis.settings(max_examples=300, deadline=None, derandomize=True)
@hypothesis.given(problems())
def test_the_cpu_backend_agrees_with_the_reference(problem):
    agrees_with_the_reference('cpu', problem)


@pytest.mark.skipif(not INTERPRETER, reason='needs the interpreter of Triton 3')
@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(problems().filter(lambda problem: problem[0].dtype != torch.float64))
def test_the_triton_backend_agrees_with_the_reference(problem):
    agrees_with_the_reference('triton', problem)


def row(*values):
    return torch.tensor([[0.0, 0.0, 1.0]] * 3 + [list(values)])


BAD = {
    'shapes': (dict(target=torch.zeros(4, 2)), ValueError, r'target: expected .*\(4, 3\).*\(4,\).*got \(4, 2\)'),
    'background': (
        dict(target=torch.tensor([0, 1, 2, 3])),
        ValueError,
        r'in \[0, 2\] or be ignore_index=-1 .* got 3',
    ),
    'index -100': (dict(target=torch.tensor([0, -100, 2, 1])), ValueError, 'ignore_index=-1 .* got -100 at row 1'),
    'ignore_index': (
        dict(ignore_index=9, target=torch.tensor([0, 9, 2, -1])),
        ValueError,
        '=9 .* got -1 at row 3',
    ),
    'uint8 index': (dict(target=torch.tensor([0, 255, 2, 1], dtype=torch.uint8)), ValueError, 'got 255 at row 1'),
    'float index': (dict(target=torch.zeros(4)), TypeError, 'class indices of an integer dtype .* got torch.float32'),
    'two labels': (dict(target=row(1, 1, 0)), ValueError, r'row must sum to 1 \(asymmetric_loss .* got 2 at row 3'),
    'no label': (dict(target=row(0, 0, 0)), ValueError, 'row must sum to 1 .* got 0 at row 3'),
    'label above 1': (dict(target=row(1.5, 0, 0)), ValueError, r'lie in \[0, 1\], or fill .* got 1.5 at row 3'),
    'label below 0': (dict(target=row(0, 1.5, -0.5)), ValueError, 'got 1.5 at row 3'),
    'one label ignored': (dict(target=row(1, -1, 0)), ValueError, 'fill their row with -1 .* got -1 at row 3'),
    'nan label': (dict(target=row(1, torch.nan, 0)), ValueError, 'got nan at row 3'),
    'no tensor': (dict(target=[0, 1, 2, 3]), TypeError, 'target: expected a tensor .* got list'),
    'negative gamma': (dict(gamma_neg=-1), ValueError, r'gamma_neg: expected a real number in \[0, inf\), got -1'),
    'nan gamma': (dict(gamma_pos=float('nan')), ValueError, 'gamma_pos: .* got nan'),
    'smoothing': (dict(label_smoothing=1.1), ValueError, r'label_smoothing: .* in \[0, 1\], got 1.1'),
    'ignore_index kind': (dict(ignore_index=None), TypeError, 'ignore_index: expected an integer .* got None'),
    'reduction': (dict(reduction='avg'), ValueError, r"reduction: expected one of .* got 'avg'"),
    'sum': (dict(reduction='sum', avg_factor=2), ValueError, "avg_factor: cannot be .* use reduction='mean'"),
    'avg_factor': (dict(avg_factor=-1), ValueError, r'avg_factor: .* got -1'),
    'integer pred': (dict(pred=torch.zeros(4, 3).long()), TypeError, 'pred: expected a floating-point'),
    'flat pred': (dict(pred=torch.zeros(4)), ValueError, r'pred: expected .* for two classes or more, got \(4,\)'),
    'weight': (dict(weight=torch.ones(4, 3)), ValueError, r'weight for each row, of shape \(4,\), .* got \(4, 3\)'),
    'weight kind': (dict(weight=2.0), TypeError, 'weight: expected a tensor, got float'),
    'class_weight': (dict(class_weight=torch.ones(4)), ValueError, r'class_weight: expected .*\(3,\).* got \(4,\)'),
    'backend': (dict(backend='cuda'), ValueError, r"backend: expected one of .* got 'cuda'"),
}


@pytest.mark.parametrize('change, error, text', BAD.values(), ids=BAD)
def test_bad_input(change, error, text):
    arguments = dict(pred=torch.zeros(4, 3), target=torch.tensor([0, 1, 2, -1])) | change
    with pytest.raises(error, match=text):
        softmax_asymmetric_loss(**arguments)


def test_range_checks_can_be_switched_off():
    assert softmax_asymmetric_loss(torch.zeros(1, 2), torch.ones(1, 2), check_target_range=False).isfinite()
