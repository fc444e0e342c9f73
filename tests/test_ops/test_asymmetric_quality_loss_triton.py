"""The quality loss over Triton's negative side against the oracle: on a GPU, or on the CPU in Triton's interpreter."""

import pytest
import torch

from mmasl.ops.asymmetric_quality_loss import OP, QualityAsymmetry, asymmetric_quality_loss_reference
from mmasl.testing import assert_close
from tests.test_ops.test_asymmetric_loss_triton import DEVICE, dtypes, pytestmark, triton  # noqa: F401


@dtypes
@pytest.mark.parametrize('reduce', [True, False])
def test_it_is_the_reference(dtype, reduce):
    torch.manual_seed(0)
    pred = (3 * torch.randn(65, 12)).to(dtype)
    labels = torch.where(torch.rand(65) < 0.3, torch.randint(-1, 12, (65,)), 12)
    scores = torch.rand(65) * (labels < 12)
    dense = torch.zeros(65, 12)
    positive = (labels >= 0) & (labels < 12)
    dense[positive, labels[positive]] = scores[positive]
    dense[labels == -1] = -1
    asymmetry = QualityAsymmetry(1.5, 2, 0.05, 0.75, iou_weighted=True)
    for target in ((labels, scores), dense):
        results = []
        for run, device, wide in (
            (OP.triton, DEVICE, dtype),
            (asymmetric_quality_loss_reference, 'cpu', torch.float64),
        ):
            leaf = pred.to(device, wide).requires_grad_()
            on_device = tuple(x.to(device) for x in target) if isinstance(target, tuple) else target.to(device)
            weights = torch.arange(65.0, device=device) / 65, torch.arange(12.0, device=device)
            loss = run(leaf, on_device, *weights, None, asymmetry, reduce)
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
            results.append((loss.detach().cpu(), gradient.cpu()))
        (loss, gradient), (exact_loss, exact_gradient) = results
        assert_close(loss, exact_loss, torch.float32, 'loss')
        assert_close(gradient, exact_gradient, dtype, 'gradient')
