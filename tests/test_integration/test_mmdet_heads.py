"""Our losses in MMDetection's heads: equal to the head's own loss where the two are the same function.

The detectors are MMDetection's own configs with few channels and layers. ``docs/detection.md`` lists what each head
passes to its loss; the list is held against what arrives here.
"""

import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper

from mmasl.engine.check_model import check_model
from mmasl.models.losses import AsymmetricLoss
from mmasl.testing import assert_close
from tests.test_integration.small_detectors import (
    DETECTORS,
    NUM_CLASSES,
    WITH_QUALITY,
    batch,
    build,
    losses,
    small_config,
)

GUIDE = (Path(__file__).parents[2] / 'docs/detection.md').read_text(encoding='utf-8')
HEADER = '| detector | loss | target | weight | `avg_factor` | reduction |'
ASYMMETRIC = dict(gamma_pos=0.5, gamma_neg=2.0, clip=0.05)
BATCHES = ((3, 0), (0, 0))  # boxes in each image: one image without any, then all without

heads = pytest.mark.parametrize('name', [*DETECTORS, *WITH_QUALITY])


def same_as(own, detr=False):
    """Our loss with the parameters that make it the loss ``own`` of MMDetection; weights and reduction are its own."""
    kept = {key: own[key] for key in ('reduction', 'loss_weight', 'activated') if key in own}
    kept.update(use_sigmoid=True, clip=0)
    if own.type == 'FocalLoss':
        kept.update(type='mmasl.AsymmetricLoss', gamma_pos=own.gamma, gamma_neg=own.gamma, alpha=own.alpha)
    elif own.type == 'CrossEntropyLoss':
        kept.update(type='mmasl.AsymmetricLoss', gamma_pos=0, gamma_neg=0)
    elif own.type == 'QualityFocalLoss':
        quality = 'mmasl.AsymmetricQualityFocalLoss' if detr else 'mmasl.AsymmetricQualityLoss'
        kept.update(type=quality, gamma_pos=own.beta, gamma_neg=own.beta)
    else:
        assert own.type == 'VarifocalLoss'
        kept.update(type='mmasl.AsymmetricQualityLoss', gamma_pos=0, gamma_neg=own.gamma)
        kept.update(alpha=own.alpha, iou_weighted=own.iou_weighted)
    return kept


def with_ours(name, **changes):
    """The detector with our losses in place of its own, equal to those but for ``changes``."""
    cfg = small_config(name)
    for key in {'loss_cls', 'initial_loss_cls'} & set(cfg.bbox_head):
        cfg.bbox_head[key] = same_as(cfg.bbox_head[key], detr=name in WITH_QUALITY) | changes
    return build(cfg)


def start_iteration(model, iteration):
    """TOOD has one loss and assigner for its first epochs and another later: here for each iteration another."""
    MessageHub.get_current_instance().update_info('epoch', iteration * getattr(model.bbox_head, 'initial_epoch', 0))


def is_classification(key):
    """Whether the loss of this name comes from ``bbox_head.loss_cls``; DDQ has another head beside it."""
    return key.endswith('loss_cls') and 'aux_loss' not in key


# MMDetection's DDQ-DETR fails with a QualityFocalLoss: to that loss its distinct queries pass class indices.
@pytest.mark.parametrize('name', [*DETECTORS, *(name for name in WITH_QUALITY if name != 'DDQ-DETR, quality')])
def test_equals_the_own_loss_of_the_head_over_two_iterations(name):
    own, ours = build(small_config(name)), with_ours(name)
    assert isinstance(ours.bbox_head.loss_cls, AsymmetricLoss)
    assert not isinstance(own.bbox_head.loss_cls, AsymmetricLoss)
    assert ours.bbox_head.cls_out_channels == NUM_CLASSES
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.01)
    for iteration, boxes in enumerate([(3, 0), (0, 2)]):
        own.load_state_dict(ours.state_dict())
        data = batch(boxes, seed=iteration)
        for model in (own, ours):
            start_iteration(model, iteration)
        found, expected = losses(ours, data), losses(own, data)
        assert found.keys() == expected.keys()
        gradients = []
        for model, values in ((own, expected), (ours, found)):
            model.zero_grad()
            sum(value for key, value in values.items() if is_classification(key)).backward(retain_graph=True)
            gradients.append({key: p.grad for key, p in model.bbox_head.named_parameters() if p.grad is not None})
        for key, value in expected.items():
            assert_close(found[key], value.double(), torch.float32, key)
        assert any('cls' in key and key.endswith('weight') for key in gradients[0])
        assert gradients[0].keys() == gradients[1].keys()
        for key, gradient in gradients[0].items():
            assert_close(gradients[1][key], gradient.double(), torch.float32, f'gradient of {key}')
        assert max(gradient.abs().max() for gradient in gradients[1].values()) > 1e-3
        optimizer.zero_grad()
        sum(value for key, value in found.items() if 'loss' in key).backward()
        optimizer.step()


def calls_of(model):
    """What arrives at the classification losses of ``model.bbox_head``, and what they return, call by call."""
    calls = []

    def record(loss, args, kwargs, result):
        pred, target, weight = (*args, None)[:3]
        call = dict(pred=pred, target=target, weight=weight, avg_factor=None, reduction_override=None)
        calls.append(
            {**call, **kwargs, 'reduction': kwargs.get('reduction_override') or loss.reduction, 'loss': result}
        )

    for name, loss in model.bbox_head.named_children():
        if name in ('loss_cls', 'initial_loss_cls'):
            loss.register_forward_hook(record, with_kwargs=True)
    return calls


def describe(call):
    """The cells of the guide's table for one call."""
    pred, target, weight, factor = (call[key] for key in ('pred', 'target', 'weight', 'avg_factor'))
    n, c = pred.shape
    shapes = {(n,): '(N,)', (n, c): '(N, C)', (n * c,): '(N·C,)'}
    if isinstance(target, tuple):
        assert all(part.shape == (n,) for part in target)
        target = '(labels, scores)'
    else:
        kind = 'scores' if target.is_floating_point() else 'class index'
        target = f'{kind} {shapes[tuple(target.shape)]}'
    if torch.is_tensor(factor):
        factor = '0-d tensor' if factor.dim() == 0 else f'({factor.numel()},) tensor'
    elif factor is not None:
        factor = type(factor).__name__
    weight = shapes[tuple(weight.shape)] if weight is not None else '–'
    return target, weight, factor or '–', call['reduction']


@pytest.fixture(scope='module')
def head_table():
    """Rows of the guide's table as they arise; the whole of it is printed at the end (pytest -s)."""
    rows = [HEADER, '|---' * (HEADER.count('|') - 1) + '|']
    yield rows
    print('', *rows, sep='\n')


@heads
def test_trains_with_asymmetry(name, head_table):
    model = with_ours(name, **ASYMMETRIC)
    calls, before = calls_of(model), [p.detach().clone() for p in model.bbox_head.parameters()]
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01), clip_grad=dict(max_norm=10))
    for iteration, boxes in enumerate(BATCHES):
        start_iteration(model, iteration)
        logged = model.train_step(batch(boxes), wrapper)
        assert all(torch.isfinite(torch.as_tensor(value)).all() for value in logged.values()), logged
    assert any(not torch.equal(p, old) for p, old in zip(model.bbox_head.parameters(), before, strict=True))
    for call in calls:
        assert call['loss'].shape == (call['pred'].shape if call['reduction'] == 'none' else ())
        assert call['loss'].device == call['pred'].device and call['loss'].dtype == torch.float32

    arrived = [', '.join(dict.fromkeys(column)) for column in zip(*map(describe, calls), strict=True)]
    row = ' | '.join(['', name, type(model.bbox_head.loss_cls).__name__, *arrived, '']).strip()
    head_table.append(row)
    assert HEADER in GUIDE and row in GUIDE.splitlines(), row


def test_yolox_takes_the_quality_loss_as_well():
    """Its own is cross-entropy of IoU scores, to which both of ours reduce."""
    cfg, data = small_config('YOLOX'), batch((3, 0))
    expected = losses(build(cfg), data)['loss_cls']
    cfg.bbox_head.loss_cls = dict(type='mmasl.AsymmetricQualityLoss', gamma_pos=0, gamma_neg=0, clip=0, reduction='sum')
    assert_close(losses(build(cfg), data)['loss_cls'], expected.double(), torch.float32)
    assert expected > 0


@pytest.mark.parametrize('name', ['RetinaNet', 'FSAF'])
def test_ignored_anchors_contribute_nothing(name):
    """Between the thresholds, and in the ring around a box's centre: weight 0."""
    model = with_ours(name)
    preds = []
    model.bbox_head.loss_cls.register_forward_pre_hook(lambda _, args: args[0].retain_grad() or preds.append(args))
    losses(model, batch((4, 0)))['loss_cls'].backward()
    ignored = 0
    for pred, _, weight in preds:
        weight = weight.reshape(len(pred), -1).expand_as(pred)
        assert (pred.grad[weight == 0] == 0).all() and pred.grad[weight == 1].abs().max() > 0
        ignored += int((weight == 0).sum())
    assert ignored > 0


def test_a_prior_below_the_margin():
    """At p = 0.01 < clip = 0.05 negatives have neither loss nor gradient, and positives still do."""
    model = with_ours('FCOS', **ASYMMETRIC)
    calls = calls_of(model)
    nothing = losses(model, batch((0, 0)))['loss_cls']
    nothing.backward()
    assert calls[0]['pred'].sigmoid().sub(0.01).abs().max() < 0.005
    assert nothing.item() == 0
    assert all((p.grad == 0).all() for p in model.bbox_head.conv_cls.parameters())

    data = batch((3, 0))
    model.zero_grad()
    losses(model, data)['loss_cls'].backward()
    classes = data['data_samples'][0].gt_instances.labels.unique()
    bias = model.bbox_head.conv_cls.bias.grad
    assert 0 < len(classes) < NUM_CLASSES
    assert (bias[classes] < 0).all() and bias.count_nonzero() == len(classes)


def test_what_negatives_have_at_the_prior():
    """The numbers of the guide: focal loss at p = 0.01, beside one positive."""
    pred = torch.full((1, 2), 0.01, dtype=torch.float64).logit().requires_grad_()
    loss = AsymmetricLoss(gamma_pos=2, gamma_neg=2, clip=0, alpha=0.25, reduction='sum')(pred, torch.tensor([0]))
    loss.backward()
    positive, negative = pred.grad[0].abs()
    assert negative / positive == pytest.approx(8.5e-6, rel=0.01)
    assert 44_800 * 80 * negative / positive == pytest.approx(30, abs=0.5)


def test_a_head_of_your_own(monkeypatch):
    """The guide's example learns where the objects are, and predicts."""
    monkeypatch.setattr(MODELS, '_module_dict', dict(MODELS.module_dict))  # forget it afterwards
    example = re.findall(r'```python\n(.*?)```', GUIDE, re.DOTALL)[-1]
    names = {}
    exec(compile(example, 'docs/detection.md', 'exec'), names)
    cfg = ConfigDict(names['model'])
    cfg.backbone.update(base_channels=8)
    cfg.bbox_head.update(num_classes=NUM_CLASSES, in_channels=32)
    cfg.data_preprocessor = dict(type='DetDataPreprocessor', mean=[127.0] * 3, std=[64.0] * 3)
    model, data = build(cfg), batch((3, 0))
    check_model(model)
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=0.01))
    logged = [model.train_step(data, wrapper)['loss'].item() for _ in range(40)]
    assert logged[0] > 1 and logged[-1] < 0.2
    found, nothing = (sample.pred_instances for sample in model.eval().test_step(data))
    truth = data['data_samples'][0].gt_instances
    best = found.scores.argsort(descending=True)[:3]
    assert sorted(found.labels[best].tolist()) == sorted(truth.labels.tolist())
    centre = (truth.bboxes[:, :2] + truth.bboxes[:, 2:]) / 2
    near = torch.cdist((found.bboxes[best, :2] + found.bboxes[best, 2:]) / 2, centre).min(dim=1).values
    assert near.max() <= 16
    assert len(nothing.scores) == 0


ADAPTIVE = dict(type='mmasl.AdaptiveAsymmetricLoss', use_sigmoid=True, gamma_neg=4.0, step_size=0.5)


@pytest.mark.parametrize('name', ['FCOS', 'RetinaNet', 'Deformable DETR'])
def test_it_moves_once_an_iteration_by_all_levels(name):
    cfg = small_config(name)
    weight = cfg.bbox_head.loss_cls.get('loss_weight', 1.0)
    cfg.bbox_head.loss_cls = dict(ADAPTIVE, loss_weight=weight)
    model = build(cfg)
    loss = model.bbox_head.loss_cls
    sizes = []
    loss.register_forward_hook(lambda module, inputs, output: sizes.append(inputs[0].shape[0]))
    gamma_neg, gaps = [], []
    for _ in range(3):
        sizes.clear()
        found = losses(model, batch())
        sum(value for key, value in found.items() if 'loss' in key).backward()
        assert (len(sizes) > 1) == (name != 'FCOS')
        positives, negatives = loss.batch_sums[1].item(), loss.batch_sums[3].item()
        assert 0 < positives < negatives <= sum(sizes) * NUM_CLASSES
        gamma_neg.append(loss.gamma_neg.item())
        gaps.append(loss.delta_p.item())
    assert gamma_neg[0] == 4 and gaps[0] < -0.5  # the prior of 0.01
    step = -0.5 * (gaps[0] - loss.delta_p_target)
    assert gamma_neg[1] == pytest.approx(4 + step) and gamma_neg[2] == pytest.approx(4 + 2 * step, rel=0.01)
    assert all(torch.isfinite(value).all() for value in found.values())
