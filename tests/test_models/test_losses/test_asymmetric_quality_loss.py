"""The registered modules for quality targets: signature, registration, errors, and the one of MMDetection's kind."""

import inspect

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from mmasl import asymmetric_quality_loss
from mmasl.models.losses import AsymmetricQualityLoss

MODULE_ONLY = {'loss_weight', 'use_sigmoid', 'num_classes'}
CALL_ONLY = {'pred', 'target', 'weight', 'avg_factor'}


def test_module_and_function_have_the_same_parameters_and_defaults():
    module = inspect.signature(AsymmetricQualityLoss).parameters
    function = inspect.signature(asymmetric_quality_loss).parameters
    assert set(module) - MODULE_ONLY == set(function) - CALL_ONLY
    for name in set(module) - MODULE_ONLY:
        assert module[name].default == function[name].default, name


def test_module_forwards_everything():
    numbers = dict(gamma_pos=1, gamma_neg=2, clip=0.1, reduction='sum', loss_weight=3.0)
    torch.manual_seed(0)
    pred, target, weight = torch.rand(4, 3), (torch.tensor([0, 2, 3, -1]), torch.rand(4)), torch.rand(4)
    loss = AsymmetricQualityLoss(**numbers, alpha=0.3, iou_weighted=True, class_weight=[1, 2, 3], activated=True)
    constants = dict(alpha=0.3, iou_weighted=True, class_weight=torch.tensor([1.0, 2, 3]), activated=True)
    expected = asymmetric_quality_loss(pred, target, weight, 1, 2, 0.1, 'sum', **constants)
    torch.testing.assert_close(loss(pred, target, weight), 3 * expected)
    elements = loss(pred, target, weight, reduction_override='none', avg_factor=7)
    torch.testing.assert_close(elements.sum(), 3 * expected)
    mean = loss(pred, target, weight, reduction_override='mean', avg_factor=torch.tensor(7))
    torch.testing.assert_close(mean, 3 * expected / 7)


@pytest.mark.parametrize(
    'arguments, text',
    [
        (dict(use_sigmoid=False), 'use_sigmoid: expected True, got False'),
        (dict(gamma_neg=-1), 'gamma_neg: .* got -1'),
        (dict(alpha=-0.1), r'alpha: expected a real number in \[0, inf\), got -0.1'),
        (dict(backend='fast'), "backend: .* got 'fast'"),
    ],
)
def test_a_wrong_parameter_is_reported_when_the_model_is_built(arguments, text):
    with pytest.raises(ValueError, match=text):
        AsymmetricQualityLoss(**arguments)


def test_num_classes_catches_a_head_with_a_channel_too_many():
    loss = AsymmetricQualityLoss(num_classes=80)
    with pytest.raises(ValueError, match='expected num_classes=80 logits a row, got 81; .* use_sigmoid=True'):
        loss(torch.zeros(1, 81), (torch.tensor([80]), torch.zeros(1)))


@pytest.mark.parametrize('scope', ['mmdet', 'mmengine'])
def test_the_one_of_the_detr_family_is_a_quality_focal_loss_of_mmdetection(scope):
    upstream = pytest.importorskip('mmdet.models.losses').QualityFocalLoss
    cfg = dict(use_sigmoid=True, gamma_pos=1.0, gamma_neg=2.0, loss_weight=2.0)
    with DefaultScope.overwrite_default_scope(scope):
        ours = MODELS.build(dict(type='mmasl.AsymmetricQualityLoss', **cfg))
        detr = MODELS.build(dict(type='mmasl.AsymmetricQualityFocalLoss', **cfg))
    assert isinstance(detr, upstream) and isinstance(detr, AsymmetricQualityLoss) and not isinstance(ours, upstream)
    pred, target = torch.zeros(2, 3), (torch.tensor([1, 3]), torch.tensor([0.7, 0.0]))
    torch.testing.assert_close(detr(pred, target, avg_factor=2), ours(pred, target, avg_factor=2), rtol=0, atol=0)
