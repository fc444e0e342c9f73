"""What every backend of every family of losses promises about its gradients and what it keeps for them."""

import pytest
import torch

from mmasl.testing import TOLERANCE
from tests.test_ops.families import FAMILIES, backends_of, dtypes
from tests.test_ops.triton_device import quiet

pytestmark = quiet

run = backends_of(*FAMILIES)
faster = backends_of(*FAMILIES, but=('reference',))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_gradcheck(run):
    """The first and the second derivative, for each form of the target."""
    family = run.family
    pred = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    weight, class_weight = torch.rand(5), torch.rand(3)
    for asymmetry in (family.asymmetry, *family.with_exponents(2)[:2]):
        for target in list(family.targets(5, 3).values())[::2]:
            for reduce in (True, False):
                constants = (target, weight, class_weight, 0.5, asymmetry, reduce)
                assert torch.autograd.gradcheck(lambda z: run(z, *constants), pred)  # noqa: B023
                assert torch.autograd.gradgradcheck(lambda z: run(z, *constants), pred)  # noqa: B023


@pytest.mark.parametrize('scale', [None, 0.3, torch.tensor(0.3)], ids=['None', 'number', 'tensor'])
def test_a_second_derivative_is_that_of_the_reference(faster, scale):
    family, results = faster.family, []
    target = next(iter(family.targets(5, 3).values()))
    for op in (faster, family.op.reference):
        pred = torch.linspace(-3, 3, 15).reshape(5, 3).requires_grad_()
        loss = op(pred, target, None, None, scale, family.asymmetry, True)
        (gradient,) = torch.autograd.grad(loss, pred, create_graph=True)
        results.append(torch.autograd.grad(gradient.square().sum(), pred)[0])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize('gamma', [0.3, 1, 4])
def test_the_second_derivative_is_finite_in_the_tails(run, gamma):
    values = torch.tensor([-3e4, -100.0, -30.0, 0.0, 30.0, 100.0, 3e4])
    pred = torch.cartesian_prod(values, values).requires_grad_()
    for asymmetry in run.family.with_exponents(gamma):
        if getattr(asymmetry, 'clip', 0) == 1e-30:
            continue  # its square, by which the second derivative divides, is below the smallest float32
        for target in (torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])):
            loss = run(pred, target.expand_as(pred), asymmetry=asymmetry)
            (gradient,) = torch.autograd.grad(loss, pred, create_graph=True)
            (second,) = torch.autograd.grad(gradient.square().sum(), pred)
            assert second.isfinite().all(), asymmetry


@dtypes
@pytest.mark.parametrize('reduce, scale', [(True, 0.5), (True, None), (False, None)])
def test_backward_runs_twice_and_keeps_what_it_saved(run, dtype, reduce, scale):
    for target in list(run.family.targets(6, 5).values())[::2]:
        pred = torch.randn(6, 5).to(dtype).requires_grad_()
        loss = run(pred, target, scale=scale, reduce=reduce)
        ones = torch.ones_like(loss)
        (first,) = torch.autograd.grad(loss, pred, ones, retain_graph=True)
        first.mul_(100)  # the receiver may do as it likes with what it got
        loss.backward(ones, retain_graph=True)
        pred.grad.mul_(7)  # what clipping does in place
        loss.backward(ones, retain_graph=True)
        (scaled,) = torch.autograd.grad(loss, pred, 4 * ones, retain_graph=True)
        (again,) = torch.autograd.grad(loss, pred, ones)
        tolerance = dict(rtol=TOLERANCE[dtype], atol=1e-7)
        torch.testing.assert_close(scaled, 4 * again, **tolerance)
        torch.testing.assert_close(pred.grad, 8 * again, **tolerance)


def test_a_loss_changed_in_place_does_not_reach_backward(run):
    pred = torch.randn(6, 5, device=run.device, requires_grad=True)
    loss = run(pred, next(iter(run.family.targets(6, 5).values())), scale=None)
    (expected,) = torch.autograd.grad(loss, pred, retain_graph=True)
    loss *= 2
    torch.testing.assert_close(torch.autograd.grad(loss, pred)[0], 2 * expected)


def test_no_gradient_work_without_need(faster, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('autograd was entered')

    for module in ('analytic', 'triton_support'):
        monkeypatch.setattr(f'mmasl.ops.{module}._Loss.apply', refuse)
    pred = torch.randn(2, 3)
    for target in faster.family.targets(2, 3).values():
        assert not faster(pred.detach(), target).requires_grad
        with torch.no_grad():
            assert not faster(pred.requires_grad_(), target).requires_grad
    with pytest.raises(AssertionError, match='autograd was entered'):
        faster(pred, target)
