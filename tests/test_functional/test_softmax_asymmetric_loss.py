"""The public single-label function beyond the contracts of all losses: identities with other losses, bad input."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from timm.loss.asymmetric_loss import AsymmetricLossSingleLabel

from mmasl import softmax_asymmetric_loss
from tests.test_ops.families import agree, reductions
from tests.test_ops.triton_device import quiet

pytestmark = quiet


@pytest.fixture
def labels():
    return torch.arange(16) % 6


@pytest.fixture
def mixed(labels):
    """Scores as mixup leaves them."""
    return 0.7 * F.one_hot(labels, 6) + 0.3 * F.one_hot(labels.flip(0), 6)


@pytest.mark.parametrize('gammas', [(0, 4), (1, 4), (2, 1), (0.5, 0.5), (0, 0)])
@pytest.mark.parametrize('label_smoothing', [0, 0.1, 0.5])
def test_agrees_with_timm_gradient_included(logits, labels, backend, gammas, label_smoothing):
    """timm differentiates the focusing weights; so does the default here."""
    theirs = AsymmetricLossSingleLabel(*gammas, label_smoothing)(logits, labels)
    agree(softmax_asymmetric_loss(logits, labels, None, *gammas, label_smoothing, backend=backend), theirs, logits)


@reductions
def test_without_smoothing_and_gamma_pos_it_is_cross_entropy(logits, labels, mixed, backend, reduction):
    for target in (labels, mixed):
        ours = softmax_asymmetric_loss(logits, target, label_smoothing=0, reduction=reduction, backend=backend)
        agree(ours, F.cross_entropy(logits, target, reduction=reduction), logits)


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


def test_a_soft_label_mixes_the_losses_of_the_hard_ones(logits, labels, mixed, backend):
    one, other = (
        softmax_asymmetric_loss(logits, target, None, 1, 4, 0.1, 'none', backend=backend)
        for target in (labels, labels.flip(0))
    )
    ours = softmax_asymmetric_loss(logits, mixed, None, 1, 4, 0.1, 'none', backend=backend)
    agree(ours, 0.7 * one + 0.3 * other, logits)


def test_detach_focus_holds_the_weights(logits, labels, backend):
    p = logits.softmax(1)
    hot = F.one_hot(labels, 6)
    focus = torch.where(hot == 1, (1 - p) ** 2, p**3).detach()
    theirs = -((0.9 * hot + 0.1 / 6) * focus * p.log()).sum(1)
    ours = softmax_asymmetric_loss(logits, labels, None, 2, 3, 0.1, 'none', detach_focus=True, backend=backend)
    agree(ours, theirs, logits, rtol=1e-4)


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


def test_a_target_that_requires_grad_gets_one_from_auto_and_an_error_from_the_cpu_backend(logits):
    target = logits.detach().softmax(1).requires_grad_()
    softmax_asymmetric_loss(logits, target, label_smoothing=0, reduction='sum').backward()
    torch.testing.assert_close(target.grad, -logits.detach().log_softmax(1))
    with pytest.raises(ValueError, match='requires grad, which only the reference differentiates'):
        softmax_asymmetric_loss(logits, target, backend='cpu')


def row(*values):
    return torch.tensor([[0.0, 0.0, 1.0]] * 3 + [list(values)])


BAD = {
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
    'uint8 index': (
        dict(target=torch.tensor([0, 255, 2, 1], dtype=torch.uint8)),
        ValueError,
        'got 255 at row 1; ignore_index=255',
    ),
    'two labels': (dict(target=row(1, 1, 0)), ValueError, r'must sum to 1 \(asymmetric_loss .* got 2 at row 3'),
    'no label': (dict(target=row(0, 0, 0)), ValueError, 'row, along the last axis, must sum to 1 .* got 0 at row 3'),
    'label above 1': (dict(target=row(1.5, 0, 0)), ValueError, r'lie in \[0, 1\], or fill .* got 1.5 at row 3'),
    'label below 0': (dict(target=row(0, 1.5, -0.5)), ValueError, 'got 1.5 at row 3'),
    'one label ignored': (dict(target=row(1, -1, 0)), ValueError, 'fill their row with -1 .* got -1 at row 3'),
    'smoothing': (dict(label_smoothing=1.1), ValueError, r'label_smoothing: .* in \[0, 1\], got 1.1'),
    'ignore_index kind': (dict(ignore_index=None), TypeError, 'ignore_index: expected an integer .* got None'),
    'flat pred': (dict(pred=torch.zeros(4)), ValueError, r'pred: expected .* for two classes or more, got \(4,\)'),
    'weight': (dict(weight=torch.ones(4, 3)), ValueError, r'weight for each row, of shape \(4,\), .* got \(4, 3\)'),
}


@pytest.mark.parametrize('change, error, text', BAD.values(), ids=BAD)
def test_bad_input(change, error, text):
    arguments = dict(pred=torch.zeros(4, 3), target=torch.tensor([0, 1, 2, -1])) | change
    with pytest.raises(error, match=text):
        softmax_asymmetric_loss(**arguments)
