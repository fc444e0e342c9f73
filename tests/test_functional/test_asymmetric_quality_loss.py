"""The public function: equal to the losses it generalises, both forms of the target, conventions, bad input."""

import pytest
import torch

from mmasl import asymmetric_loss, asymmetric_quality_loss
from tests.test_ops.families import agree, reductions
from tests.test_ops.triton_device import quiet

pytestmark = quiet


@pytest.fixture
def target():
    """(labels, scores): half of the rows are background, and one positive has no quality at all."""
    torch.manual_seed(1)
    labels = torch.where(torch.rand(16) < 0.5, torch.randint(6, (16,)), 6)
    scores = torch.rand(16) * (labels < 6)
    scores[(labels < 6).nonzero()[0]] = 0
    return labels, scores


def dense(target, classes=6):
    labels, scores = target
    return (labels[:, None] == torch.arange(classes)) * scores[:, None]


@reductions
@pytest.mark.parametrize('beta', [0.5, 1.0, 2.0])
def test_with_equal_exponents_and_no_margin_it_is_quality_focal_loss(logits, target, backend, reduction, beta):
    upstream = pytest.importorskip('mmdet.models.losses').QualityFocalLoss(beta=beta, reduction=reduction)
    weight = torch.rand(16)
    for form in (target, dense(target)):
        ours = asymmetric_quality_loss(logits, form, weight, beta, beta, 0, reduction, backend=backend)
        ours = ours.sum(1) if reduction == 'none' else 6 * ours if reduction == 'mean' else ours  # it counts rows
        agree(ours, upstream(logits, form, weight), logits)
    if reduction == 'mean':
        ours = asymmetric_quality_loss(logits, target, weight, beta, beta, 0, avg_factor=7, backend=backend)
        agree(ours, upstream(logits, target, weight, avg_factor=7), logits)


@reductions
@pytest.mark.parametrize('iou_weighted', [True, False])
def test_without_exponent_and_margin_it_is_varifocal_loss(logits, target, backend, reduction, iou_weighted):
    losses = pytest.importorskip('mmdet.models.losses')
    for alpha, gamma in ((0.75, 2.0), (1.5, 1.0)):
        upstream = losses.VarifocalLoss(alpha=alpha, gamma=gamma, iou_weighted=iou_weighted, reduction=reduction)
        constants = dict(alpha=alpha, iou_weighted=iou_weighted, reduction=reduction)
        for form in (target, dense(target)):
            ours = asymmetric_quality_loss(logits, form, None, 0, gamma, 0, **constants, backend=backend)
            agree(ours, upstream(logits, dense(target)), logits)


def test_without_any_exponent_it_is_binary_cross_entropy(logits, target, backend):
    ours = asymmetric_quality_loss(logits, target, None, 0, 0, None, backend=backend)
    agree(ours, torch.nn.functional.binary_cross_entropy_with_logits(logits, dense(target)), logits)


@pytest.mark.parametrize('gammas', [(0, 4, 0.05), (1, 2, 0), (2, 0.5, 0.3)])
def test_with_qualities_of_0_and_1_it_is_the_asymmetric_loss(logits, target, backend, gammas):
    labels = target[0]
    expected = asymmetric_loss(logits, labels, None, *gammas)
    for form in (labels, (labels, torch.ones(16)), dense((labels, torch.ones(16)))):
        agree(asymmetric_quality_loss(logits, form, None, *gammas, backend=backend), expected, logits)


def test_its_minimum_lies_at_the_quality_and_that_of_soft_labels_elsewhere():
    """The table of the op's README: where p ends up for one soft target."""
    p = torch.linspace(0.0005, 0.9995, 1999, dtype=torch.float64).unsqueeze(1)
    for quality, of_soft_label in ((0.25, 0.573), (0.5, 0.684), (0.75, 0.805)):
        soft = torch.full_like(p, quality)
        for gamma, weighted in ((0, True), (0, False), (0.5, False), (2, False)):
            loss = asymmetric_quality_loss(
                p.logit(), soft, None, gamma, iou_weighted=weighted, reduction='none', backend='reference'
            )
            assert p[loss.argmin()].item() == pytest.approx(quality, abs=5e-4)
        best = p[asymmetric_loss(p.logit(), soft, reduction='none').argmin()].item()
        assert best == pytest.approx(of_soft_label, abs=1e-3)


def test_scores_that_require_grad_get_one_from_auto(logits, target):
    labels, scores = target
    scores = scores.requires_grad_()
    asymmetric_quality_loss(logits, (labels, scores)).backward()
    assert scores.grad[(labels < 6) & (scores > 0)].abs().min() > 0
    with pytest.raises(ValueError, match='requires grad, which only the reference differentiates'):
        asymmetric_quality_loss(logits, (labels, scores), backend='cpu')


LABELS = torch.tensor([0, 1, 2, 3])
BAD = {
    'labels alone': (dict(target=(LABELS,)), TypeError, r'expected dense scores or a tuple \(labels, scores\), got'),
    'shape of labels': (dict(target=(LABELS[:3], torch.ones(4))), ValueError, r'labels of shape \(4,\) .* got \(3,\)'),
    'shape of scores': (dict(target=(LABELS, torch.ones(3))), ValueError, r'scores of shape \(4,\) on cpu, got \(3,\)'),
    'integer scores': (dict(target=(LABELS, LABELS)), TypeError, 'scores of a floating dtype .* got torch.int64'),
    'float labels': (dict(target=(LABELS.float(), torch.ones(4))), TypeError, 'class indices of an integer dtype'),
    'a score above 1': (
        dict(target=(LABELS, torch.tensor([0, 0.5, 1.5, 1]))),
        ValueError,
        r'scores must lie in \[0, 1\], got 1.5 at row 2',
    ),
    'a nan score': (dict(target=(LABELS, torch.full((4,), torch.nan))), ValueError, 'got nan at row 0'),
    'an index above C': (dict(target=(LABELS + 1, torch.ones(4))), ValueError, r'lie in \[0, 3\] .* got 4 at row 3'),
    'a dense score above 1': (dict(target=torch.full((4, 3), 1.5)), ValueError, 'got 1.5 at row 0, column 0'),
    'negative alpha': (dict(alpha=-1), ValueError, r'alpha: expected a real number in \[0, inf\), got -1'),
}


@pytest.mark.parametrize('change, error, text', BAD.values(), ids=BAD)
def test_bad_input(change, error, text):
    arguments = dict(pred=torch.zeros(4, 3), target=(LABELS, torch.ones(4))) | change
    with pytest.raises(error, match=text):
        asymmetric_quality_loss(**arguments)


def test_the_score_of_an_ignored_row_is_not_looked_at():
    assert asymmetric_quality_loss(torch.zeros(1, 2), (torch.tensor([-1]), torch.tensor([torch.nan]))) == 0
