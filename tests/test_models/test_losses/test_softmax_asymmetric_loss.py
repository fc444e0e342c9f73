"""The registered single-label module: signature, registration, errors, and its use in MMPretrain's linear head."""

import copy
import inspect
import io

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from mmengine.registry import MODELS, DefaultScope

from mmasl import softmax_asymmetric_loss
from mmasl.models.losses import SoftmaxAsymmetricLoss

MODULE_ONLY = {'loss_weight', 'use_sigmoid'}
CALL_ONLY = {'pred', 'target', 'weight', 'avg_factor'}


def test_module_and_function_have_the_same_parameters_and_defaults():
    module = inspect.signature(SoftmaxAsymmetricLoss).parameters
    function = inspect.signature(softmax_asymmetric_loss).parameters
    assert set(module) - MODULE_ONLY == set(function) - CALL_ONLY
    for name in set(module) - MODULE_ONLY:
        assert module[name].default == function[name].default, name


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmengine'])
def test_it_is_built_by_name_from_every_default_scope(scope):
    registries = [MODELS]
    if scope != 'mmengine':
        registries.append(pytest.importorskip(f'{scope}.registry').MODELS)
    with DefaultScope.overwrite_default_scope(scope):
        for registry in registries:
            loss = registry.build(dict(type='mmasl.SoftmaxAsymmetricLoss', gamma_neg=2.0))
            assert type(loss) is SoftmaxAsymmetricLoss and loss.gamma_neg == 2


def test_module_forwards_everything():
    numbers = dict(gamma_pos=1, gamma_neg=2, label_smoothing=0.3, reduction='sum', loss_weight=3.0)
    torch.manual_seed(0)
    pred, target, weight = torch.randn(4, 3), torch.tensor([0, 2, -100, 1]), torch.rand(4)
    constants = dict(ignore_index=-100, detach_focus=True)
    loss = SoftmaxAsymmetricLoss(**numbers, class_weight=[1, 2, 3], **constants)
    class_weight = torch.tensor([1.0, 2, 3])
    expected = softmax_asymmetric_loss(pred, target, weight, 1, 2, 0.3, 'sum', class_weight=class_weight, **constants)
    torch.testing.assert_close(loss(pred, target, weight), 3 * expected)
    rows = loss(pred, target, weight, reduction_override='none', avg_factor=7)
    torch.testing.assert_close(rows.sum(), 3 * expected)
    mean = loss(pred, target, weight, reduction_override='mean', avg_factor=7)
    torch.testing.assert_close(mean, 3 * expected / 7)


@pytest.mark.parametrize(
    'arguments, error, text',
    [
        (dict(use_sigmoid=True), ValueError, 'use_sigmoid: expected False, got True; .* mmasl.AsymmetricLoss'),
        (dict(gamma_neg=-1), ValueError, 'gamma_neg: .* got -1'),
        (dict(label_smoothing=2), ValueError, 'label_smoothing: .* got 2'),
        (dict(ignore_index=0.5), TypeError, 'ignore_index: .* got 0.5'),
        (dict(reduction='batch'), ValueError, "reduction: .* got 'batch'"),
        (dict(backend='fast'), ValueError, "backend: .* got 'fast'"),
    ],
)
def test_a_wrong_parameter_is_reported_when_the_model_is_built(arguments, error, text):
    with pytest.raises(error, match=text):
        SoftmaxAsymmetricLoss(**arguments)


def test_it_copies_saves_and_leaves_the_checkpoint_alone():
    loss = SoftmaxAsymmetricLoss(class_weight=[1.0, 2.0])
    assert loss.state_dict() == {}
    buffer = io.BytesIO()
    torch.save(loss, buffer)
    buffer.seek(0)
    pred, target = torch.randn(3, 2), torch.randint(0, 2, (3,))
    for twin in (copy.deepcopy(loss), torch.load(buffer, weights_only=False)):
        torch.testing.assert_close(twin(pred, target), loss(pred, target))


def build(head='LinearClsHead', **loss):
    models = pytest.importorskip('mmpretrain.registry').MODELS
    torch.manual_seed(0)
    loss = dict(type='mmasl.SoftmaxAsymmetricLoss', gamma_pos=1, gamma_neg=2, label_smoothing=0.2, **loss)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return models.build(dict(type=head, num_classes=5, in_channels=8, loss=loss))


def equation(z, y):
    """The sum over rows of the authors' single-label loss with the numbers of ``build``, from its definition."""
    p = z.double().softmax(1)
    return -((0.84 * y * (1 - p) + 0.04 * (1 - y) * p**2) * p.log()).sum()


@pytest.mark.parametrize('kind', ['class index', 'mixup', 'ignored'])
def test_value_and_gradient_in_a_linear_head(kind):
    """The head passes ``avg_factor=N``, ignored rows counted."""
    from mmpretrain.structures import DataSample

    head = build()
    feats = torch.randn(6, 8)
    index = torch.arange(6) % 5
    y = F.one_hot(index, 5).double()
    if kind == 'mixup':
        y = 0.6 * y + 0.4 * y.flip(0)
        samples = [DataSample().set_gt_score(scores.float()) for scores in y]
    else:
        index[2] = -1 if kind == 'ignored' else index[2]
        samples = [DataSample().set_gt_label(int(i)) for i in index]
    loss = head.loss((feats,), samples)['loss']
    keep = index != -1
    expected = equation(head((feats,))[keep], y[keep]) / 6
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for ours, theirs in zip(*(torch.autograd.grad(x, head.parameters()) for x in (loss, expected)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_training_step_with_mmpretrains_mixup_and_its_prediction():
    from mmengine.optim import OptimWrapper
    from mmpretrain.registry import MODELS as PRETRAIN
    from mmpretrain.structures import DataSample

    loss = dict(type='mmasl.SoftmaxAsymmetricLoss', class_weight=[1, 2, 1, 1, 1])
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = PRETRAIN.build(
            dict(
                type='ImageClassifier',
                backbone=dict(type='LeNet5'),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=5, in_channels=120, loss=loss),
                data_preprocessor=dict(
                    num_classes=5,
                    mean=[127.0],
                    std=[127.0],
                    batch_augments=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
                ),
            )
        )
    images = [torch.randint(0, 256, (1, 32, 32)) for _ in range(4)]
    samples = [DataSample().set_gt_label(i) for i in range(4)]
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    first = model.train_step(dict(inputs=images, data_samples=samples), wrapper)['loss']
    assert torch.isfinite(first)
    (prediction,) = model.test_step(dict(inputs=images[:1], data_samples=samples[:1]))
    assert prediction.pred_score.sum().item() == pytest.approx(1)


def test_a_multi_label_target_is_refused_by_name():
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_score(torch.tensor([1.0, 1, 0, 0, 0])) for _ in range(2)]
    with pytest.raises(ValueError, match=r'must sum to 1 \(asymmetric_loss is the one for several labels'):
        build().loss((torch.randn(2, 8),), samples)
