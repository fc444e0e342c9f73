"""What docs/faq.md says of the differences from the authors' script, MMPretrain and MMDetection, run against each."""

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

import mmasl
from mmasl.evaluation import multilabel_metrics

close = torch.testing.assert_close


def ours(scores, targets):
    return multilabel_metrics(np.array(scores), np.array(targets), topk=None)


def authors(scores, targets, thr=0.5):
    """The measures as the authors' validation script defines them."""
    scores, targets = np.array(scores), np.array(targets)
    precisions = []
    for score, target in zip(scores.T, targets.T, strict=True):
        hits = target[score.argsort()[::-1]] == 1  # ties in the order that argsort gives them
        ranks = np.flatnonzero(hits)
        precisions.append(np.sum((np.arange(len(ranks)) + 1) / (ranks + 1)) / (len(ranks) + 1e-8))
    predicted = (scores > thr).astype(int)
    total, difference = predicted + targets, predicted - targets
    tp, fp, fn = (total == 2).sum(0), (difference == 1).sum(0), (difference == -1).sum(0)
    precision, recall = tp / np.maximum(tp + fp, 1), tp / np.maximum(tp + fn, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    values = dict(mAP=np.mean(precisions), CP=precision.mean(), CR=recall.mean(), CF1=f1.mean())
    return {name: 100 * value for name, value in values.items()}


AUTHORS = {
    'a score equal to the threshold': ([[0.5, 0.9], [0.2, 0.8]], [[1, 1], [0, 0]], 'CR', 50, 100),
    'mAP without positives': ([[0.9, 0.1], [0.2, 0.1]], [[1, 0], [0, 0]], 'mAP', 50, 100),
    'CP without positives': ([[0.9, 0.1], [0.2, 0.1]], [[1, 0], [0, 0]], 'CP', 50, 100),
    'CR without positives': ([[0.9, 0.1], [0.2, 0.1]], [[1, 0], [0, 0]], 'CR', 50, 100),
    '-1 in mAP': ([[0.9], [0.6]], [[-1], [1]], 'mAP', 50, 100),
    '-1 that is not predicted': ([[0.1], [0.6]], [[-1], [1]], 'CP', 50, 100),
    'mean of F1': ([[0.9, 0.9], [0.8, 0.7], [0.6, 0.1]], [[1, 1], [0, 0], [0, 1]], 'CF1', 50, 100 * 15 / 28),
    'ties, positive last': ([[0.5], [0.5]], [[0], [1]], 'mAP', 100, 50),
    'ties, positive first': ([[0.5], [0.5]], [[1], [0]], 'mAP', 50, 50),
}


@pytest.mark.parametrize('scores, targets, name, theirs, here', AUTHORS.values(), ids=AUTHORS)
def test_the_authors_script(scores, targets, name, theirs, here):
    assert authors(scores, targets)[name] == pytest.approx(theirs, abs=1e-4)
    assert ours(scores, targets)[name] == pytest.approx(here)


def test_where_nothing_of_this_matters_the_authors_script_gives_the_same():
    generator = np.random.default_rng(0)
    scores, targets = generator.random((50, 4)), generator.integers(0, 2, (50, 4))
    theirs, here = authors(scores, targets), ours(scores, targets)
    for name in ('mAP', 'CP', 'CR'):
        assert here[name] == pytest.approx(theirs[name])


def test_mmpretrain_metrics():
    evaluation = pytest.importorskip('mmpretrain.evaluation')

    def theirs(scores, targets):
        scores, targets = torch.tensor(scores), torch.tensor(targets)
        arguments = dict(pred_indices=False, target_indices=False, average='macro', thr=0.5)
        measures = evaluation.MultiLabelMetric.calculate(scores, targets, **arguments)[:3]
        return [evaluation.AveragePrecision.calculate(scores, targets).item(), *(value.item() for value in measures)]

    without = [[0.9, 0.1], [0.2, 0.1]], [[1, 0], [0, 0]]
    assert theirs(*without) == [50, 50, 50, 50]
    assert [ours(*without)[name] for name in ('mAP', 'CP', 'CR', 'CF1')] == [100, 100, 100, 100]
    assert [theirs([[0.5], [0.5]], order)[0] for order in ([[1], [0]], [[0], [1]])] == [100, 50]
    f1 = AUTHORS['mean of F1'][:2]
    assert theirs(*f1)[3] == pytest.approx(50) and ours(*f1)['CF1'] == pytest.approx(100 * 15 / 28)
    equal = AUTHORS['a score equal to the threshold'][:2]  # and here it agrees
    assert theirs(*equal)[2] == ours(*equal)['CR'] == 100


def test_mmpretrain_loss():
    upstream = pytest.importorskip('mmpretrain.models.losses').AsymmetricLoss
    plain = dict(gamma_pos=0, gamma_neg=0, clip=0)
    # A softmax, then the binary cross-entropy of each class: another function than cross-entropy.
    pred, index = torch.tensor([[5.0, -5, 0], [5, -5, 0]]), torch.tensor([0, 1])
    close(upstream(**plain, use_sigmoid=False)(pred, index), torch.tensor(2.5045), rtol=0, atol=1e-4)
    softmax = mmasl.SoftmaxAsymmetricLoss(gamma_pos=0, gamma_neg=0, label_smoothing=0)(pred, index)
    close(softmax, torch.tensor(5.0068), rtol=0, atol=1e-4)
    close(softmax, F.cross_entropy(pred, index))
    with pytest.raises(ValueError, match='use_sigmoid: expected True, got False'):
        mmasl.AsymmetricLoss(use_sigmoid=False)

    def compare(pred, target, **options):
        losses = upstream(reduction='none', **options), mmasl.AsymmetricLoss(reduction='none', **options)
        return tuple(loss(pred, target) for loss in losses)

    hard = torch.tensor([[1.0, 0, 1]])
    close(*compare(torch.tensor([[1.0, 0.5, -2]]), hard))
    theirs, here = compare(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]))
    assert theirs[0, 0] > 30 and here[0, 0] == 0  # -1
    theirs, here = compare(torch.tensor([[-200.0, 0.0]]), torch.tensor([[1.0, 0.0]]), **plain)
    assert theirs[0, 0] == pytest.approx(18.42, abs=0.01) and here[0, 0] == 200  # eps
    pred = torch.tensor([[1.0, 1.0]], requires_grad=True)
    theirs, here = (
        torch.autograd.grad(loss.sum(), pred)[0] for loss in compare(pred, torch.full((1, 2), 0.5), **plain)
    )
    assert (theirs == 0).all()  # soft labels
    close(here, pred.detach().sigmoid() - 0.5)
    theirs, here = compare(torch.tensor([[20.0, -20]]).half(), torch.tensor([[0.0, 1]]).half())
    assert theirs.dtype == torch.float16 and theirs.isinf().any()
    assert here.dtype == torch.float32 and here.isfinite().all()
    upstream(reduction='foo'), upstream()(torch.zeros(1, 2), torch.full((1, 2), 2.0))  # neither raises
    with pytest.raises(ValueError, match='reduction: expected one of'):
        mmasl.AsymmetricLoss(reduction='foo')
    with pytest.raises(ValueError, match='target: dense labels must lie in'):
        mmasl.AsymmetricLoss()(torch.zeros(1, 2), torch.full((1, 2), 2.0))


@pytest.mark.parametrize('package', ['mmdet', 'mmpretrain'])
def test_what_both_packages_do_otherwise(package):
    losses = pytest.importorskip(f'{package}.models.losses')
    theirs = losses.FocalLoss(use_sigmoid=True) if package == 'mmdet' else losses.AsymmetricLoss()
    pred, target = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])
    for loss, error, shape in ((theirs, AssertionError, (1,)), (mmasl.AsymmetricLoss(), ValueError, ())):
        with pytest.raises(error):
            loss(pred, target, reduction_override='foo')
        assert loss(pred, target, avg_factor=torch.tensor([2.0])).shape == shape
        assert loss(pred, target, avg_factor=2).shape == ()


def test_the_order_of_arguments():
    from timm.loss import AsymmetricLossMultiLabel

    first = list(inspect.signature(AsymmetricLossMultiLabel).parameters)[:3]
    assert first == ['gamma_neg', 'gamma_pos', 'clip']
    upstream = pytest.importorskip('mmpretrain.models.losses').AsymmetricLoss
    assert list(inspect.signature(upstream).parameters)[:3] == ['gamma_pos', 'gamma_neg', 'clip']
    with pytest.raises(TypeError, match='positional'):
        mmasl.AsymmetricLoss(4, 1, 0.05)
    named = mmasl.AsymmetricLoss(gamma_neg=4, gamma_pos=1, clip=0.05, detach_focus=True)
    pred, target = torch.randn(8, 5), torch.randint(0, 2, (8, 5)).float()
    theirs = AsymmetricLossMultiLabel(4, 1, 0.05)(pred, target)  # timm divides by the batch size
    close(named(pred, target, avg_factor=8), theirs, rtol=1e-4, atol=1e-5)


def test_a_head_of_one_class_gets_the_focal_loss_of_mmdetection():
    losses = pytest.importorskip('mmdet.models.losses')
    pred, index = torch.randn(6, 1, requires_grad=True), torch.tensor([0, 1, 1, 0, 1, 1])  # 1 is background
    constants = dict(gamma_pos=2, gamma_neg=2, clip=0, alpha=0.25)
    gradients = [
        torch.autograd.grad(loss(pred, index, torch.rand(6, generator=torch.manual_seed(0)), avg_factor=2), pred)[0]
        for loss in (losses.FocalLoss(use_sigmoid=True), mmasl.AsymmetricLoss(**constants, use_sigmoid=True))
    ]
    close(*gradients)
    assert (gradients[0][index == 0] < 0).all() and (gradients[0][index == 1] > 0).all()
