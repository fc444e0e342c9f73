"""Shapes that newcomers bring: a binary classifier, one class, segmentation. None of them is read the wrong way."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

import mmasl
from mmasl.functional.probability_sums import probability_sums
from mmasl.models.losses import AdaptiveAsymmetricLoss, AsymmetricLoss, AsymmetricQualityLoss

MULTI_LABEL = [mmasl.asymmetric_loss, mmasl.asymmetric_quality_loss]
LOSSES = [*MULTI_LABEL, mmasl.softmax_asymmetric_loss]
MODULES = [AsymmetricLoss, AsymmetricQualityLoss, AdaptiveAsymmetricLoss]
BCE = dict(gamma_pos=0, gamma_neg=0, clip=0)

backends = pytest.mark.parametrize('backend', ['reference', 'cpu'])
multi_label = pytest.mark.parametrize('loss', MULTI_LABEL, ids=lambda loss: loss.__name__)
losses = pytest.mark.parametrize('loss', LOSSES, ids=lambda loss: loss.__name__)
modules = pytest.mark.parametrize('module', MODULES, ids=lambda module: module.__name__)
close = torch.testing.assert_close


@pytest.fixture
def pred():
    torch.manual_seed(0)
    return torch.randn(5)


@backends
@multi_label
@pytest.mark.parametrize('dtype', [torch.float32, torch.int64, torch.bool], ids=str)
def test_a_binary_classifier_passes_one_logit_a_sample(loss, backend, dtype, pred):
    pred.requires_grad_()
    target, weight = torch.tensor([1, 0, 1, 1, 0]).to(dtype), torch.rand(5)
    for reduction in ('none', 'mean', 'sum'):
        ours = loss(pred, target, weight, reduction=reduction, backend=backend, **BCE)
        theirs = F.binary_cross_entropy_with_logits(pred, target.float(), weight, reduction=reduction)
        close(ours, theirs)
    column = loss(pred[:, None], target[:, None], weight, backend=backend)
    close(loss(pred, target, weight, backend=backend), column)
    close(*(torch.autograd.grad(value, pred)[0] for value in (loss(pred, target, weight, backend=backend), column)))
    weighed = loss(pred, target, class_weight=torch.tensor([2.0]), backend=backend)
    close(weighed, 2 * loss(pred, target, backend=backend))


@multi_label
def test_a_binary_classifier_ignores_and_refuses_as_the_others(loss, pred):
    target = torch.tensor([1, -1, 0, 1, 0])
    assert loss(pred, target, reduction='none')[1] == 0
    for wrong in (torch.zeros(5, 1), torch.zeros(4), torch.zeros(5, 5)):
        with pytest.raises((ValueError, TypeError), match=r'target: expected .*\(5,\)'):
            loss(pred, wrong)
    with pytest.raises(ValueError, match='or .N,. of one class, got a single number'):
        loss(pred[0], target[0])


@multi_label
def test_a_device_without_float64_is_refused(loss, pred):
    class OnMps(torch.Tensor):
        device = torch.device('mps')

    with pytest.raises(ValueError, match='expected logits on a CPU or on a CUDA GPU, got mps, which has no float64'):
        loss(pred.detach().as_subclass(OnMps), torch.ones(5))


def test_what_knows_the_number_of_classes_takes_one_dimension_as_one_class(pred):
    target = torch.tensor([1, -1, 0, 1, 0])
    close(probability_sums(pred, target), probability_sums(pred[:, None], target[:, None]))
    constants = dict(gamma_neg=torch.tensor([2.0]), clip=torch.tensor([0.1]))
    close(mmasl.asymmetric_loss(pred, target, **constants), mmasl.asymmetric_loss(pred, target, None, 0, 2, 0.1))
    assert AdaptiveAsymmetricLoss(num_classes=1, total_steps=9)(pred.requires_grad_(), target).isfinite()
    with pytest.raises(ValueError, match=r'num_classes=5 logits a row, got 1'):
        AsymmetricLoss(num_classes=5)(pred, target)


@multi_label
@pytest.mark.parametrize('target', [torch.tensor([1, 0, 1, 1, 0]), torch.ones(5), torch.ones(5).bool()])
def test_labels_without_the_axis_of_the_one_class_are_refused(loss, pred, target):
    text = r'shape of pred, \(5, 1\), got \(5,\), .* two ways .* target.unsqueeze\(-1\) .* need use_sigmoid=True'
    with pytest.raises(ValueError, match=text):
        loss(pred[:, None], target)
    close(loss(pred[:, None], target.unsqueeze(-1)), loss(pred, target))
    with pytest.raises(ValueError, match=r'shape of pred, \(5,\), got \(5, 1\), .* two ways .* target.squeeze\(-1\)'):
        loss(pred, target.unsqueeze(-1))
    with pytest.raises(ValueError, match='which can be read in two ways for one class'):
        AsymmetricLoss(use_sigmoid=True)(pred, target.unsqueeze(-1))


@modules
def test_a_detection_head_of_one_class_says_so_with_use_sigmoid(module, pred):
    pred, index = pred[:, None].requires_grad_(), torch.tensor([0, 1, 1, -1, 0])
    if module is AdaptiveAsymmetricLoss:
        module = partial(module, total_steps=9)
    with pytest.raises(ValueError, match='which can be read in two ways for one class'):
        module()(pred, index)
    loss, dense = module(use_sigmoid=True), torch.tensor([1, 0, 0, -1, 1])
    assert loss.use_sigmoid is True and module().use_sigmoid is True  # heads of the DETR family ask the loss
    close(loss(pred, index, avg_factor=2), module()(pred, dense[:, None], avg_factor=2))
    with pytest.raises(ValueError, match=r'lie in \[0, 1\] \(1 = background\) .* got 2 at row 1'):
        loss(pred, index + 1)
    unchecked = module(use_sigmoid=True, check_target_range=False)
    close(unchecked(pred, 5 * index.clamp(min=0)), module()(pred, (index < 1).long()[:, None]))  # above C: background
    close(loss(pred, dense[:, None]), module()(pred, dense[:, None]))


def test_labels_and_scores_of_one_class_are_class_indices(pred):
    loss, dense = AsymmetricQualityLoss(), torch.tensor([0.7, 0, 0, -1, 0.2])
    labels, scores = torch.tensor([0, 1, 1, -1, 0]), torch.tensor([0.7, 0, 0, 0, 0.2])
    close(loss(pred[:, None], (labels, scores)), loss(pred, dense))


def test_a_softmax_needs_two_classes(pred):
    for one in (pred, pred[:, None]):
        with pytest.raises(ValueError, match='two classes or more, got .*; a binary classifier .* asymmetric_loss'):
            mmasl.softmax_asymmetric_loss(one, torch.zeros(5).long())


@losses
def test_index_maps_with_the_classes_on_axis_1_are_never_read_along_the_width(loss):
    pred, target = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    with pytest.raises(ValueError, match=r'classes come last here: pass pred.movedim\(1, -1\)'):
        loss(pred, target)
    flat = loss(pred.movedim(1, -1).reshape(-1, 3), target.flatten())
    close(loss(pred.movedim(1, -1), target), flat)
    close(loss(pred.movedim(1, -1), target.unsqueeze(-1)), flat)
    with pytest.raises(ValueError, match=r'pass pred.movedim\(1, -1\) and target.movedim\(1, -1\)'):
        loss(pred, target.unsqueeze(1))
    close(loss(pred.movedim(1, -1), target.unsqueeze(1).movedim(1, -1)), flat)


@losses
@pytest.mark.parametrize('shape', [(2, 3, 3, 3), (2, 3, 3)])
def test_a_shape_that_fits_both_ways_is_refused_until_it_says_which(loss, shape):
    pred, target = torch.randn(shape), torch.randint(0, 3, shape[:-1])
    text = r'fits pred .* classes last and with its classes on axis 1; pass target.unsqueeze\(-1\)'
    for value in (pred, pred.movedim(1, -1)):
        with pytest.raises(ValueError, match=text):
            loss(value, target)
    close(loss(pred, target.unsqueeze(-1)), loss(pred.reshape(-1, 3), target.flatten()))


def test_classes_on_axis_1_give_the_values_of_torch_once_they_are_last():
    pred, target = torch.randn(2, 3, 3, 3), torch.randint(0, 3, (2, 3, 3))
    moved = (pred.movedim(1, -1), target.unsqueeze(-1))
    softmax = mmasl.softmax_asymmetric_loss(*moved, gamma_pos=0, label_smoothing=0, reduction='none')
    close(softmax, F.cross_entropy(pred, target, reduction='none'))
    dense = F.one_hot(target, 3).movedim(-1, 1).float()
    sigmoid = mmasl.asymmetric_loss(*moved, reduction='none', **BCE)
    close(sigmoid.movedim(-1, 1), F.binary_cross_entropy_with_logits(pred, dense, reduction='none'))


@multi_label
def test_a_map_of_weights_is_never_read_along_the_width(loss):
    pred, target = torch.randn(2, 3, 3, 3), torch.randint(0, 2, (2, 3, 3, 3))
    with pytest.raises(ValueError, match=r'weight: .* fits .*; pass weight.unsqueeze\(-1\) where they are last'):
        loss(pred, target, torch.rand(2, 3, 3))
    with pytest.raises(ValueError, match=r'weight: .*; classes come last here: pass pred.movedim\(1, -1\)'):
        loss(torch.randn(2, 3, 4, 5), torch.zeros(2, 3, 4, 5), torch.rand(2, 4, 5))


def test_labels_and_scores_in_maps():
    pred, labels, scores = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5)), torch.rand(2, 4, 5)
    loss = AsymmetricQualityLoss()
    with pytest.raises(ValueError, match=r'expected labels of shape \(2, 3, 4\) .*movedim\(1, -1\)'):
        loss(pred, (labels, scores))
    flat = loss(pred.movedim(1, -1).reshape(-1, 3), (labels.flatten(), scores.flatten()))
    close(loss(pred.movedim(1, -1), (labels, scores)), flat)
    pred, labels, scores = torch.randn(2, 3, 3), torch.randint(0, 3, (2, 3)), torch.rand(2, 3)
    with pytest.raises(ValueError, match=r'fits pred .* pass target.unsqueeze\(-1\)'):
        loss(pred, (labels, scores))
    flat = loss(pred.flatten(0, 1), (labels.flatten(), scores.flatten()))
    close(loss(pred, (labels.unsqueeze(-1), scores)), flat)
    close(loss(pred, (labels.unsqueeze(-1), scores.unsqueeze(-1))), flat)
