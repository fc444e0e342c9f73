"""The registered module: its signature, its registration under every default scope, its errors."""

import copy
import inspect
import io

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from mmasl import (
    AdaptiveAsymmetricLoss,
    AsymmetricLoss,
    AsymmetricQualityLoss,
    SoftmaxAsymmetricLoss,
    asymmetric_loss,
)

LOSSES = [AsymmetricLoss, AsymmetricQualityLoss, AdaptiveAsymmetricLoss, SoftmaxAsymmetricLoss]

MODULE_ONLY = {'loss_weight', 'use_sigmoid', 'eps', 'num_classes'}
CALL_ONLY = {'pred', 'target', 'weight', 'avg_factor'}


def test_module_and_function_have_the_same_parameters_and_defaults():
    module = inspect.signature(AsymmetricLoss).parameters
    function = inspect.signature(asymmetric_loss).parameters
    assert set(module) - MODULE_ONLY == set(function) - CALL_ONLY
    for name in set(module) - MODULE_ONLY:
        assert module[name].default == function[name].default, name


def test_it_takes_the_arguments_of_mmpretrain_with_their_defaults():
    upstream = pytest.importorskip('mmpretrain.models.losses').AsymmetricLoss
    ours = inspect.signature(AsymmetricLoss).parameters
    for name, theirs in inspect.signature(upstream).parameters.items():
        # True unless it is written, which also says that a detection head of one class passes class indices.
        assert (True if name == 'use_sigmoid' else ours[name].default) == theirs.default


@pytest.mark.parametrize('loss', LOSSES)
def test_parameters_are_named_since_their_order_differs_between_the_codes(loss):
    with pytest.raises(TypeError, match='positional argument'):
        loss(4, 1, 0.05)


def test_repr_shows_the_parameters():
    always = "gamma_pos=0.0, gamma_neg=4.0, clip=0.05, reduction='mean'"
    assert repr(AsymmetricLoss()) == f'AsymmetricLoss({always})'
    changed = AsymmetricLoss(gamma_neg=2, use_sigmoid=True, alpha=0.25, class_weight=[1, 2])
    assert repr(changed) == (
        "AsymmetricLoss(gamma_pos=0.0, gamma_neg=2, clip=0.05, reduction='mean', use_sigmoid=True, alpha=0.25, "
        'class_weight=[1.0, 2.0])'
    )
    assert repr(AsymmetricLoss(class_weight=[1] * 80)).endswith("reduction='mean', class_weight=(80,))")
    adaptive = AdaptiveAsymmetricLoss(adapt='clip', gamma_neg=4.0, momentum=0.5)
    for size in ('2 / steps', '0.005'):
        assert repr(adaptive) == (
            f'AdaptiveAsymmetricLoss({always}, momentum=0.5, delta_p_target=0.1, steers=(clip by {size} in (0.0, 0.5)))'
        )
        adaptive = AdaptiveAsymmetricLoss(adapt='clip', gamma_neg=4.0, momentum=0.5, clip_step_size=0.005)
    assert repr(SoftmaxAsymmetricLoss(ignore_index=-100)) == (
        "SoftmaxAsymmetricLoss(gamma_pos=0.0, gamma_neg=4.0, label_smoothing=0.1, reduction='mean', ignore_index=-100)"
    )


def test_class_weights_of_a_wrong_length_are_refused_before_the_training_where_the_number_of_classes_is_known():
    text = r'class_weight: expected num_classes=3 numbers, got shape \(2,\)'
    for loss in (AsymmetricLoss, AsymmetricQualityLoss, AdaptiveAsymmetricLoss):
        with pytest.raises(ValueError, match=text):
            loss(class_weight=[1, 2], num_classes=3)
    for loss in LOSSES:
        with pytest.raises(ValueError, match=r'class_weight: expected .* got shape \(1, 2\)'):
            loss(class_weight=[[1, 2]])
        with pytest.raises(ValueError, match=r'shape \(3,\), one weight for each class of pred .*\(1, 3\), got \(2,\)'):
            loss(class_weight=[1, 2])(torch.zeros(1, 3), torch.tensor([0]))


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmengine'])
def test_it_is_built_by_name_from_every_default_scope(scope):
    registries = [MODELS]
    if scope != 'mmengine':
        registries.append(pytest.importorskip(f'{scope}.registry').MODELS)
    with DefaultScope.overwrite_default_scope(scope):
        for registry in registries:
            loss = registry.build(dict(type='mmasl.AsymmetricLoss', gamma_neg=2.0))
            assert type(loss) is AsymmetricLoss and loss.gamma_neg == 2


def test_module_forwards_everything():
    numbers = dict(gamma_pos=1, gamma_neg=2, clip=0.1, reduction='sum', loss_weight=3.0)
    torch.manual_seed(0)
    pred, target, weight = torch.randn(4, 3), torch.randint(0, 2, (4, 3)), torch.rand(4)
    loss = AsymmetricLoss(**numbers, alpha=0.3, class_weight=[1, 2, 3], detach_focus=True)
    expected = asymmetric_loss(
        pred, target, weight, 1, 2, 0.1, 'sum', alpha=0.3, class_weight=torch.tensor([1.0, 2, 3]), detach_focus=True
    )
    torch.testing.assert_close(loss(pred, target, weight), 3 * expected)
    elements = loss(pred, target, weight, reduction_override='none', avg_factor=7)
    torch.testing.assert_close(elements.sum(), 3 * expected)
    mean = loss(pred, target, weight, reduction_override='mean', avg_factor=7)
    torch.testing.assert_close(mean, 3 * expected / 7)


@pytest.mark.parametrize(
    'arguments, text',
    [
        (dict(use_sigmoid=False), 'use_sigmoid: expected True, got False; .* mmasl.SoftmaxAsymmetricLoss'),
        (dict(gamma_neg=-1), 'gamma_neg: .* got -1'),
        (dict(clip=2), 'clip: .* got 2'),
        (dict(alpha=-0.1), 'alpha: .* got -0.1'),
        (dict(reduction='batch'), "reduction: .* got 'batch'"),
        (dict(backend='fast'), "backend: .* got 'fast'"),
    ],
)
def test_a_wrong_parameter_is_reported_when_the_model_is_built(arguments, text):
    with pytest.raises(ValueError, match=text):
        AsymmetricLoss(**arguments)


def test_it_copies_saves_and_leaves_the_checkpoint_alone():
    loss = AsymmetricLoss(class_weight=[1.0, 2.0])
    assert loss.state_dict() == {}
    buffer = io.BytesIO()
    torch.save(loss, buffer)
    buffer.seek(0)
    pred, target = torch.randn(3, 2), torch.randint(0, 2, (3, 2))
    for twin in (copy.deepcopy(loss), torch.load(buffer, weights_only=False)):
        torch.testing.assert_close(twin(pred, target), loss(pred, target))


def test_num_classes_catches_a_head_with_a_channel_too_many():
    loss = AsymmetricLoss(num_classes=80)
    assert loss(torch.zeros(1, 80), torch.tensor([80])).isfinite()
    with pytest.raises(ValueError, match='expected num_classes=80 logits a row, got 81; .* use_sigmoid=True'):
        loss(torch.zeros(1, 81), torch.tensor([80]))
