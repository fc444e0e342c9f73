"""The public function: identities with other losses, conventions, every backend against the reference, bad input."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from timm.loss import AsymmetricLossMultiLabel
from torchvision.ops import sigmoid_focal_loss

from mmasl import asymmetric_loss
from mmasl.testing import assert_close, exact_asymmetric_loss

EXPLICIT = ['reference', 'plain', 'cpu']  # 'triton' has tests of its own, 'compile' one below
backends = pytest.mark.parametrize('backend', EXPLICIT)
reductions = pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return (4 * torch.randn(16, 6)).requires_grad_()


@pytest.fixture
def labels():
    torch.manual_seed(1)
    return (torch.rand(16, 6) < 0.3).float()


def agree(ours, theirs, logits, rtol=1e-5, atol=1e-6):
    """Equal values, and equal gradients under one random upstream gradient."""
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)
    upstream = torch.rand_like(ours)
    gradients = [torch.autograd.grad(loss, logits, upstream, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=rtol, atol=atol)


@backends
@reductions
def test_without_focus_and_margin_it_is_binary_cross_entropy(logits, labels, backend, reduction):
    soft = labels * 0.8 + 0.1
    for target in (labels, soft):
        ours = asymmetric_loss(logits, target, None, 0, 0, None, reduction, backend=backend)
        agree(ours, F.binary_cross_entropy_with_logits(logits, target, reduction=reduction), logits)


@backends
@reductions
@pytest.mark.parametrize('gamma', [0.5, 1, 2, 3])
def test_with_equal_exponents_and_no_margin_it_is_focal_loss(logits, labels, backend, reduction, gamma):
    for alpha in (None, 0.25, 0.9):
        ours = asymmetric_loss(logits, labels, None, gamma, gamma, 0, reduction, alpha=alpha, backend=backend)
        theirs = sigmoid_focal_loss(logits, labels, -1 if alpha is None else alpha, gamma, reduction)
        agree(ours, theirs, logits)


@backends
@pytest.mark.parametrize('gammas', [(0, 4), (1, 4), (1, 2), (0.5, 0.5)])
@pytest.mark.parametrize('clip', [0, 0.05, 0.3])
def test_agrees_with_timm_on_hard_labels(logits, labels, backend, gammas, clip):
    """Away from timm's clamp at 1e-8, which these logits keep; timm detaches the weights and averages over rows."""
    gamma_pos, gamma_neg = gammas
    theirs = AsymmetricLossMultiLabel(gamma_neg, gamma_pos, clip, disable_torch_grad_focal_loss=True)
    ours = asymmetric_loss(logits, labels, None, *gammas, clip, avg_factor=16, detach_focus=True, backend=backend)
    agree(ours, theirs(logits, labels), logits, rtol=1e-3, atol=1e-5)  # its 1 - p loses digits


@backends
@reductions
def test_agrees_with_mmpretrain_on_hard_labels(logits, labels, backend, reduction):
    losses = pytest.importorskip('mmpretrain.models.losses.asymmetric_loss')
    weight, wide = torch.rand(16), logits.double()
    for clip in (None, 0, 0.05, 0.3):
        constants = dict(gamma_pos=1, gamma_neg=4, clip=clip, reduction=reduction)
        ours = asymmetric_loss(wide, labels, weight, **constants, backend=backend)
        agree(ours, losses.asymmetric_loss(wide, labels, weight, **constants), wide)


@backends
def test_detach_focus_is_the_gradient_of_the_authors_script(logits, labels, backend):
    weight_of = labels * (1 - logits.sigmoid()) + (1 - labels) * (logits.sigmoid() - 0.05).clamp(min=0) ** 4
    log = labels * logits.sigmoid().log() + (1 - labels) * (1 - (logits.sigmoid() - 0.05).clamp(min=0)).log()
    ours = asymmetric_loss(logits, labels, None, 1, 4, 0.05, 'none', detach_focus=True, backend=backend)
    agree(ours, -weight_of.detach() * log, logits, rtol=1e-4)


@backends
@reductions
@pytest.mark.parametrize('gamma, clip', [(4.0, 0.05), (0.0, 0.0), (0.5, 0.3)])
def test_constants_in_tensors_give_what_numbers_give(logits, labels, backend, reduction, gamma, clip):
    constants = dict(gamma_pos=1, reduction=reduction, backend=backend)
    for target in (labels, torch.randint(-1, 7, (16,))):
        numbers = asymmetric_loss(logits, target, gamma_neg=gamma, clip=clip, **constants)
        for shape in ((), (6,)):
            of_class = torch.full(shape, gamma), torch.full(shape, clip, dtype=torch.float64)
            agree(asymmetric_loss(logits, target, None, 1, *of_class, reduction, backend=backend), numbers, logits)
            agree(asymmetric_loss(logits, target, gamma_neg=of_class[0], clip=clip, **constants), numbers, logits)
            agree(asymmetric_loss(logits, target, gamma_neg=gamma, clip=of_class[1], **constants), numbers, logits)


@backends
def test_each_class_has_its_own_constants(logits, labels, backend):
    gamma, clip = torch.tensor([0.0, 1.0, 2.0, 4.0, 5.5, 0.3]), torch.tensor([0.0, 0.05, 0.1, 0.2, 1e-40, 0.3])
    ours = asymmetric_loss(logits, labels, gamma_neg=gamma, clip=clip, reduction='none', backend=backend)
    for c, (g, m) in enumerate(zip(gamma.tolist(), [0.0, 0.05, 0.1, 0.2, 0.0, 0.3], strict=True)):
        column = asymmetric_loss(logits[:, c : c + 1], labels[:, c : c + 1], None, 0, g, m, 'none', backend=backend)
        agree(ours[:, c : c + 1], column, logits)


@backends
@pytest.mark.parametrize('shape', [(), (6,)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
def test_a_constant_that_changes_after_the_forward_pass_does_not_reach_backward(labels, backend, shape, dtype):
    pred, gamma = torch.randn(16, 6).to(dtype).requires_grad_(), torch.full(shape, 2.0)
    losses = [asymmetric_loss(pred, labels, gamma_neg=value, backend=backend) for value in (gamma, 2.0)]
    gamma.fill_(5)
    torch.testing.assert_close(*(torch.autograd.grad(loss, pred)[0] for loss in losses))


@backends
def test_soft_labels_mix_outside_the_logarithm(backend):
    pred = torch.tensor([[-1.0, 0.5, 2.0]], requires_grad=True)
    half = torch.full((1, 3), 0.5)
    positive, negative = (
        asymmetric_loss(pred, torch.full((1, 3), v), reduction='none', backend=backend) for v in (1.0, 0.0)
    )
    mixed = asymmetric_loss(pred, half, reduction='none', backend=backend)
    agree(mixed, (positive + negative) / 2, pred)
    assert torch.autograd.grad(mixed.sum(), pred)[0].abs().min() > 0.01  # MMPretrain's is zero here


@backends
@pytest.mark.parametrize(
    'dtype', [torch.bool, torch.uint8, torch.int32, torch.int64, torch.float16, torch.float64], ids=str
)
def test_dtype_of_labels_does_not_matter(logits, labels, backend, dtype):
    agree(
        asymmetric_loss(logits, labels.to(dtype), backend=backend),
        asymmetric_loss(logits, labels, backend=backend),
        logits,
    )


@backends
def test_mean_counts_labels_that_are_not_ignored(logits, labels, backend):
    labels[3] = -1
    labels[:, 2] = -1
    total = asymmetric_loss(logits, labels, reduction='sum', backend=backend)
    mean = asymmetric_loss(logits, labels, backend=backend)
    agree(mean, total / (15 * 5), logits)
    index = torch.tensor([0, -1] * 8)
    agree(
        asymmetric_loss(logits, index, backend=backend),
        asymmetric_loss(logits, index, reduction='sum', backend=backend) / (8 * 6),
        logits,
    )


@backends
@pytest.mark.parametrize('as_tensor', [False, True])
def test_avg_factor(logits, labels, backend, as_tensor):
    def factor(value):
        return torch.tensor(value) if as_tensor else value

    total = asymmetric_loss(logits, labels, reduction='sum', backend=backend)
    agree(asymmetric_loss(logits, labels, avg_factor=factor(4.0), backend=backend), total / 4, logits)
    by_zero = asymmetric_loss(logits, labels, avg_factor=factor(0.0), backend=backend)
    torch.testing.assert_close(by_zero, total / torch.finfo(torch.float32).eps)
    elements = asymmetric_loss(logits, labels, reduction='none', backend=backend)
    ignored_factor = asymmetric_loss(logits, labels, reduction='none', avg_factor=factor(4.0), backend=backend)
    torch.testing.assert_close(ignored_factor, elements, rtol=0, atol=0)


@backends
def test_one_dimensional_weight_is_per_row_even_for_a_square(backend):
    pred, target, weight = torch.zeros(3, 3), torch.zeros(3, 3), torch.tensor([0.0, 1.0, 2.0])
    loss = asymmetric_loss(pred, target, weight, reduction='none', backend=backend)
    plain = asymmetric_loss(pred, target, reduction='none', backend=backend)
    torch.testing.assert_close(loss, plain * weight[:, None])
    by_class = asymmetric_loss(pred, target, class_weight=weight, reduction='none', backend=backend)
    torch.testing.assert_close(by_class, plain * weight)


@backends
@reductions
def test_weights_of_every_shape(logits, labels, backend, reduction):
    row, element = torch.rand(16), torch.rand(16, 6)
    plain = asymmetric_loss(logits, labels, reduction='none', backend='reference')
    for weight, full in [
        (row, row[:, None]),
        (row[:, None], row[:, None]),
        (element, element),
        (element.flatten(), element),
    ]:
        expected = plain * full
        expected = dict(none=expected, sum=expected.sum(), mean=expected.mean())[reduction]
        agree(asymmetric_loss(logits, labels, weight, reduction=reduction, backend=backend), expected, logits)


@backends
def test_more_dimensions_than_two(backend):
    torch.manual_seed(0)
    pred, target, weight = torch.randn(2, 3, 4, requires_grad=True), torch.randint(0, 2, (2, 3, 4)), torch.rand(2)
    loss = asymmetric_loss(pred, target, weight, reduction='none', backend=backend)
    flat = asymmetric_loss(pred.reshape(6, 4), target.reshape(6, 4), weight.repeat_interleave(3), reduction='none')
    agree(loss, flat.reshape(2, 3, 4), pred)
    index = torch.randint(0, 5, (2, 3))
    agree(asymmetric_loss(pred, index, backend=backend), asymmetric_loss(pred.reshape(6, 4), index.flatten()), pred)


@backends
def test_a_column_of_integers_is_class_indices_unless_there_is_one_class(backend):
    pred = torch.tensor([[1.0, -1.0], [0.5, 2.0]])
    column = torch.tensor([[1], [2]])
    torch.testing.assert_close(
        asymmetric_loss(pred, column, backend=backend), asymmetric_loss(pred, torch.tensor([[0, 1], [0, 0]]))
    )
    single = asymmetric_loss(pred[:, :1], torch.tensor([[1], [0]]), reduction='none', backend=backend)
    assert single[0] == pytest.approx(-F.logsigmoid(torch.tensor(1.0)).item())


@backends
def test_all_ignored_gives_a_zero_that_back_propagates(logits, backend):
    for target in (torch.full((16, 6), -1), torch.full((16,), -1)):
        loss = asymmetric_loss(logits, target, backend=backend)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.item() == 0 and gradient.eq(0).all()


@backends
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@reductions
def test_half_precision_returns_float32_and_rounds_the_gradient_once(backend, dtype, reduction):
    torch.manual_seed(0)
    pred = (3 * torch.randn(32, 8)).to(dtype).requires_grad_()
    target = torch.randint(0, 2, (32, 8))
    loss = asymmetric_loss(pred, target, reduction=reduction, backend=backend)
    assert loss.dtype == torch.float32
    upstream = torch.rand_like(loss)
    (gradient,) = torch.autograd.grad(loss, pred, upstream)
    _, slope = exact_asymmetric_loss(pred.detach(), target)
    exact = slope * upstream.double() / (pred.numel() if reduction == 'mean' else 1)
    # Half a unit in the last place of the dtype, and the float32 error below it.
    bound = torch.finfo(dtype).eps / 2 * exact.abs() + 1e-6 * upstream.max() + torch.finfo(dtype).tiny
    assert gradient.dtype == dtype and ((gradient.double() - exact).abs() <= bound).all()


def test_under_autocast_the_loss_stays_in_float32():
    pred = torch.randn(4, 5, requires_grad=True)
    target = torch.randint(0, 2, (4, 5))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = [asymmetric_loss(pred, target, backend=backend) for backend in EXPLICIT]
    outside = asymmetric_loss(pred, target)
    for loss in inside:
        torch.testing.assert_close(loss, outside, rtol=1e-6, atol=1e-7)


def test_a_weight_that_requires_grad_gets_one_from_auto_and_an_error_from_the_cpu_backend(logits, labels):
    weight = torch.rand(16, requires_grad=True)
    asymmetric_loss(logits, labels, weight).backward()
    elements = asymmetric_loss(logits, labels, reduction='none').detach()
    torch.testing.assert_close(weight.grad, elements.sum(1) / elements.numel())
    with pytest.raises(ValueError, match='requires grad, which only the reference differentiates'):
        asymmetric_loss(logits, labels, weight, backend='cpu')


def test_double_backward(logits, labels):
    def penalty(backend):
        loss = asymmetric_loss(logits, labels, gamma_pos=1, backend=backend)
        (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
        return gradient.square().sum()

    agree(penalty('cpu'), penalty('reference'), logits)


def test_torch_compile_traces_it_without_a_break(logits, labels):
    compiled = torch.compile(lambda z, y: asymmetric_loss(z, y, avg_factor=16), fullgraph=True, backend='aot_eager')
    agree(compiled(logits, labels), asymmetric_loss(logits, labels, avg_factor=16), logits)


@pytest.mark.parametrize('shape', [(), (6,)])
def test_torch_compile_takes_constants_in_tensors(logits, labels, shape):
    compiled = torch.compile(lambda z, y, **c: asymmetric_loss(z, y, **c), fullgraph=True, backend='aot_eager')
    for value in (2.0, 3.0):
        constants = dict(gamma_neg=torch.full(shape, value), clip=torch.full(shape, value / 20))
        agree(compiled(logits, labels, **constants), asymmetric_loss(logits, labels, **constants), logits)


def test_the_compile_backend_gives_the_same(logits, labels):
    for target in (labels, torch.randint(-1, 7, (16,))):
        arguments = dict(avg_factor=16, class_weight=torch.rand(6))
        agree(
            asymmetric_loss(logits, target, **arguments, backend='compile'),
            asymmetric_loss(logits, target, **arguments),
            logits,
        )
    with pytest.raises(ValueError, match='got 7 at row 0'):
        asymmetric_loss(logits, torch.full((16,), 7), backend='compile')


def test_a_named_backend_that_cannot_raises_with_the_reason(monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.delenv('TRITON_INTERPRET', raising=False)
        with pytest.raises(
            ValueError, match="backend: 'triton' cannot be used because .*; expected 'auto' or 'reference'"
        ):
            asymmetric_loss(torch.zeros(1, 2), torch.zeros(1, 2), backend='triton')
    with pytest.raises(ValueError, match="backend: 'cpu' cannot be used because pred is on meta"):
        asymmetric_loss(torch.zeros(1, 2, device='meta'), torch.zeros(1, 2, device='meta'), backend='cpu')


@st.composite
def problems(draw):
    """Logits, targets, weights and settings of all kinds, with memory layouts from a permuted and strided base."""
    rows, columns = draw(st.integers(0, 9)), draw(st.integers(1, 9))
    seed = draw(st.integers(0, 2**16))
    generator = torch.Generator().manual_seed(seed)
    dtype = draw(st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]))
    pred = 5 * torch.randn(2 * rows, columns + 1, generator=generator)
    layout = draw(st.sampled_from(['contiguous', 'strided', 'transposed']))
    pred = pred[::2, 1:] if layout == 'strided' else pred[:rows, :columns].contiguous()
    pred = (pred.t().contiguous().t() if layout == 'transposed' else pred).to(dtype)
    kinds = ['hard', 'soft', 'ignored', 'index']
    kind = draw(st.sampled_from(kinds if columns > 1 else kinds[:-1]))  # class indices of one class are refused
    target = torch.rand(rows, columns, generator=generator)
    if kind in ('hard', 'ignored'):
        target = (target < 0.3).long()
    if kind == 'ignored':
        target[torch.rand(rows, columns, generator=generator) < 0.3] = -1
    if kind == 'index':
        target = torch.randint(-1, columns + 1, (rows,), generator=generator)
    shapes = {'none': None, 'row': (rows,), 'element': (rows, columns), 'flat': (rows * columns,)}
    shape = shapes[draw(st.sampled_from(list(shapes)))]
    arguments = dict(
        weight=None if shape is None else torch.rand(shape, generator=generator),
        gamma_pos=draw(st.sampled_from([0, 0.5, 1, 2])),
        gamma_neg=draw(st.sampled_from([0, 0.3, 1, 2, 3, 4, 6.2])),
        clip=draw(st.sampled_from([None, 1e-6, 0.05, 0.3])),
        reduction=draw(st.sampled_from(['none', 'mean', 'sum'])),
        alpha=draw(st.sampled_from([None, 0.0, 0.25, 1.0])),
        class_weight=draw(st.sampled_from([None, torch.rand(columns, generator=generator)])),
        detach_focus=draw(st.booleans()),
    )
    if arguments['reduction'] == 'mean':
        arguments['avg_factor'] = draw(st.sampled_from([None, 3, 0.5, torch.tensor(7.0)]))
    return pred, target, arguments


@hypothesis.settings(max_examples=400, deadline=None, derandomize=True)
@hypothesis.given(problems())
def test_every_backend_agrees_with_the_reference(problem):
    pred, target, arguments = problem
    results = {}
    for backend in EXPLICIT:
        leaf = pred.detach().requires_grad_()
        loss = asymmetric_loss(leaf, target, **arguments, backend=backend)
        upstream = torch.rand(loss.shape, generator=torch.Generator().manual_seed(1)).to(loss.dtype)
        results[backend] = loss.detach(), torch.autograd.grad(loss, leaf, upstream)[0]
    expected_loss, expected_gradient = results.pop('reference')
    for loss, gradient in results.values():
        assert loss.dtype == expected_loss.dtype and gradient.dtype == pred.dtype
        assert_close(loss, expected_loss.double(), torch.promote_types(pred.dtype, torch.float32), 'loss')
        assert_close(gradient, expected_gradient.double(), pred.dtype, 'gradient')


BAD = {
    'shapes': (dict(target=torch.zeros(4, 2)), ValueError, r'target: expected .*\(4, 3\).*\(4,\).*got \(4, 2\)'),
    'index above C': (
        dict(target=torch.tensor([0, 1, 2, 4])),
        ValueError,
        r'lie in \[0, 3\] .* got 4 at row 3; is num_classes of the head',
    ),
    'index below -1': (dict(target=torch.tensor([0, -2, 2, 3])), ValueError, r'or be -1 .* got -2 at row 1'),
    'float index': (
        dict(target=torch.zeros(4)),
        TypeError,
        "class indices of an integer dtype .* got torch.float32; .* loss_cls.type='mmasl.AsymmetricQualityLoss'",
    ),
    'labels and scores': (
        dict(target=(torch.zeros(4).long(), torch.zeros(4))),
        TypeError,
        "got a tuple; .* needs loss_cls.type='mmasl.AsymmetricQualityLoss'",
    ),
    'label above 1': (
        dict(target=torch.full((4, 3), 1.5)),
        ValueError,
        r'lie in \[0, 1\] .* got 1.5 at row 0, column 0',
    ),
    'label below 0': (dict(target=torch.full((4, 3), -0.5)), ValueError, r'got -0.5 at row 0'),
    'integer label': (dict(target=torch.full((4, 3), 2)), ValueError, 'be 0 or 1 or be -1 .* got 2 at'),
    'nan label': (dict(target=torch.full((4, 3), torch.nan)), ValueError, 'got nan at row 0, column 0'),
    'no tensor': (dict(target=[0, 1, 2, 3]), TypeError, 'target: expected a tensor .* got list'),
    'negative gamma': (dict(gamma_neg=-1), ValueError, r'gamma_neg: expected a real number in \[0, inf\), got -1'),
    'nan gamma': (dict(gamma_pos=float('nan')), ValueError, 'gamma_pos: .* got nan'),
    'clip 1': (dict(clip=1), ValueError, r'clip: expected a real number in \[0, 1\), got 1'),
    'clip -0.1': (dict(clip=-0.1), ValueError, r'clip: .* got -0.1'),
    'clip 1e-40': (dict(clip=1e-40), ValueError, r'clip: expected 0 or a number in \[1e-30, 1\), got 1e-40'),
    'gamma shape': (
        dict(gamma_neg=torch.ones(4)),
        ValueError,
        r'gamma_neg: .* a class, shape \(3,\), got shape \(4,\)',
    ),
    'gamma dtype': (dict(gamma_neg=torch.tensor(4)), TypeError, 'gamma_neg: expected .* got a torch.int64 tensor'),
    'gamma device': (dict(gamma_neg=torch.ones(3, device='meta')), ValueError, 'device of pred, cpu, got meta'),
    'gamma gradient': (dict(gamma_neg=torch.ones(3, requires_grad=True)), ValueError, 'gamma_neg: .* detach it'),
    'gamma of a class': (
        dict(gamma_neg=torch.tensor([0.0, 4.0, -1.0])),
        ValueError,
        r'gamma_neg: .* \[0, inf\), got -1',
    ),
    'clip of a class': (dict(clip=torch.tensor([0.0, 0.5, 1.0])), ValueError, r'clip: .* in \[0, 1\), got 1'),
    'nan of a class': (dict(clip=torch.tensor([0.0, torch.nan, 0.0])), ValueError, 'clip: .* got nan'),
    'alpha': (dict(alpha=1.5), ValueError, r'alpha: expected a real number in \[0, 1\], got 1.5'),
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
    'flat pred': (dict(pred=torch.zeros(4)), ValueError, r'target: expected dense .* \(4,\) for .* got \(4, 3\)'),
    'number pred': (dict(pred=torch.tensor(0.0)), ValueError, r'pred: expected .* or \(N,\) of one class'),
    'weight': (dict(weight=torch.ones(3)), ValueError, r'weight: expected shape \(4,\) .* or \(12,\) .* got \(3,\)'),
    'class_weight': (dict(class_weight=torch.ones(4)), ValueError, r'class_weight: expected .*\(3,\).* got \(4,\)'),
    'backend': (dict(backend='cuda'), ValueError, r"backend: expected one of .* got 'cuda'"),
}


@pytest.mark.parametrize('change, error, text', BAD.values(), ids=BAD)
def test_bad_input(change, error, text):
    arguments = dict(pred=torch.zeros(4, 3), target=torch.zeros(4, 3)) | change
    with pytest.raises(error, match=text):
        asymmetric_loss(**arguments)


@pytest.mark.parametrize('number', [np.float32(4), np.int64(4), 4])
def test_numbers_of_numpy_are_numbers(logits, labels, number):
    loss = asymmetric_loss(logits, labels, gamma_neg=number, avg_factor=number)
    torch.testing.assert_close(loss, asymmetric_loss(logits, labels, gamma_neg=4.0, avg_factor=4.0))


@pytest.mark.parametrize('number', [True, '4', None])
def test_what_is_no_number_is_refused(logits, labels, number):
    asymmetric_loss(logits, labels, gamma_neg=1.0)  # equal to True, which a cache must not confuse
    with pytest.raises(ValueError, match='gamma_neg: expected a real number'):
        asymmetric_loss(logits, labels, gamma_neg=number)


def test_range_checks_can_be_switched_off():
    negative = torch.tensor(-1.0)
    assert asymmetric_loss(torch.zeros(1, 2), torch.zeros(1, 2), None, 0, negative, check_target_range=False).isfinite()
    assert asymmetric_loss(torch.zeros(1, 2), torch.full((1, 2), 1.5), check_target_range=False).isfinite()
