"""``mmasl.AsymmetricLoss`` in MMPretrain's heads; expected values come from Eq. 7, written out below."""

import copy
import io

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

N, C, CHANNELS = 6, 5, 8
LOSS = {'type': 'mmasl.AsymmetricLoss', 'gamma_pos': 1, 'gamma_neg': 2, 'clip': 0.1}
MULTI_LABEL_HEADS = {
    'MultiLabelClsHead': {},
    'MultiLabelLinearClsHead': {'num_classes': C, 'in_channels': CHANNELS},
    'CSRAClsHead': {'num_classes': C, 'in_channels': CHANNELS, 'num_heads': 2, 'lam': 0.1},
}
HEADS = {**MULTI_LABEL_HEADS, 'LinearClsHead': {'num_classes': C, 'in_channels': CHANNELS}}


def equation(logits, target):
    """Sum of Eq. 7 with the numbers of LOSS over the labels that are not -1."""
    p = logits.double().sigmoid()
    shifted = (p - 0.1).clamp(min=0)
    loss = -target * (1 - p) * p.log() - (1 - target) * shifted**2 * (1 - shifted).log()
    return loss[target != -1].sum()


def build(name, **loss):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        head = MODELS.build({'type': name, 'loss': {**LOSS, **loss}, **HEADS[name]})
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head


def features(name, seed=1):
    shape = {'MultiLabelClsHead': (N, C), 'CSRAClsHead': (N, CHANNELS, 3, 3)}.get(name, (N, CHANNELS))
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed), requires_grad=True),)


def labelled(kind):
    """Data samples and the dense target they stand for."""
    rng = np.random.default_rng(2)
    hard = torch.from_numpy(rng.integers(0, 2, (N, C)))
    if kind == 'labels':
        return [DataSample().set_gt_label(row.nonzero()[:, 0]) for row in hard], hard
    if kind == 'class index':
        index = torch.arange(N) % C
        return [DataSample().set_gt_label(int(i)) for i in index], torch.eye(C)[index]
    ignored = torch.from_numpy(rng.random((N, C))) < 0.3
    target = {
        'ignored': hard.masked_fill(ignored, -1),
        'soft': torch.from_numpy(rng.random((N, C))),
        'soft, ignored': torch.from_numpy(rng.random((N, C))).masked_fill(ignored, -1),
    }[kind]
    return [DataSample().set_gt_score(row) for row in target], target


CASES = [(name, kind) for name in MULTI_LABEL_HEADS for kind in ('labels', 'ignored', 'soft', 'soft, ignored')]
CASES += [('LinearClsHead', kind) for kind in ('class index', 'ignored', 'soft', 'soft, ignored')]


@pytest.mark.parametrize('amp', [False, True], ids=['float32', 'autocast'])
@pytest.mark.parametrize('name, kind', CASES)
def test_value_and_gradient(name, kind, amp):
    """The head passes ``avg_factor=N``: its loss is the sum over the labels divided by the batch size, not by N * C."""
    head, (feats,) = build(name), features(name)
    samples, target = labelled(kind)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
        logits = head((feats,))
        loss = head.loss((feats,), samples)['loss']
    expected = equation(logits, target) / N
    if 'Linear' in name:
        assert logits.dtype == (torch.bfloat16 if amp else torch.float32)
    assert loss.dtype == torch.float32 and loss.shape == ()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)

    inputs = [feats, *head.parameters()]
    gradients = zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), strict=True)
    for ours, theirs in gradients:
        torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=1e-2 if amp else 1e-4, atol=1e-3 if amp else 1e-6)


def test_scale_of_the_reductions():
    """'sum' is refused next to the head's ``avg_factor``; without it 'mean' divides by the labels that count."""
    samples, target = labelled('ignored')
    feats = features('MultiLabelClsHead')
    total = equation(feats[0], target).item()
    head = build('MultiLabelClsHead', loss_weight=3.0)
    assert head.loss(feats, samples)['loss'].item() == pytest.approx(3 * total / N, rel=1e-6)
    alone = build('MultiLabelClsHead').loss_module(feats[0], target)
    assert alone.item() == pytest.approx(total / int((target != -1).sum()), rel=1e-6)
    with pytest.raises(ValueError, match='avg_factor'):
        build('MultiLabelClsHead', reduction='sum').loss(feats, samples)


def test_gradient_accumulation_is_one_step_of_the_whole_batch():
    samples, target = labelled('ignored')
    (feats,) = features('MultiLabelLinearClsHead')
    head = build('MultiLabelLinearClsHead')
    whole = copy.deepcopy(head)
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.1)
    (equation(whole((feats,)), target) / N).backward()
    optimizer.step()

    wrapper = OptimWrapper(torch.optim.SGD(head.parameters(), lr=0.1), accumulative_counts=2)
    wrapper.initialize_count_status(head, 0, 2)
    for part in (slice(0, N // 2), slice(N // 2, N)):
        with wrapper.optim_context(head):
            wrapper.update_params(head.loss((feats[part],), samples[part])['loss'])
    torch.testing.assert_close(head.state_dict(), whole.state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', HEADS)
def test_copies_and_checkpoints(name):
    samples, _ = labelled('ignored')
    head, feats = build(name, class_weight=[1.0, 2.0, 3.0, 4.0, 5.0]), features(name)
    expected = head.loss(feats, samples)['loss']

    stored = io.BytesIO()
    torch.save(head, stored)
    stored.seek(0)
    for twin in (copy.deepcopy(head), torch.load(stored, weights_only=False)):
        assert torch.equal(twin.loss(feats, samples)['loss'], expected)

    stored = io.BytesIO()
    torch.save(head.state_dict(), stored)
    stored.seek(0)
    other = build(name, class_weight=[1.0, 2.0, 3.0, 4.0, 5.0])
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    other.load_state_dict(torch.load(stored))
    assert torch.equal(other.loss(feats, samples)['loss'], expected)
    # The loss adds nothing to a checkpoint: one trained with MMPretrain's loss fits.
    assert head.state_dict().keys() == build(name, type='AsymmetricLoss').state_dict().keys()


def test_training_step_with_ignore_aware_mixup():
    augments = [{'type': 'mmasl.IgnoreAwareMixup', 'alpha': 0.2}, {'type': 'mmasl.IgnoreAwareCutMix', 'alpha': 1.0}]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(
            {
                'type': 'ImageClassifier',
                'backbone': {'type': 'LeNet5'},
                'neck': {'type': 'GlobalAveragePooling'},
                'head': {'type': 'MultiLabelLinearClsHead', 'num_classes': C, 'in_channels': 120, 'loss': LOSS},
                'data_preprocessor': {'mean': [127.0], 'std': [127.0], 'batch_augments': {'augments': augments}},
            }
        )
    samples, target = labelled('ignored')
    images = [torch.randint(0, 256, (1, 32, 32)) for _ in range(N)]
    data = model.data_preprocessor({'inputs': images, 'data_samples': copy.deepcopy(samples)}, training=True)
    mixed = torch.stack([sample.gt_score for sample in data['data_samples']])
    assert (mixed[target == -1] == -1).all() and ((mixed == -1) | (mixed >= 0)).all()
    logits = model.head(model.extract_feat(data['inputs']))
    assert model.loss(**data)['loss'].item() == pytest.approx(equation(logits, mixed).item() / N, rel=1e-5)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    assert torch.isfinite(model.train_step({'inputs': images, 'data_samples': samples}, wrapper)['loss'])
