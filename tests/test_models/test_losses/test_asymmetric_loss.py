"""The registered module: its signature, its registration under every default scope, its errors."""

import copy
import inspect
import io

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from mmasl import asymmetric_loss
from mmasl.models.losses import AsymmetricLoss

MODULE_ONLY = {'loss_weight', 'use_sigmoid', 'eps', 'num_classes'}
CALL_ONLY = {'pred', 'target', 'weight', 'avg_factor'}


def test_module_and_function_have_the_same_parameters_and_defaults():
    module = inspect.signature(AsymmetricLoss).parameters
    function = inspect.signature(asymmetric_loss).parameters
    assert set(module) - MODULE_ONLY == set(function) - CALL_ONLY
    for name in set(module) - MODULE_ONLY:
        assert module[name].default == function[name].default, name


def test_it_takes_the_arguments_of_mmpretrain_in_their_order():
    upstream = pytest.importorskip('mmpretrain.models.losses').AsymmetricLoss
    theirs = list(inspect.signature(upstream).parameters.values())
    ours = list(inspect.signature(AsymmetricLoss).parameters.values())[: len(theirs)]
    # use_sigmoid is True unless it is written, which also says that a detection head of one class passes class indices.
    assert [(p.name, True if p.name == 'use_sigmoid' else p.default) for p in ours] == [
        (p.name, True if p.name == 'use_sigmoid' else p.default) for p in theirs
    ]


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
    torch.manual_seed(0)
    pred, target, weight = torch.randn(4, 3), torch.randint(0, 2, (4, 3)), torch.rand(4)
    loss = AsymmetricLoss(1, 2, 0.1, 'sum', 3.0, alpha=0.3, class_weight=[1, 2, 3], detach_focus=True)
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
