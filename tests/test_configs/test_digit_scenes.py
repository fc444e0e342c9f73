"""The ladders' configs: upstream's losses where they suffice, the paper's values, deltas only."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from mmengine import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import mmasl

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'configs' / 'digit_scenes'
RESULTS = ROOT / 'tools' / 'studies' / 'results' / 'digit_scenes.jsonl'
ROWS = [(loss, 'ft') for loss in ('ce', 'fl', 'fl-lw', 'af', 'pm', 'asl', 'asl-t2', 'asl-ad')]
ROWS += [(loss, 'scratch') for loss in ('ce', 'fl', 'asl')]


def load(loss, regime='ft'):
    return Config.fromfile(FOLDER / f'digitnet-{loss}_{regime}-1xb16_digitscenes-48px.py')


def trials(regime):
    """The trials with complete labels and the length of the regime."""
    epochs = load('ce', regime).train_cfg.max_epochs
    cells = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    found = [dict(cell['spec'], mAP=cell['result']['mAP']) for cell in cells if cell['spec']['split'] == 'val']
    return [t for t in found if (t['regime'], t['missing'], t['epochs']) == (regime, 0, epochs)]


def both_gradients(criterion, arguments):
    """Value and gradient of a config's loss as the head calls it, and of ``mmasl.asymmetric_loss``."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(16, 80, generator=generator)
    target = (torch.rand(16, 80, generator=generator) < 0.04).float()
    results = []
    for function in (MODELS.build(dict(criterion)), lambda *a, **k: mmasl.asymmetric_loss(*a, **arguments, **k)):
        z = logits.clone().requires_grad_()
        value = function(z, target, avg_factor=16)
        value.backward()
        results.append((value.detach(), z.grad))
    return results


@pytest.mark.parametrize(
    ('loss', 'upstream', 'arguments'),
    [
        ('ce', 'CrossEntropyLoss', dict(gamma_pos=0.0, gamma_neg=0.0, clip=0.0)),
        ('fl', 'FocalLoss', dict(gamma_pos=2.0, gamma_neg=2.0, clip=0.0)),
    ],
)
def test_upstream_losses_are_the_papers(loss, upstream, arguments):
    """Cross-entropy is Eq. 7 without asymmetry; upstream's focal loss with alpha=0.5, loss_weight=2 is Eq. 3."""
    criterion = load(loss).model.head.loss
    assert criterion.type == upstream
    (value, gradient), (own_value, own_gradient) = both_gradients(criterion, arguments)
    torch.testing.assert_close(value, own_value)
    torch.testing.assert_close(gradient, own_gradient, rtol=1e-4, atol=1e-7)


def test_linear_weighting_is_static_alpha():
    criterion = load('fl-lw').model.head.loss
    assert 0.5 < criterion.alpha <= 0.95
    arguments = dict(gamma_pos=2.0, gamma_neg=2.0, clip=0.0, alpha=criterion.alpha)
    (value, gradient), (own_value, own_gradient) = both_gradients(criterion, arguments)
    torch.testing.assert_close(value, 2 * own_value)
    torch.testing.assert_close(gradient, 2 * own_gradient, rtol=1e-4, atol=1e-7)


def test_asymmetric_rows_are_what_they_are_called():
    af, pm, asl, table_2 = (load(loss).model.head.loss for loss in ('af', 'pm', 'asl', 'asl-t2'))
    assert {row.type for row in (af, pm, asl, table_2)} == {'mmasl.AsymmetricLoss'}
    assert af.gamma_pos < af.gamma_neg and af.clip == 0
    assert pm.gamma_pos == pm.gamma_neg == 2 and pm.clip > 0
    assert asl.gamma_pos < asl.gamma_neg and asl.clip > 0
    assert (table_2.gamma_pos, table_2.gamma_neg, table_2.clip) == (0, 4, 0.05)


def test_the_adaptive_row_starts_as_the_fixed_one():
    row, fixed = (load(loss).model.head.loss.to_dict() for loss in ('asl-ad', 'asl'))
    assert row.pop('type') == 'mmasl.AdaptiveAsymmetricLoss' and -1 < row.pop('delta_p_target') < 1
    assert row == {key: value for key, value in fixed.items() if key != 'type'}


def test_all_rows_are_tested():
    paths = {path.name for path in FOLDER.glob('digitnet-*.py')}
    assert paths == {f'digitnet-{loss}_{regime}-1xb16_digitscenes-48px.py' for loss, regime in ROWS}


@pytest.mark.parametrize(('loss', 'regime'), [row for row in ROWS if row[0] != 'ce'])
def test_rows_differ_from_cross_entropy_in_loss_and_learning_rate_only(loss, regime):
    row, base = (load(name, regime).to_dict() for name in (loss, 'ce'))
    for cfg in (row, base):
        cfg['model']['head'].pop('loss')
        cfg['param_scheduler'].pop('eta_max')
        cfg.pop('checkpoint')
        cfg.pop('custom_hooks', None)  # AsymmetryHook only writes into the log
    assert row == base


@pytest.mark.parametrize('loss', [loss for loss, regime in ROWS if regime == 'scratch'])
def test_scratch_rows_differ_in_weights_and_schedule_only(loss):
    row, base = (load(loss, regime).to_dict() for regime in ('scratch', 'ft'))
    assert row['model']['backbone'].pop('init_cfg') is None
    assert base['model']['backbone'].pop('init_cfg')['type'] == 'Pretrained'
    for cfg in (row, base):
        cfg.pop('train_cfg')
        cfg['param_scheduler'].pop('eta_max')
    assert row == base


@pytest.mark.parametrize(('loss', 'regime'), [row for row in ROWS if row[0] != 'asl-ad'])
def test_settings_are_the_best_on_validation(loss, regime):
    """The trials are stored; a config has the settings of its loss's best one."""
    cfg = load(loss, regime)
    criterion = cfg.model.head.loss.to_dict()
    mine = [t for t in trials(regime) if t['loss'] == loss.removesuffix('-t2')]
    if loss == 'asl-t2':  # the paper's values, with the best learning rate for them
        mine = [t for t in mine if t['criterion'] == criterion]
    best = max(mine, key=lambda trial: trial['mAP'])
    assert (best['lr'], best['criterion']) == (cfg.param_scheduler.eta_max, criterion)


@pytest.mark.parametrize('regime', ['ft', 'scratch'])
def test_every_loss_had_the_same_number_of_trials(regime):
    names = [trial['loss'] for trial in trials(regime)]
    counts = {name: names.count(name) for name in names}
    assert set(counts) == {loss for loss, row in ROWS if row == regime} - {'asl-t2', 'asl-ad'}
    assert len(set(counts.values())) == 1


SINGLE = ROOT / 'configs' / 'digit_scenes_single'
SINGLE_ROWS = ('softmax-ce', 'softmax-ls', 'softmax-fl', 'softmax-asl', 'sigmoid-ce', 'sigmoid-fl', 'sigmoid-asl')
LABELS = torch.tensor([3, 0, 79, 12])


def load_single(row):
    return Config.fromfile(SINGLE / f'digitnet-{row}_ft-1xb32_digitscenes-tail-48px.py')


def test_all_single_label_rows_are_tested_and_differ_in_loss_and_learning_rate_only():
    assert {path.stem for path in SINGLE.glob('*.py')} == {Path(load_single(row).filename).stem for row in SINGLE_ROWS}
    configs = [load_single(row).to_dict() for row in SINGLE_ROWS]
    for cfg in configs:
        cfg['model']['head'].pop('loss')
        cfg['param_scheduler'].pop('eta_max')
    assert all(cfg == configs[0] for cfg in configs)


def expected(row, z):
    """The loss of a row in plain torch, a mean over the images."""
    p, sigmoid = z.softmax(1), z.sigmoid()
    own = p.gather(1, LABELS[:, None])[:, 0]
    one_hot = F.one_hot(LABELS, 80).double()
    p_m = (sigmoid - 0.05).clamp(min=0)
    smoothed = 0.9 * one_hot + 0.1 / 80
    rows = {
        'softmax-ce': -own.log(),
        'softmax-ls': -(smoothed * p.log()).sum(1),
        'softmax-fl': -((1 - own) ** 2) * own.log(),
        'softmax-asl': -(torch.where(one_hot == 1, 1.0, p**4) * smoothed * p.log()).sum(1),
        'sigmoid-ce': F.binary_cross_entropy(sigmoid, one_hot, reduction='none').sum(1),
        'sigmoid-fl': -(
            one_hot * (1 - sigmoid) ** 2 * sigmoid.log() + (1 - one_hot) * sigmoid**2 * (1 - sigmoid).log()
        ).sum(1),
        'sigmoid-asl': -(one_hot * sigmoid.log() + (1 - one_hot) * p_m**4 * (1 - p_m).log()).sum(1),
    }
    return rows[row].mean()


@pytest.mark.parametrize('row', SINGLE_ROWS)
def test_the_head_trains_with_the_loss_of_the_row(row):
    init_default_scope('mmpretrain')
    head = MODELS.build(load_single(row).model.head).double()
    features = torch.randn(4, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    samples = [DataSample().set_gt_label([int(label)]) for label in LABELS]  # DigitScenes gives lists
    z = 3 * head.fc(features).detach().requires_grad_()
    loss = head._get_loss(z, samples)['loss']
    torch.testing.assert_close(loss, expected(row, z))
    gradients = [torch.autograd.grad(value, z)[0] for value in (loss, expected(row, z))]
    torch.testing.assert_close(*gradients)
    predicted = head.predict((features,), samples)  # softmax does not change the order of sigmoid scores
    assert [sample.pred_label.item() for sample in predicted] == head.fc(features).argmax(1).tolist()
