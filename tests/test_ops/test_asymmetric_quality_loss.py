"""The quality loss against the mpmath oracle, and what it promises beyond the contracts of all losses."""

import pytest
import torch

from mmasl.ops.asymmetric_quality_loss import QualityAsymmetry
from mmasl.testing import GAMMA_POS, assert_close, exact_asymmetric_quality_loss, logits
from tests.test_ops.families import QUALITY, backends_of, dtypes, loss_and_gradient
from tests.test_ops.triton_device import quiet

pytestmark = quiet
SCORES = (0.0, 0.03125, 0.25, 0.5, 0.75, 0.984375, 1.0, -1.0)  # float16 holds them all

run = backends_of(QUALITY)


def by_class(scores):
    """The tuple (labels, scores) of dense ``scores`` (N, 1)."""
    labels = torch.where(scores > 0, 0, torch.where(scores == -1, -1, 1)).squeeze(1)
    return labels, scores.squeeze(1)


@dtypes
@pytest.mark.parametrize('gamma', (*GAMMA_POS, 1.5))
def test_every_quality_matches_the_oracle(run, dtype, gamma):
    """Negatives and ignored entries among them, both forms of the target, with and without the quality as a weight."""
    asymmetry = QualityAsymmetry(gamma, 2.0, 0.05, 0.75, iou_weighted=gamma in (0, 2))
    for score in SCORES:
        pred = logits(0.05, dtype).unsqueeze(1)
        target = torch.full(pred.shape, score)
        exact_loss, exact_gradient = exact_asymmetric_quality_loss(pred, target, *asymmetry)
        for form in (target, by_class(target)):
            loss, gradient = loss_and_gradient(run, pred, form, asymmetry, upstream=torch.ones(pred.shape))
            assert gradient.dtype == dtype and loss.dtype == torch.promote_types(dtype, torch.float32)
            assert_close(loss, exact_loss, dtype, f'loss at {score}')
            assert_close(gradient, exact_gradient, dtype, f'gradient at {score}')


def test_a_positive_that_predicts_its_quality_has_no_gradient(run):
    pred, target = torch.zeros(1, 1), torch.full((1, 1), 0.5)  # p = y exactly, a cusp for exponents up to 1
    for gamma in GAMMA_POS:
        loss, gradient = loss_and_gradient(run, pred, target, QualityAsymmetry(gamma))
        assert gradient.item() == 0 and (loss.item() == 0) == (gamma > 0)
