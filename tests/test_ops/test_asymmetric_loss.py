"""The sigmoid loss against the mpmath oracle of Eq. 7 and Eq. 8, and what it promises beyond the contracts of all."""

import sys

import pytest
import torch

from mmasl.ops.asymmetric_loss import OP, Asymmetry
from mmasl.ops.triton_support import common_kernels, triton_unavailable
from mmasl.testing import CLIP, GAMMA_NEG, GAMMA_POS, assert_close, exact_asymmetric_loss, logits
from tests.test_ops.families import SIGMOID, backends_of, dtypes, loss_and_gradient
from tests.test_ops.triton_device import DEVICE, gpu, quiet, use_triton

pytestmark = quiet
EXPONENTS = (*GAMMA_NEG, 3)

run = backends_of(SIGMOID)
vectorised = backends_of(SIGMOID, but=('triton',))


def check(run, pred, target, asymmetry):
    exact = exact_asymmetric_loss(pred, target, *asymmetry)
    loss, gradient = loss_and_gradient(run, pred, target, asymmetry, upstream=torch.ones(pred.shape))
    assert gradient.dtype == pred.dtype and loss.dtype == torch.promote_types(pred.dtype, torch.float32)
    for actual, value, what in zip((loss, gradient), exact, ('loss', 'gradient'), strict=True):
        assert_close(actual, value, pred.dtype, f'{what} of {asymmetry}')


@dtypes
@pytest.mark.parametrize('clip', CLIP)
@pytest.mark.parametrize('gamma', EXPONENTS)
def test_hard_labels_match_the_oracle(run, dtype, gamma, clip):
    """Negatives, positives and ignored labels in one tensor; each exponent for positives beside two for negatives."""
    pred = logits(clip, dtype).unsqueeze(1).repeat(1, 3)
    target = torch.tensor([0, 1, -1]).expand_as(pred)
    gamma_pos = GAMMA_POS[EXPONENTS.index(gamma) % len(GAMMA_POS)]
    check(run, pred, target, Asymmetry(gamma_pos, gamma, clip))
    check(run, pred, target.to(dtype), Asymmetry(gamma_pos, gamma, clip, detach_focus=True))


@dtypes
@pytest.mark.parametrize('clip', [0, 0.05])
@pytest.mark.parametrize('gamma', [0, 0.3, 1, 2, 4])
def test_soft_labels_alpha_and_ignored_match_the_oracle(run, dtype, gamma, clip):
    pred = logits(clip, dtype).unsqueeze(1).repeat(1, 5)
    target = torch.tensor([0.0, 0.25, 0.5, 1.0, -1.0]).expand_as(pred)
    check(run, pred, target, Asymmetry(1, gamma, clip, 0.25))


CLASSES = [(0.3, 0.05), (0, 1e-6), (1, 0.3), (4, 0.2), (6.2, 0), (0.3, 0), (2, 0)]


@dtypes
@pytest.mark.parametrize('tensors', ['gamma', 'clip', 'both', 'scalars', 'gamma without clip'])
def test_constants_in_tensors_match_the_oracle(run, dtype, tensors):
    wide = torch.promote_types(dtype, torch.float32)
    gamma, clip = torch.tensor(CLASSES if tensors != 'scalars' else CLASSES[:1] * 7).to(wide).unbind(1)
    # In float64 the margin is kept with an ulp of error, so that the logits next to it are left out there.
    near = clip.tolist() if 'gamma' not in tensors else [0.05] * 7
    columns = [logits(margin if wide == torch.float32 else 0, dtype) for margin in near]
    size = min(map(len, columns))
    pred = torch.stack([column[-size:] for column in columns], 1)  # the logits next to the margin come last
    if tensors == 'scalars':
        gamma, clip = gamma[0], clip[0]
    of_class = {
        'gamma': (gamma, 0.05), 'gamma without clip': (gamma, 0.0), 'clip': (torch.tensor(4.0).to(wide), clip),
    }.get(tensors, (gamma, clip))  # fmt: skip
    upstream = torch.rand(pred.shape)
    for labels in ([0], [1, 0, -1], [1.0, 0.25, 0.0, -1.0]):
        target = torch.tensor(labels).repeat(size)[:size, None].expand_as(pred)
        for detach_focus in (False, True):
            asymmetry = Asymmetry(1, *of_class, 0.3, detach_focus)
            results = loss_and_gradient(run, pred, target, asymmetry, upstream=upstream)
            for c in range(pred.shape[1]):
                constants = [v.reshape(-1)[c * v.dim()].item() if torch.is_tensor(v) else v for v in of_class]
                exact_loss, slope = exact_asymmetric_loss(pred[:, c], target[:, c], 1, *constants, 0.3, detach_focus)
                assert_close(results[0][:, c], exact_loss, dtype, f'loss of {constants}')
                assert_close(results[1][:, c], slope * upstream[:, c], dtype, f'gradient of {constants}')


@pytest.mark.parametrize('clip', [0.05, torch.full((1,), 0.05)], ids=['number', 'class'])
@pytest.mark.parametrize('active', [0.0, 0.05, 0.5, 1.0])
def test_any_number_of_negatives_above_the_margin(vectorised, clip, active):
    for size in (1, 7, 8, 15, 16, 17, 33, 2047, 2048, 2049, 4100):  # around the lengths of vectors and blocks
        generator = torch.Generator().manual_seed(size)
        pred = torch.randn(size, 1, generator=generator).abs()
        pred = torch.where(torch.rand(size, 1, generator=generator) < active, pred, -5 - pred).requires_grad_()
        target = (torch.rand(size, 1, generator=generator) < 0.1).float()
        constants = (target, None, None, 1.0, Asymmetry(0, 4, clip))
        for reduce in (True, False):
            loss, expected = (f(pred, *constants, reduce) for f in (vectorised, OP.reference))
            assert_close(loss.detach(), expected.detach().double(), torch.float32, f'loss of {size} logits')
            (actual,), (gradient,) = (torch.autograd.grad(x.sum(), pred) for x in (loss, expected))
            assert_close(actual, gradient.double(), torch.float32, f'gradient of {size} logits')


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_margins_of_zero_beside_others_in_several_blocks(vectorised, dtype):
    """Positives leave a block. In a class without a margin, what takes their places is no negative."""
    generator = torch.Generator().manual_seed(0)
    pred = torch.randn(4096, 2, generator=generator, dtype=dtype).abs()
    pred[0, 1] = -5  # one negative below its margin
    target = torch.ones(4096, 2)
    target[0] = 0
    constants = (target, None, None, 1.0, Asymmetry(0, 4, torch.tensor([0.0, 0.5], dtype=dtype)), True)
    leaf = pred.requires_grad_()
    loss, expected = (f(leaf, *constants) for f in (vectorised, OP.reference))
    assert_close(loss.detach(), expected.detach().double(), dtype, 'loss')
    (actual,), (gradient,) = (torch.autograd.grad(x, leaf) for x in (loss, expected))
    assert_close(actual, gradient.double(), dtype, 'gradient')


@pytest.mark.parametrize('label', [0, 1])
@pytest.mark.parametrize('clip', [torch.tensor(0.05), torch.tensor([0.05, 0.0])], ids=['one', 'of each class'])
def test_a_nan_logit_shows_where_constants_are_tensors(run, clip, label):
    for gamma_neg in (0.5, 2.0):
        constants = Asymmetry(gamma_neg=gamma_neg, clip=clip)
        loss, gradient = loss_and_gradient(run, torch.full((3, 2), torch.nan), torch.full((3, 2), label), constants)
        assert loss.isnan() and gradient.isnan().all()


@gpu
def test_what_the_kernels_cannot_take_is_refused_with_the_reason(monkeypatch):
    use_triton()
    pred, constants = torch.zeros(2, 3, device=DEVICE), (None, None, 1.0, Asymmetry(), True)
    with pytest.raises(ValueError, match='cannot be used because pred is float64'):
        OP.triton(pred.double(), torch.zeros(2, 3, device=DEVICE), *constants)
    monkeypatch.setitem(sys.modules, 'mmasl.ops.triton_math', None)
    monkeypatch.delattr('mmasl.ops.triton_math', raising=False)
    common_kernels.cache_clear()
    assert 'triton cannot be imported' in triton_unavailable(pred)
    common_kernels.cache_clear()
