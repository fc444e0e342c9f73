"""Classifiers trained side by side are those that are trained alone with the losses of the package."""

import pytest
import torch
from feature_training import drop_positives, measure, train

from mmasl.models.classifiers import FeatureClassifier

FIXED = dict(type='mmasl.AsymmetricLoss', gamma_pos=1.0, gamma_neg=2.0, clip=0.1)
ADAPTIVE = dict(type='mmasl.AdaptiveAsymmetricLoss', gamma_neg=2.0, clip=0.05, delta_p_target=0.2, step_size=0.1)
SPEC = dict(seed=3, hidden=[], dropout=0.0, weight_decay=0.1, batch_size=16, epochs=3, ema=None)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 6, generator=generator)
    return x, (x @ torch.randn(6, 4, generator=generator) > 1).float()


def train_alone(x, y, loss, rate):
    torch.manual_seed(SPEC['seed'])
    model = FeatureClassifier(loss, None, 6, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=SPEC['weight_decay'])
    total = SPEC['epochs'] * (len(y) // 16)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total, pct_start=0.25)
    for step in range(total):
        if step % 6 == 0:
            order = torch.randperm(len(y))
        rows = order[step % 6 * 16 :][:16]
        optimizer.zero_grad()
        model(x[rows], y[rows], mode='loss')['loss'].backward()
        optimizer.step()
        cycle.step()
    return model.eval()


def test_the_same_as_alone(data):
    x, y = data
    runs = [(FIXED, 1e-2), (ADAPTIVE, 3e-2), (FIXED, 3e-2), (ADAPTIVE, 1e-2)]
    model, course = train(x, y, runs, SPEC)
    for scores, gamma_neg, (loss, rate) in zip(model.scores(x), course['gamma_neg'], runs, strict=True):
        alone = train_alone(x, y, loss, rate)
        torch.testing.assert_close(scores, alone(x).detach().sigmoid(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(gamma_neg[-1], float(alone.loss_module.gamma_neg), atol=1e-4, rtol=0)


def test_hidden_layers_dropout_views_and_average(data):
    x, y = data
    spec = dict(SPEC, hidden=[16, 8], dropout=0.5, epochs=20)
    runs = [(FIXED, 1e-2), (ADAPTIVE, 1e-2)]
    first, again, averaged = (train(x.expand(2, -1, -1), y, runs, dict(spec, ema=ema))[0] for ema in (None, None, 0.9))
    assert torch.equal(first.scores(x), again.scores(x))
    assert not torch.equal(first.scores(x), averaged.scores(x))
    for model in (first, averaged):
        assert min(measure(scores, y)['mAP'] for scores in model.scores(x)) > 60


def test_positives_are_dropped_by_the_seed(data):
    _, y = data
    y[0] = -1
    once, again, other = (drop_positives(y, 0.4, seed) for seed in (0, 0, 1))
    assert torch.equal(once, again) and not torch.equal(once, other)
    assert torch.equal(once[y != 1], y[y != 1])
    assert 0.45 < (once == 1).sum() / (y == 1).sum() < 0.75


def test_settings_that_only_the_study_has(data):
    x, y = data
    losses = [ADAPTIVE, dict(ADAPTIVE, warm_up=0.5), dict(ADAPTIVE, adapt='both'), dict(ADAPTIVE, adapt='clip')]
    losses += [dict(ADAPTIVE, statistic=name) for name in ('median', 'held-out')]
    losses.append(dict(FIXED, gamma_pos=0.0, gamma_neg=2.0, clip=0.05))
    model, course = train(x, y, [(loss, 1e-2) for loss in losses], SPEC, held=(x, y))
    usual, late, _, margin, median, held_out, _ = course['gamma_neg']
    half = len(late) // 2
    assert late[:half] == [2.0] * half and usual[half - 1] != 2.0 and late[-1] != 2.0
    assert len({usual[-1], late[-1], median[-1], held_out[-1]}) == 4
    scores = model.scores(x)
    assert margin == [2.0] * len(margin) and not torch.equal(scores[3], scores[-1])
    assert not torch.equal(scores[2], scores[0])
