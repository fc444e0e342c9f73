"""The one-cycle policy is torch's, step by step, also through MMEngine's runner."""

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS
from torch.optim import SGD, Adam

from mmasl.engine.schedulers import OneCycleLR, OneCycleMomentum


def make_optimizer(kind=Adam, lr=1e-4):
    groups = [dict(params=[torch.zeros(1, requires_grad=True)]), dict(params=[torch.zeros(1, requires_grad=True)])]
    groups[1]['lr'] = 10 * lr
    return kind(groups, lr=lr, **(dict(momentum=0.9) if kind is SGD else {}))


def momenta(optimizer):
    return [group['betas'][0] if 'betas' in group else group['momentum'] for group in optimizer.param_groups]


def trace(optimizer, schedulers, steps):
    """Learning rates and momenta that each step is made with."""
    rows = []
    for _ in range(steps):
        rows.append([group['lr'] for group in optimizer.param_groups] + momenta(optimizer))
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize('kind', [Adam, SGD])
@pytest.mark.parametrize('three_phase', [False, True])
@pytest.mark.parametrize('strategy', ['cos', 'linear'])
def test_both_are_torchs_step_by_step(kind, three_phase, strategy):
    steps = 200
    shape = dict(pct_start=0.2, anneal_strategy=strategy, three_phase=three_phase)
    optimizer, expected = make_optimizer(kind), make_optimizer(kind)
    peaks = [group['lr'] for group in expected.param_groups]
    torchs = torch.optim.lr_scheduler.OneCycleLR(expected, max_lr=peaks, total_steps=steps, **shape)
    ours = [OneCycleLR(optimizer, end=steps, **shape), OneCycleMomentum(optimizer, end=steps, **shape)]
    torch.testing.assert_close(
        trace(optimizer, ours, steps - 1), trace(expected, [torchs], steps - 1), rtol=1e-12, atol=0
    )


def test_planned_for_80_epochs_and_left_after_41():
    """The configs' form: built by type, in epochs, converted to iterations."""
    length, planned, trained = 7, 80, 41
    optimizer, expected = make_optimizer(), make_optimizer()
    torchs = torch.optim.lr_scheduler.OneCycleLR(
        expected, max_lr=[1e-4, 1e-3], steps_per_epoch=length, epochs=planned, pct_start=0.2
    )
    common = dict(pct_start=0.2, by_epoch=True, end=planned, convert_to_iter_based=True)
    ours = [
        PARAM_SCHEDULERS.build(
            dict(type=f'mmasl.{name}', **common), default_args=dict(optimizer=optimizer, epoch_length=length)
        )
        for name in ('OneCycleLR', 'OneCycleMomentum')
    ]
    rows = trace(optimizer, ours, trained * length)
    torch.testing.assert_close(rows, trace(expected, [torchs], trained * length), rtol=1e-12, atol=0)
    assert rows[:, 2].min() == pytest.approx(0.85) and rows[0, 2] == pytest.approx(0.95)


def test_a_resumed_schedule_goes_on():
    optimizer, whole = make_optimizer(), make_optimizer()
    build = [OneCycleLR, OneCycleMomentum]
    expected = trace(whole, [scheduler(whole, end=50) for scheduler in build], 30)[20:]
    first = [scheduler(optimizer, end=50) for scheduler in build]
    trace(optimizer, first, 20)
    states = optimizer.state_dict(), [scheduler.state_dict() for scheduler in first]
    resumed = make_optimizer()
    second = [scheduler(resumed, end=50) for scheduler in build]
    resumed.load_state_dict(states[0])
    for scheduler, state in zip(second, states[1], strict=True):
        scheduler.load_state_dict(state)
    torch.testing.assert_close(trace(resumed, second, 10), expected, rtol=0, atol=0)


def test_a_peak_may_be_given():
    optimizer = make_optimizer()
    OneCycleLR(optimizer, eta_max=0.5, end=10)
    assert [group['max_lr'] for group in optimizer.param_groups] == [0.5, 0.5]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(eta_min=0.9, eta_max=0.8), r'expected 0 <= eta_min <= eta_max < 1, got eta_min=0.9, eta_max=0.8'),
        (dict(pct_start=1.5), r'pct_start: expected a number in \[0, 1\], got 1.5'),
        (dict(anneal_strategy='sin'), r"anneal_strategy: expected 'cos' or 'linear', got 'sin'"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        OneCycleMomentum(make_optimizer(), end=10, **arguments)


def test_optimizers_without_a_momentum_are_refused():
    with pytest.raises(ValueError, match='must support momentum'):
        OneCycleMomentum(torch.optim.Adagrad([torch.zeros(1, requires_grad=True)]), end=10)


@pytest.mark.parametrize('steps', range(1, 12))
@pytest.mark.parametrize('pct_start', [0.1, 0.2, 0.5])
def test_a_training_of_a_few_iterations(steps, pct_start):
    """A rise of exactly one step made upstream divide by zero."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.5, momentum=0.9)
    cycle = dict(end=steps, pct_start=pct_start)
    schedulers = [OneCycleLR(optimizer, **cycle), OneCycleMomentum(optimizer, **cycle)]
    for _ in range(steps):
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    (group,) = optimizer.param_groups
    assert 0 < group['lr'] <= 0.5 and 0.85 <= group['momentum'] <= 0.95
