"""Published data sets in MMPretrain's Runner, on their miniatures: ignored labels stay ignored, and it learns."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmasl import asymmetric_loss
from mmasl.datasets.miniatures import Size, make_miniature
from mmasl.evaluation.functional import multilabel_metrics

# The training split of data sets with ignored labels or one label: its number of classes and its config.
# test_configs/test_recipes.py reads all published data sets.
DATA = {
    'voc': (20, dict(type='mmasl.VOCMultiLabel', split='train', difficult='ignored')),
    'open_images': (
        40,
        dict(
            type='mmasl.OpenImages',
            ann_file='oidv6-train-annotations-human-imagelabels.csv',
            data_prefix='train',
            unverified='ignored',
        ),
    ),
    'herbarium': (10, dict(type='mmasl.Herbarium2020', ann_file='metadata.json', split='trainval')),
}
FOLDERS = {'voc': '/VOC2007', 'herbarium': '/nybg2020/train'}
ITERATIONS = 300


def config(name, tmp_path):
    """DigitNet with ASL on 64 training images, no augmentation."""
    num_classes, dataset = DATA[name]
    root = make_miniature(name, tmp_path / name, Size(train=64, val=1, test=1, side=48))
    dataset = dict(dataset, data_root=f'{root}{FOLDERS.get(name, "")}')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(48, 48)), dict(type='PackInputs')]
    head = dict(type='MultiLabelLinearClsHead', loss=dict(type='mmasl.AsymmetricLoss'))
    metric = dict(type='mmasl.MultiLabelMetric')
    if name == 'herbarium':
        head = dict(type='LinearClsHead', loss=dict(type='mmasl.SoftmaxAsymmetricLoss'))
        metric = dict(type='SingleLabelMetric', items=('f1-score',))
    loader = dict(
        num_workers=0,
        dataset=dict(dataset, pipeline=pipeline),
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                data_preprocessor=dict(num_classes=num_classes, mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True),
                backbone=dict(type='mmasl.DigitNet'),
                neck=dict(type='GeneralizedMeanPooling', p=3.0, p_trainable=False),
                head=dict(head, num_classes=num_classes, in_channels=128),
            ),
            train_dataloader=dict(loader, batch_size=16),
            test_dataloader=dict(loader, batch_size=64),
            test_evaluator=metric,
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=ITERATIONS),
            test_cfg=dict(),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.003)),
            param_scheduler=[dict(type='OneCycleLR', eta_max=0.003, total_steps=ITERATIONS, by_epoch=False)],
            default_hooks=dict(checkpoint=None),
            randomness=dict(seed=0),
            experiment_name=f'published_{name}',
            work_dir=str(tmp_path / 'work_dir'),
        )
    )


@pytest.mark.parametrize('name', ['voc', 'open_images'])
def test_ignored_labels_reach_loss_and_metric(name, tmp_path, monkeypatch):
    runner = Runner.from_cfg(config(name, tmp_path))
    model = runner.model.eval()  # a forward pass again is the same then
    loader = runner.build_dataloader(runner.cfg.test_dataloader)
    (batch,) = loader
    target = torch.stack([sample.gt_score for sample in batch['data_samples']])
    assert all((target == value).sum() > 10 for value in (-1, 0, 1))
    data = model.data_preprocessor(batch, training=True)
    features = model.extract_feat(data['inputs'])
    logits = model.head(features)
    logits.retain_grad()

    with monkeypatch.context() as patch:
        patch.setattr(model.head, 'forward', lambda _: logits)
        loss = model.head.loss(features, data['data_samples'])['loss']
    loss.backward()
    known = target != -1
    expected = asymmetric_loss(logits.detach()[known][None], target[known][None], reduction='sum') / len(target)
    torch.testing.assert_close(loss.detach(), expected)
    assert (logits.grad[~known] == 0).all() and (logits.grad[known] != 0).any()

    scores = logits.detach().sigmoid()
    expected = multilabel_metrics(scores.numpy(), target.numpy())['mAP']
    as_negative = multilabel_metrics(scores.numpy(), target.clamp(min=0).numpy())['mAP']
    assert runner.test()['multi-label/mAP'] == pytest.approx(expected) != pytest.approx(as_negative)


@pytest.mark.parametrize('name', ['open_images', 'herbarium'])
def test_it_learns_its_miniature(name, tmp_path, monkeypatch):
    # MMEngine's loop waits two seconds after each pass over the data, of which there are 75
    monkeypatch.setattr('mmengine.runner.loops.time', SimpleNamespace(sleep=lambda seconds: None))
    runner = Runner.from_cfg(config(name, tmp_path))
    runner.train()
    metrics = runner.test()
    assert metrics['single-label/f1-score' if name == 'herbarium' else 'multi-label/mAP'] > 90
