"""The public function beyond the contracts of all losses: identities with other losses, constants in tensors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from timm.loss import AsymmetricLossMultiLabel
from torchvision.ops import sigmoid_focal_loss

from mmasl import asymmetric_loss
from tests.test_ops.families import agree, reductions
from tests.test_ops.triton_device import quiet

pytestmark = quiet


@pytest.fixture
def labels():
    torch.manual_seed(1)
    return (torch.rand(16, 6) < 0.3).float()


@reductions
def test_without_focus_and_margin_it_is_binary_cross_entropy(logits, labels, backend, reduction):
    soft = labels * 0.8 + 0.1
    for target in (labels, soft):
        ours = asymmetric_loss(logits, target, None, 0, 0, None, reduction, backend=backend)
        agree(ours, F.binary_cross_entropy_with_logits(logits, target, reduction=reduction), logits)


@reductions
@pytest.mark.parametrize('gamma', [0.5, 1, 2, 3])
def test_with_equal_exponents_and_no_margin_it_is_focal_loss(logits, labels, backend, reduction, gamma):
    for alpha in (None, 0.25, 0.9):
        ours = asymmetric_loss(logits, labels, None, gamma, gamma, 0, reduction, alpha=alpha, backend=backend)
        theirs = sigmoid_focal_loss(logits, labels, -1 if alpha is None else alpha, gamma, reduction)
        agree(ours, theirs, logits)


@pytest.mark.parametrize('gammas', [(0, 4), (1, 4), (1, 2), (0.5, 0.5)])
@pytest.mark.parametrize('clip', [0, 0.05, 0.3])
def test_agrees_with_timm_on_hard_labels(logits, labels, backend, gammas, clip):
    """Away from timm's clamp at 1e-8, which these logits keep; timm detaches the weights and averages over rows."""
    gamma_pos, gamma_neg = gammas
    theirs = AsymmetricLossMultiLabel(gamma_neg, gamma_pos, clip, disable_torch_grad_focal_loss=True)
    ours = asymmetric_loss(logits, labels, None, *gammas, clip, avg_factor=16, detach_focus=True, backend=backend)
    agree(ours, theirs(logits, labels), logits, rtol=1e-3, atol=1e-5)  # its 1 - p loses digits


@reductions
def test_agrees_with_mmpretrain_on_hard_labels(logits, labels, backend, reduction):
    losses = pytest.importorskip('mmpretrain.models.losses.asymmetric_loss')
    if backend == 'triton':
        pytest.skip('the kernels do not compute in float64')
    weight, wide = torch.rand(16), logits.double()
    for clip in (None, 0, 0.05, 0.3):
        constants = dict(gamma_pos=1, gamma_neg=4, clip=clip, reduction=reduction)
        ours = asymmetric_loss(wide, labels, weight, **constants, backend=backend)
        agree(ours, losses.asymmetric_loss(wide, labels, weight, **constants), wide)


def test_detach_focus_is_the_gradient_of_the_authors_script(logits, labels, backend):
    weight_of = labels * (1 - logits.sigmoid()) + (1 - labels) * (logits.sigmoid() - 0.05).clamp(min=0) ** 4
    log = labels * logits.sigmoid().log() + (1 - labels) * (1 - (logits.sigmoid() - 0.05).clamp(min=0)).log()
    ours = asymmetric_loss(logits, labels, None, 1, 4, 0.05, 'none', detach_focus=True, backend=backend)
    agree(ours, -weight_of.detach() * log, logits, rtol=1e-4)


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


def test_each_class_has_its_own_constants(logits, labels, backend):
    gamma, clip = torch.tensor([0.0, 1.0, 2.0, 4.0, 5.5, 0.3]), torch.tensor([0.0, 0.05, 0.1, 0.2, 1e-40, 0.3])
    ours = asymmetric_loss(logits, labels, gamma_neg=gamma, clip=clip, reduction='none', backend=backend)
    for c, (g, m) in enumerate(zip(gamma.tolist(), [0.0, 0.05, 0.1, 0.2, 0.0, 0.3], strict=True)):
        column = asymmetric_loss(logits[:, c : c + 1], labels[:, c : c + 1], None, 0, g, m, 'none', backend=backend)
        agree(ours[:, c : c + 1], column, logits)


@pytest.mark.parametrize('shape', [(), (6,)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
def test_a_constant_that_changes_after_the_forward_pass_does_not_reach_backward(labels, backend, shape, dtype):
    pred, gamma = torch.randn(16, 6).to(dtype).requires_grad_(), torch.full(shape, 2.0)
    losses = [asymmetric_loss(pred, labels, gamma_neg=value, backend=backend) for value in (gamma, 2.0)]
    gamma.fill_(5)
    torch.testing.assert_close(*(torch.autograd.grad(loss, pred)[0] for loss in losses))


def test_soft_labels_mix_outside_the_logarithm(backend):
    pred = torch.tensor([[-1.0, 0.5, 2.0]], requires_grad=True)
    half = torch.full((1, 3), 0.5)
    positive, negative = (
        asymmetric_loss(pred, torch.full((1, 3), v), reduction='none', backend=backend) for v in (1.0, 0.0)
    )
    mixed = asymmetric_loss(pred, half, reduction='none', backend=backend)
    agree(mixed, (positive + negative) / 2, pred)
    assert torch.autograd.grad(mixed.sum(), pred)[0].abs().min() > 0.01  # MMPretrain's is zero here


def test_a_column_of_integers_is_class_indices_unless_there_is_one_class(backend):
    pred = torch.tensor([[1.0, -1.0], [0.5, 2.0]])
    column = torch.tensor([[1], [2]])
    torch.testing.assert_close(
        asymmetric_loss(pred, column, backend=backend), asymmetric_loss(pred, torch.tensor([[0, 1], [0, 0]]))
    )
    single = asymmetric_loss(pred[:, :1], torch.tensor([[1], [0]]), reduction='none', backend=backend)
    assert single[0] == pytest.approx(-F.logsigmoid(torch.tensor(1.0)).item())


@pytest.mark.parametrize('shape', [(), (6,)])
def test_torch_compile_takes_constants_in_tensors(logits, labels, shape):
    compiled = torch.compile(lambda z, y, **c: asymmetric_loss(z, y, **c), fullgraph=True, backend='aot_eager')
    for value in (2.0, 3.0):
        constants = dict(gamma_neg=torch.full(shape, value), clip=torch.full(shape, value / 20))
        agree(compiled(logits, labels, **constants), asymmetric_loss(logits, labels, **constants), logits)


BAD = {
    'index above C': (
        dict(target=torch.tensor([0, 1, 2, 4])),
        ValueError,
        r'lie in \[0, 3\] .* got 4 at row 3; is num_classes of the head',
    ),
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
    'integer label': (dict(target=torch.full((4, 3), 2)), ValueError, 'be 0 or 1 or be -1 .* got 2 at'),
    'nan label': (dict(target=torch.full((4, 3), torch.nan)), ValueError, 'got nan at row 0, column 0'),
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
    'flat pred': (dict(pred=torch.zeros(4)), ValueError, r'target: expected dense .* \(4,\) for .* got \(4, 3\)'),
    'number pred': (dict(pred=torch.tensor(0.0)), ValueError, r'pred: expected .* or \(N,\) of one class'),
    'weight': (dict(weight=torch.ones(3)), ValueError, r'weight: expected shape \(4,\) .* or \(12,\) .* got \(3,\)'),
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


def test_checks_of_constants_in_tensors_can_be_switched_off():
    negative = torch.tensor(-1.0)
    assert asymmetric_loss(torch.zeros(1, 2), torch.zeros(1, 2), None, 0, negative, check_target_range=False).isfinite()
