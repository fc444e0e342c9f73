"""Curves of loss and gradient against autograd of the public loss."""

import math

import numpy as np
import pytest
import torch

from mmasl import analysis, asymmetric_loss

GAMMA = (0, 0.3, 1, 2, 4, 6.2)
CLIP = (0, 1e-6, 0.05, 0.2, 0.7)
GRID = torch.linspace(0, 1, 20_001, dtype=torch.float64)


def by_autograd(p, positive, gamma, clip):
    """Loss and gradient by the logit of :func:`mmasl.asymmetric_loss` in float64."""
    z = torch.as_tensor(p, dtype=torch.float64).logit().unsqueeze(1).requires_grad_()
    target = torch.full_like(z, float(positive))
    loss = asymmetric_loss(z, target, None, gamma, gamma, clip, 'none', backend='reference')
    (gradient,) = torch.autograd.grad(loss.sum(), z)
    return loss.detach().squeeze(1), gradient.squeeze(1)


@pytest.mark.parametrize('gamma', GAMMA)
def test_positives_are_what_autograd_gives(gamma):
    p = torch.cat([GRID[1:-1:40], torch.tensor([1e-12, 1 - 1e-12], dtype=torch.float64)])
    loss, gradient = by_autograd(p, True, gamma, 0)
    torch.testing.assert_close(analysis.positive_loss(p, gamma), loss, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(analysis.positive_gradient(p, gamma), gradient, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize('clip', CLIP)
@pytest.mark.parametrize('gamma', GAMMA)
def test_negatives_are_what_autograd_gives(gamma, clip):
    p = torch.cat([GRID[13:-1:40], torch.tensor([1e-12, 1 - 1e-12, clip + 1e-3], dtype=torch.float64)])
    loss, gradient = by_autograd(p, False, gamma, clip)
    torch.testing.assert_close(analysis.negative_loss(p, gamma, clip), loss, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(analysis.negative_gradient(p, gamma, clip), gradient, rtol=1e-10, atol=1e-12)


def test_the_ends_of_the_curves():
    assert analysis.negative_loss(1, 2, 0) == math.inf and analysis.positive_loss(0, 2) == math.inf
    assert analysis.negative_loss(1, 2, 0.2) == pytest.approx(-0.64 * math.log(0.2))
    assert analysis.negative_gradient([0, 1], 0, 0).tolist() == [0, 1]
    assert analysis.negative_gradient([0, 0.2, 1], 0, 0.2).tolist() == [0, 0, 0]
    assert analysis.positive_gradient([0, 1], 2).tolist() == [-1, 0]


def test_arrays_and_numbers_of_any_shape():
    p = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    assert analysis.negative_gradient(p).shape == (2, 3)
    assert analysis.negative_loss(0.5).shape == () and analysis.negative_loss(0.5, clip=None).dtype == torch.float64


@pytest.mark.parametrize('constants', analysis.TABLE_1.values(), ids=analysis.TABLE_1)
def test_normalised_gradients_have_their_maximum_at_one(constants):
    curve = analysis.normalised_gradient(GRID, **constants)
    assert curve.max() == pytest.approx(1, abs=1e-7) and curve.min() == 0
    scale = analysis.negative_gradient(0.5, **constants) / curve[10_000]
    torch.testing.assert_close(curve * scale, analysis.negative_gradient(GRID, **constants))


@pytest.mark.parametrize(
    'call, text',
    [
        (lambda: analysis.negative_loss(1.5), r'p: expected probabilities in \[0, 1\], got 1.5'),
        (lambda: analysis.negative_gradient([0.5, math.nan]), 'p: .* got nan'),
        (lambda: analysis.positive_loss(-0.1), 'p: .* got -0.1'),
        (lambda: analysis.positive_gradient(0.5, -1), r'gamma_pos: expected a real number in \[0, inf\), got -1'),
        (lambda: analysis.negative_gradient(0.5, gamma_neg=-1), 'gamma_neg: .* got -1'),
    ],
)
def test_bad_input(call, text):
    with pytest.raises(ValueError, match=text):
        call()
