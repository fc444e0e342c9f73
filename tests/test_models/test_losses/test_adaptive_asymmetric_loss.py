"""Eq. 11: the way it goes, what it counts, when it moves, and where its state survives."""

import copy
import uuid

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import ExponentialMovingAverage
from torch.utils.checkpoint import checkpoint

from mmasl import asymmetric_loss
from mmasl.functional.probability_sums import probability_gap, probability_sums
from mmasl.models.losses import AdaptiveAsymmetricLoss

PRED, TARGET = torch.tensor([[0.0, -2.0, 1.0]]), torch.tensor([[1, 0, 0]])
GAP = probability_gap(probability_sums(PRED, TARGET).sum(1)).item()  # -0.075


def train(loss, pred=PRED, target=TARGET, steps=1, **arguments):
    for _ in range(steps):
        loss(pred.clone().requires_grad_(), target, **arguments).sum().backward()
    return loss


def moved(loss, *arguments, **keywords):
    """gamma_neg that the next batch sees."""
    loss = copy.deepcopy(loss)
    loss(PRED.clone().requires_grad_(), TARGET, *arguments, **keywords)
    return loss.gamma_neg


def adaptive(step_size=0.1, momentum=0.0, clip_step_size=0.005, gamma_neg=4.0, **arguments):
    return AdaptiveAsymmetricLoss(
        step_size=step_size, momentum=momentum, clip_step_size=clip_step_size, gamma_neg=gamma_neg, **arguments
    )


def balance(sign, steps=400):
    """A model of one probability for rare positives and negatives alike, whose bias Eq. 11 with this sign steers.

    Returns gamma_neg and the gap at the end.
    """
    target = (torch.arange(200) % 10 == 0).float().unsqueeze(1)
    features = torch.where(target == 1, 1.5, -1.5) + 1.5 * torch.randn(200, 1, generator=torch.manual_seed(0))
    layer = torch.nn.Linear(1, 1)
    loss = adaptive(step_size=0.2, delta_p_target=0.1, gamma_neg=1.0, clip=0.0)
    loss.steps['gamma_neg'] *= sign
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(layer(features), target).backward()
        optimizer.step()
    return loss.gamma_neg.item(), loss.delta_p.item()


def test_the_corrected_sign_settles_at_the_target_and_the_printed_one_diverges():
    gamma_neg, gap = balance(+1)
    assert 1 < gamma_neg < 9 and abs(gap - 0.1) < 0.02
    gamma_neg, gap = balance(-1)
    assert gamma_neg == 0 and gap < -0.4


def test_one_step_is_eq_11_with_the_sign_corrected():
    loss = train(adaptive(delta_p_target=0.2, gamma_neg=3.0))
    assert loss.gamma_neg == 3 and loss.delta_p.item() == pytest.approx(GAP)
    assert moved(loss).item() == pytest.approx(3 - 0.1 * (GAP - 0.2))


def test_the_loss_is_the_asymmetric_loss_of_the_present_constants():
    loss = adaptive(gamma_neg=3.0, adapt='both', reduction='sum', loss_weight=2.0)
    expected = asymmetric_loss(PRED, TARGET, gamma_neg=3.0, reduction='sum')
    torch.testing.assert_close(loss(PRED.clone().requires_grad_(), TARGET), 2 * expected)
    override = loss(PRED, TARGET, avg_factor=2, reduction_override='mean')
    torch.testing.assert_close(override, 2 * expected / 2)


@pytest.mark.parametrize('said_by', ['argument', 'runner'])
def test_the_step_size_follows_from_the_length_of_the_training(said_by):
    defaults = dict(adapt='both', momentum=0.0, delta_p_target=0.2)
    if said_by == 'runner':
        hub = MessageHub.get_instance(f'{__name__} {uuid.uuid4()}')  # which is the current one from now on
        hub.update_info('max_iters', 80)
        loss = train(AdaptiveAsymmetricLoss(**defaults))
    else:
        loss = train(AdaptiveAsymmetricLoss(total_steps=80, **defaults))
    assert moved(loss).item() == pytest.approx(2 - 40 / 80 * (GAP - 0.2))
    assert loss.steps == dict(gamma_neg=0.5, clip=0.025)


def test_without_a_length_the_first_step_is_refused():
    MessageHub.get_instance(f'{__name__} {uuid.uuid4()}')
    with pytest.raises(ValueError, match='total_steps: expected the number of training steps.*got None; set it'):
        train(AdaptiveAsymmetricLoss())
    AdaptiveAsymmetricLoss().eval()(PRED, TARGET)
    train(AdaptiveAsymmetricLoss(step_size=0.1))


@pytest.mark.parametrize('adapt, still', [('clip', 'gamma_neg'), ('gamma_neg', 'clip'), ('both', None)])
def test_what_is_adapted(adapt, still):
    loss = train(adaptive(adapt=adapt, delta_p_target=0.5, clip_step_size=0.01), steps=2)
    for name, start in (('gamma_neg', 4.0), ('clip', 0.05)):
        value = getattr(loss, name)
        assert (value == start) if name == still else value > start


def test_bounds_hold():
    loss = train(adaptive(step_size=1.0, delta_p_target=0.9, gamma_neg_bounds=(1.0, 4.5)), steps=9)
    assert loss.gamma_neg == 4.5
    loss.delta_p_target = -0.9
    assert train(loss, steps=9).gamma_neg == 1


def test_class_indices_weights_and_ignored_labels():
    dense = train(adaptive())
    index = train(adaptive(), PRED.repeat(3, 1), torch.tensor([0, -1, 1]), weight=torch.tensor([2.0, 1.0, 0.0]))
    torch.testing.assert_close(moved(index), moved(dense))
    assert moved(index) != 4


@pytest.mark.parametrize(
    'pred, target',
    [
        (PRED, torch.zeros(1, 3)),
        (PRED, torch.ones(1, 3)),
        (PRED, -torch.ones(1, 3)),
        (PRED[:0], TARGET[:0]),
        (PRED * float('nan'), TARGET),
        (PRED * float('nan'), torch.tensor([1])),
    ],
    ids=['no positive', 'no negative', 'all ignored', 'empty', 'NaN', 'NaN by index'],
)
def test_a_batch_that_says_nothing_changes_nothing(pred, target):
    loss = train(adaptive(momentum=0.5), steps=2)
    before = moved(loss).clone()
    train(loss, pred, target)
    running = loss.running_sums.clone()
    assert torch.equal(moved(loss), before) and torch.equal(running, loss.running_sums)


def test_evaluation_and_calls_without_gradient_leave_the_state_alone():
    loss = train(adaptive(), steps=2)
    state = {name: value.clone() for name, value in loss.state_dict().items()}
    loss(PRED, TARGET)
    with torch.no_grad():
        loss(PRED.clone().requires_grad_(), TARGET)
    loss.eval()(PRED.clone().requires_grad_(), TARGET).backward()
    assert all(torch.equal(value, state[name]) for name, value in loss.state_dict().items())


def test_calls_before_one_backward_pass_are_one_batch():
    levels, whole = adaptive(), adaptive()
    pred, target = torch.randn(6, 3, requires_grad=True), torch.tensor([0, 3, 3, 1, 2, 3])
    sum(levels(pred[rows], target[rows]) for rows in (slice(0, 1), slice(1, 3), slice(3, 6))).backward()
    whole(pred, target).backward()
    torch.testing.assert_close(moved(levels), moved(whole))


def test_gradient_accumulation_moves_once_for_each_backward_pass():
    loss = train(adaptive(delta_p_target=0.2), steps=3)
    assert moved(loss).item() == pytest.approx(4 - 3 * 0.1 * (GAP - 0.2))


@pytest.mark.parametrize('backend', ['auto', 'reference'])
def test_activation_checkpointing_sees_one_loss_and_counts_once(backend):
    loss, plain = adaptive(backend=backend), adaptive(backend=backend)
    layer = torch.nn.Linear(3, 3)
    grads = []
    for _ in range(3):
        for call in (plain, lambda *args: checkpoint(loss, *args, use_reentrant=False)):
            grads.append(torch.autograd.grad(call(layer(PRED), TARGET), layer.weight)[0])
        assert torch.equal(*grads[-2:]) and torch.equal(loss.batch_sums, plain.batch_sums)
    assert torch.equal(loss.gamma_neg, plain.gamma_neg) and loss.gamma_neg != 4


def test_the_running_estimate_is_a_decayed_mean():
    loss = adaptive(momentum=0.5, delta_p_target=0.3)
    target = torch.tensor([[1], [0]])
    for value in (1.0, -1.0):
        train(loss, torch.tensor([[value], [0.0]]), target)
    p = torch.sigmoid(torch.tensor([1.0, -1.0], dtype=torch.float64))
    gaps = p[0] - 0.5, (0.5 * p[0] + p[1]) / 1.5 - 0.5
    loss(torch.zeros(2, 1, requires_grad=True), target)
    torch.testing.assert_close(loss.gamma_neg, 4 - 0.1 * (sum(gaps) - 0.6))


def test_the_state_survives_checkpoints_and_copies():
    loss = train(adaptive(momentum=0.5), steps=3)
    fresh = adaptive(momentum=0.5)
    fresh.load_state_dict(loss.state_dict())
    twins = fresh, copy.deepcopy(loss)
    for module in (loss, *twins):
        train(module, 2 * PRED, steps=2)
    for twin in twins:
        assert all(torch.equal(value, loss.state_dict()[name]) for name, value in twin.state_dict().items())


@pytest.mark.parametrize('update_buffers', [False, True])
def test_an_ema_copy_follows_and_never_steps(update_buffers):
    loss = train(adaptive(delta_p_target=0.5))
    average = ExponentialMovingAverage(loss, momentum=0.5, update_buffers=update_buffers)
    seen = []
    for _ in range(4):
        train(loss)
        average.update_parameters(loss)
        average(PRED, TARGET)
        seen.append(loss.gamma_neg.item())
    copied = average.module.gamma_neg.item()
    mean = seen[0]
    for value in seen[1:]:
        mean = 0.5 * mean + 0.5 * value
    assert copied == pytest.approx(mean if update_buffers else seen[-1]) and seen[0] < seen[-1]


def test_the_state_stays_wide_in_a_model_of_half_precision():
    loss = train(adaptive(step_size=1e-4).half(), PRED.half(), steps=3)
    assert loss.gamma_neg.dtype == torch.float64 and loss.gamma_neg != 4
    assert loss.to('meta').gamma_neg.device.type == 'meta'


def test_a_state_that_was_made_half_is_refused():
    """FSDP casts the data of buffers, past the module."""
    loss = adaptive()
    for buffer in loss.buffers():
        buffer.data = buffer.data.bfloat16()
    with pytest.raises(RuntimeError, match='expected its state in float64, got torch.bfloat16.*leave buffer_dtype out'):
        train(loss)


@pytest.mark.parametrize('target', [TARGET.repeat(2, 1), torch.tensor([1, 3])], ids=['dense', 'index'])
def test_the_host_never_waits_for_a_value(target):
    """Meta tensors have no values: reading one raises, as it would wait for a GPU."""
    loss = adaptive(adapt='both').to('meta')
    train(loss, torch.zeros(2, 3, device='meta'), target.to('meta'), steps=3, weight=torch.ones(2, device='meta'))
    with pytest.raises(RuntimeError, match='[mM]eta'):
        loss.gamma_neg.item()


@pytest.mark.parametrize(
    'arguments, text',
    [
        (dict(step_size=0), r'step_size: expected a number in \(0, inf\), got 0'),
        (dict(step_size=-0.1), r'step_size: .*got -0.1'),
        (dict(total_steps=0), 'total_steps: expected a whole number above 0, got 0'),
        (dict(total_steps=1e4), 'total_steps: .*got 10000.0'),
        (dict(clip_step_size=0.0), 'clip_step_size: .*got 0.0'),
        (dict(delta_p_target=1), r'delta_p_target: expected a number in \(-1, 1\), got 1'),
        (dict(delta_p_target='0.1'), "delta_p_target: .*got '0.1'"),
        (dict(gamma_neg_bounds=(5, 1)), r'gamma_neg_bounds: expected \(low, high\) with low < high, got \(5, 1\)'),
        (dict(gamma_neg_bounds=(-1, 1)), 'gamma_neg_bounds: .*got -1'),
        (dict(gamma_neg_bounds=(0,)), r'gamma_neg_bounds: expected \(low, high\), got \(0,\)'),
        (
            dict(gamma_neg=4, gamma_neg_bounds=(0, 3)),
            r'gamma_neg: expected a start in gamma_neg_bounds=\(0, 3\), got 4',
        ),
        (dict(clip_bounds=(0, 1)), r'clip_bounds: expected a real number in \[0, 1\), got 1'),
        (dict(adapt='gamma'), "adapt: expected one of .*, got 'gamma'"),
        (dict(momentum=1), r'momentum: expected a real number in \[0, 1\), got 1'),
    ],
)
def test_a_wrong_parameter_is_named_when_the_model_is_built(arguments, text):
    with pytest.raises(ValueError, match=text):
        AdaptiveAsymmetricLoss(**arguments)
