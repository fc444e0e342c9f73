"""The warning of a schedule that is over before the training is."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import ConstantLR, CosineAnnealingLR, LinearLR, MultiStepLR, OneCycleLR, PolyLR, StepLR

from mmasl.engine.check_schedule import early_end
from mmasl.engine.hooks import CheckModelHook
from mmasl.engine.schedulers import OneCycleMomentum

WARM_UP = (LinearLR, dict(start_factor=0.1, by_epoch=False, end=20))


def runner_with(*schedulers, **more) -> SimpleNamespace:
    """A runner of 4 epochs of 100 iterations."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
    built = [scheduler(optimizer, **arguments) for scheduler, arguments in schedulers]
    return SimpleNamespace(param_schedulers=built, max_epochs=4, max_iters=400, **more)


EARLY = {
    'CosineAnnealingLR ends at epoch 2 of 4': (CosineAnnealingLR, dict(T_max=2, end=2)),
    'CosineAnnealingLR ends at iteration 200 of 400': (CosineAnnealingLR, dict(T_max=200, end=200, by_epoch=False)),
    'PolyLR ends at epoch 3 of 4': (PolyLR, dict(end=3)),
    'OneCycleLR ends at epoch 2 of 4': (OneCycleLR, dict(eta_max=0.1, end=2)),
    'LinearLR ends at epoch 2 of 4': (LinearLR, dict(start_factor=1.0, end_factor=0.01, end=2)),
}


@pytest.mark.parametrize('message', EARLY)
def test_a_schedule_that_ends_early(message):
    runner = runner_with(WARM_UP, EARLY[message])
    assert early_end(runner).startswith(f'param_scheduler: {message}, and the learning rate stays at its minimum')
    runner.param_schedulers = {'discriminator': [], 'generator': runner.param_schedulers}
    assert message in early_end(runner)


FITTING = {
    'none': [],
    'a warm-up alone': [WARM_UP],
    'a constant warm-up': [(ConstantLR, dict(end=2))],
    'to the end': [WARM_UP, (CosineAnnealingLR, dict(T_max=4, end=4))],
    'longer': [(CosineAnnealingLR, dict(T_max=8, end=8))],
    'a last phase at a constant rate': [
        (CosineAnnealingLR, dict(T_max=2, end=2)),
        (ConstantLR, dict(factor=1, begin=2, end=4)),
    ],
    'milestones': [WARM_UP, (MultiStepLR, dict(milestones=[1], end=2))],
    'steps': [(StepLR, dict(step_size=1, end=2))],
    'of the momentum': [(OneCycleMomentum, dict(end=2))],
}


@pytest.mark.parametrize('name', FITTING)
def test_a_schedule_that_fits(name):
    assert early_end(runner_with(*FITTING[name])) is None


def test_the_hook_warns(monkeypatch):
    monkeypatch.setattr(CheckModelHook, '_check', lambda *_: None)
    said = []
    runner = runner_with(*EARLY.values(), train_loop=None, val_loop=None, logger=SimpleNamespace(warning=said.append))
    CheckModelHook().before_train(runner)
    assert len(said) == 1 and 'PolyLR ends at epoch 3 of 4' in said[0]  # the last of them
