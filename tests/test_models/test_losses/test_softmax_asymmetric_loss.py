"""The single-label module in MMPretrain's linear head."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from mmengine.registry import DefaultScope


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
