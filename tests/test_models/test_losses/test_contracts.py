"""What every loss module promises: its signature, its registration, its errors, copies of it; see its own file too."""

import copy
import inspect
import io

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

import mmasl
from mmasl import AdaptiveAsymmetricLoss, AsymmetricLoss, AsymmetricQualityLoss, SoftmaxAsymmetricLoss

MODULE_ONLY = {'loss_weight', 'use_sigmoid', 'eps', 'num_classes'}
CALL_ONLY = {'pred', 'target', 'weight', 'avg_factor'}
SCORES = torch.tensor([0.3, 0.9, 0.0, 0.5])
# For each loss its function, a target, and values of all its parameters that differ from the defaults.
LOSSES = {
    AsymmetricLoss: (
        mmasl.asymmetric_loss,
        torch.tensor([[1, 0, 0], [0, 1, 1], [-1, 0, 0], [0, 0, 0]]),
        dict(gamma_pos=1, gamma_neg=2, clip=0.1, alpha=0.3, detach_focus=True),
    ),
    AsymmetricQualityLoss: (
        mmasl.asymmetric_quality_loss,
        (torch.tensor([0, 2, 3, -1]), SCORES),
        dict(gamma_pos=1, gamma_neg=2, clip=0.1, alpha=0.3, iou_weighted=True, activated=True),
    ),
    SoftmaxAsymmetricLoss: (
        mmasl.softmax_asymmetric_loss,
        torch.tensor([0, 2, -100, 1]),
        dict(gamma_pos=1, gamma_neg=2, label_smoothing=0.3, ignore_index=-100, detach_focus=True),
    ),
}
MODULES = [*LOSSES, AdaptiveAsymmetricLoss]
losses = pytest.mark.parametrize('loss', LOSSES, ids=lambda loss: loss.__name__)
modules = pytest.mark.parametrize('loss', MODULES, ids=lambda loss: loss.__name__)


@losses
def test_module_and_function_have_the_same_parameters_and_defaults(loss):
    module = inspect.signature(loss).parameters
    function = inspect.signature(LOSSES[loss][0]).parameters
    assert set(module) - MODULE_ONLY == set(function) - CALL_ONLY
    for name in set(module) - MODULE_ONLY:
        assert module[name].default == function[name].default, name


@losses
def test_module_forwards_everything(loss):
    function, target, constants = LOSSES[loss]
    torch.manual_seed(0)
    pred, weight, class_weight = torch.rand(4, 3), torch.rand(4), torch.tensor([1.0, 2, 3])
    module = loss(**constants, reduction='sum', loss_weight=3.0, class_weight=class_weight.tolist())
    expected = function(pred, target, weight, reduction='sum', class_weight=class_weight, **constants)
    torch.testing.assert_close(module(pred, target, weight), 3 * expected)
    elements = module(pred, target, weight, reduction_override='none', avg_factor=7)
    torch.testing.assert_close(elements.sum(), 3 * expected)
    for factor in (7, torch.tensor(7)):
        mean = module(pred, target, weight, reduction_override='mean', avg_factor=factor)
        torch.testing.assert_close(mean, 3 * expected / 7)


@modules
@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmengine'])
def test_it_is_built_by_name_from_every_default_scope(loss, scope):
    registries = [MODELS]
    if scope != 'mmengine':
        registries.append(pytest.importorskip(f'{scope}.registry').MODELS)
    with DefaultScope.overwrite_default_scope(scope):
        for registry in registries:
            built = registry.build(dict(type=f'mmasl.{loss.__name__}', gamma_neg=2.0))
            assert type(built) is loss and built.gamma_neg == 2


@modules
def test_parameters_are_named_since_their_order_differs_between_the_codes(loss):
    with pytest.raises(TypeError, match='positional argument'):
        loss(4, 1, 0.05)


WRONG = [
    *((loss, dict(use_sigmoid=False), 'use_sigmoid: expected True, got False') for loss in list(LOSSES)[:2]),
    (AsymmetricLoss, dict(use_sigmoid=False), 'mmasl.SoftmaxAsymmetricLoss'),
    (SoftmaxAsymmetricLoss, dict(use_sigmoid=True), 'use_sigmoid: expected False, got True; .* mmasl.AsymmetricLoss'),
    (SoftmaxAsymmetricLoss, dict(label_smoothing=2), 'label_smoothing: .* got 2'),
    (SoftmaxAsymmetricLoss, dict(ignore_index=0.5), 'ignore_index: .* got 0.5'),
    (AsymmetricLoss, dict(clip=2), 'clip: .* got 2'),
    (AsymmetricLoss, dict(alpha=-0.1), 'alpha: .* got -0.1'),
    (AsymmetricQualityLoss, dict(alpha=-0.1), r'alpha: expected a real number in \[0, inf\), got -0.1'),
    *((loss, dict(gamma_neg=-1), 'gamma_neg: .* got -1') for loss in MODULES),
    *((loss, dict(reduction='batch'), "reduction: .* got 'batch'") for loss in MODULES),
    *((loss, dict(backend='fast'), "backend: .* got 'fast'") for loss in MODULES),
]


@pytest.mark.parametrize('loss, arguments, text', WRONG)
def test_a_wrong_parameter_is_reported_when_the_model_is_built(loss, arguments, text):
    with pytest.raises((ValueError, TypeError), match=text):
        loss(**arguments)


@modules
def test_class_weights_of_a_wrong_length_are_refused_before_the_training_where_the_number_of_classes_is_known(loss):
    if loss is not SoftmaxAsymmetricLoss:
        with pytest.raises(ValueError, match=r'class_weight: expected num_classes=3 numbers, got shape \(2,\)'):
            loss(class_weight=[1, 2], num_classes=3)
    with pytest.raises(ValueError, match=r'class_weight: expected .* got shape \(1, 2\)'):
        loss(class_weight=[[1, 2]])
    with pytest.raises(ValueError, match=r'shape \(3,\), one weight for each class of pred .*\(1, 3\), got \(2,\)'):
        loss(class_weight=[1, 2])(torch.zeros(1, 3), torch.tensor([0]))


@losses
def test_it_copies_saves_and_leaves_the_checkpoint_alone(loss):
    _, target, constants = LOSSES[loss]
    module = loss(class_weight=[1.0, 2.0, 3.0], **constants)
    assert module.state_dict() == {}
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    pred = torch.rand(4, 3)
    for twin in (copy.deepcopy(module), torch.load(buffer, weights_only=False)):
        torch.testing.assert_close(twin(pred, target), module(pred, target))


@pytest.mark.parametrize(
    'loss, target',
    [
        (AsymmetricLoss, torch.tensor([80])),
        (AdaptiveAsymmetricLoss, torch.tensor([80])),
        (AsymmetricQualityLoss, (torch.tensor([80]), torch.zeros(1))),
    ],
)
def test_num_classes_catches_a_head_with_a_channel_too_many(loss, target):
    module = loss(num_classes=80)
    assert module(torch.zeros(1, 80), target).isfinite()
    with pytest.raises(ValueError, match='expected num_classes=80 logits a row, got 81; .* use_sigmoid=True'):
        module(torch.zeros(1, 81), target)


def test_it_takes_the_arguments_of_mmpretrain_with_their_defaults():
    upstream = pytest.importorskip('mmpretrain.models.losses').AsymmetricLoss
    ours = inspect.signature(AsymmetricLoss).parameters
    for name, theirs in inspect.signature(upstream).parameters.items():
        # True unless it is written, which also says that a detection head of one class passes class indices.
        assert (True if name == 'use_sigmoid' else ours[name].default) == theirs.default


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


@modules
def test_class_weights_stay_wide_in_a_model_of_half_precision(loss):
    module = loss(class_weight=[0.3, 1e5, 1e-3])
    for half in (module.half(), module.bfloat16()):
        assert half.class_weight.tolist() == torch.tensor([0.3, 1e5, 1e-3]).tolist()


@modules
def test_a_module_without_values_has_a_repr(loss):
    assert 'class_weight=(3,)' in repr(loss(class_weight=[1.0, 2.0, 3.0]).to('meta'))
