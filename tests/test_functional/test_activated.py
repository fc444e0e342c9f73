"""``activated=True``: probabilities in place of logits, for both sigmoid losses."""

import pytest
import torch

from mmasl import asymmetric_loss, asymmetric_quality_loss
from mmasl.compat import nextafter
from mmasl.models.losses import AdaptiveAsymmetricLoss
from mmasl.testing import GAMMA_NEG, GAMMA_POS, assert_close, exact_asymmetric_loss, exact_asymmetric_quality_loss
from tests.test_ops.families import agree, dtypes

backends = pytest.mark.parametrize('backend', ['reference', 'plain', 'cpu'])


def probabilities(dtype):
    """Numbers in (0, 1): evenly spread, next to 0 and 1, and to both sides of the margin 0.05."""
    info = torch.finfo(dtype)
    ends = torch.tensor([1e-11, 1e-6, 1e-3], dtype=torch.float64).clamp(min=info.tiny)
    margin = torch.tensor(0.05, dtype=dtype)
    near = [nextafter(margin, end) for end in (0.0, 1.0)]
    spread = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    one = torch.tensor([1 - info.eps / 2], dtype=dtype)
    return torch.cat([spread.to(dtype), ends.to(dtype), torch.stack(near), one]).unsqueeze(1)


def check(function, exact, p, target, dtype, **constants):
    p = p.requires_grad_()
    loss = function(p, target, reduction='none', activated=True, **constants)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    (gradient,) = torch.autograd.grad(loss.sum(), p)
    constants.pop('backend')
    exact_loss, exact_gradient = exact(p.detach(), target, **constants, activated=True)
    assert_close(loss.detach(), exact_loss, dtype, f'loss of {constants}')
    # By the size of what is compared: the derivative by p is 1/p where p is small.
    size = exact_gradient.abs().clamp(min=1)
    assert gradient.dtype == dtype
    assert_close(gradient / size, exact_gradient / size, dtype, f'gradient of {constants}')


@backends
@dtypes
def test_the_asymmetric_loss_matches_the_oracle(backend, dtype):
    p = probabilities(dtype)
    for gamma in GAMMA_POS:
        check(asymmetric_loss, exact_asymmetric_loss, p, torch.ones_like(p), dtype, gamma_pos=gamma, backend=backend)
    for gamma in GAMMA_NEG:
        for clip in (0, 0.05):
            if dtype == torch.float64 and 0 < gamma < 1 and clip:
                continue  # p - m has one digit left an ulp from the margin, and the logit none more
            check(
                asymmetric_loss,
                exact_asymmetric_loss,
                p,
                torch.zeros_like(p),
                dtype,
                gamma_neg=gamma,
                clip=clip,
                backend=backend,
            )


@backends
@dtypes
def test_the_quality_loss_matches_the_oracle(backend, dtype):
    p = probabilities(dtype)
    for score in (0.0, 0.26, 1.0):
        for gamma in (0, 1, 2):
            target = torch.full_like(p, score)
            check(
                asymmetric_quality_loss,
                exact_asymmetric_quality_loss,
                p,
                target,
                dtype,
                gamma_pos=gamma,
                backend=backend,
            )


@backends
@dtypes
@pytest.mark.parametrize('function', [asymmetric_loss, asymmetric_quality_loss])
def test_exactly_0_and_1_have_a_finite_loss_and_gradient(function, dtype, backend):
    p = torch.tensor([[0.0, 1.0, torch.finfo(dtype).smallest_normal]], dtype=dtype, requires_grad=True)
    for gamma in (0, 0.5, 2):
        for clip in (0, 0.05):
            for label in (0.0, 0.5, 1.0):
                loss = function(
                    p,
                    torch.full((1, 3), label),
                    None,
                    gamma,
                    gamma,
                    clip,
                    'none',
                    activated=True,
                    backend=backend,
                )
                (gradient,) = torch.autograd.grad(loss.sum(), p)
                assert loss.isfinite().all() and gradient.isfinite().all(), (gamma, clip, label)
    # A positive at p = 0 and a negative at p = 1 are not given up.
    loss = function(p, torch.tensor([[1, 0, 1]]), None, 0, 0, 0, activated=True, backend=backend)
    (gradient,) = torch.autograd.grad(loss, p)
    assert gradient[0, 0] < -1 and gradient[0, 1] > 1


def test_it_is_the_loss_of_the_logits():
    torch.manual_seed(0)
    z = torch.randn(8, 5, requires_grad=True)
    labels = torch.randint(-1, 6, (8,))
    weight = torch.rand(8)
    for function, target in ((asymmetric_loss, labels), (asymmetric_quality_loss, (labels, torch.rand(8)))):
        ours = function(z.sigmoid(), target, weight, avg_factor=3, activated=True)
        agree(ours, function(z, target, weight, avg_factor=3), z)


@pytest.mark.parametrize('gamma, alpha', [(2.0, 0.25), (1.0, 0.5)])
def test_it_equals_the_losses_of_mmdetection(gamma, alpha):
    losses = pytest.importorskip('mmdet.models.losses')
    torch.manual_seed(0)
    p = torch.rand(16, 5).requires_grad_()
    labels, weight = torch.randint(0, 6, (16,)), torch.rand(16)
    scores = torch.rand(16) * (labels < 5)
    focal = losses.FocalLoss(gamma=gamma, alpha=alpha, activated=True)
    ours = asymmetric_loss(p, labels, weight, gamma, gamma, 0, avg_factor=3, alpha=alpha, activated=True)
    agree(ours, focal(p, labels, weight, avg_factor=3), p)
    quality = losses.QualityFocalLoss(beta=gamma, activated=True)
    ours = asymmetric_quality_loss(p, (labels, scores), weight, gamma, gamma, 0, avg_factor=3, activated=True)
    agree(ours, quality(p, (labels, scores), weight, avg_factor=3), p)


def test_second_derivative():
    p = torch.rand(4, 3, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_()
    labels = torch.tensor([0, 3, 2, -1])
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda x: asymmetric_loss(x, labels, None, 1, 2, avg_factor=2, activated=True), p)


def test_with_constants_in_tensors():
    torch.manual_seed(0)
    p, labels = torch.rand(8, 3).requires_grad_(), torch.randint(0, 4, (8,))
    ours = asymmetric_loss(p, labels, None, 1, torch.tensor(2.0), torch.tensor([0.0, 0.05, 0.1]), activated=True)
    columns = [
        asymmetric_loss(p, labels, None, 1, 2, clip, 'none', activated=True)[:, c]
        for c, clip in enumerate((0, 0.05, 0.1))
    ]
    agree(ours, torch.stack(columns).mean(), p)


def test_the_probability_gap_of_adaptive_asymmetry():
    torch.manual_seed(0)
    z, labels = torch.randn(16, 3).requires_grad_(), torch.randint(0, 4, (16,))
    losses = [AdaptiveAsymmetricLoss(activated=activated, total_steps=9) for activated in (False, True)]
    for loss, pred in zip(losses, (z, z.sigmoid()), strict=True):
        loss(pred, labels).backward()
    torch.testing.assert_close(losses[1].delta_p, losses[0].delta_p)
    assert losses[0].delta_p != 0


def test_under_autocast():
    p = torch.rand(4, 3).requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = asymmetric_loss(p, torch.tensor([0, 3, 2, 1]), activated=True)
    assert loss.dtype == torch.float32 and loss > 0


@pytest.mark.parametrize('function', [asymmetric_loss, asymmetric_quality_loss])
def test_logits_are_refused_where_probabilities_are_promised(function):
    target = torch.zeros(2, 3)
    for value in (-0.5, 1.5):
        with pytest.raises(ValueError, match=rf'probabilities in \[0, 1\], .* got {value}; .* needs activated=False'):
            function(torch.full((2, 3), value), target, activated=True)
    assert function(torch.full((2, 3), 0.5), target, activated=True, check_target_range=False) > 0
    assert function(torch.full((2, 3), torch.nan), 1 - target, activated=True).isnan()  # as from logits
    assert function(torch.zeros(0, 3), torch.zeros(0, 3), activated=True) == 0
