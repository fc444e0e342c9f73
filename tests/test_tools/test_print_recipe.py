"""tools/misc/print_recipe.py: the main config is the paper's recipe, and what any other changes is said."""

import sys

import pytest
from mmengine.config import Config

from tests.test_configs.recipes import CONFIGS, PATHS, load
from tests.test_tools.tool_runs import Refusals, load_main

main = load_main('misc/print_recipe')
departures = sys.modules[main.__module__].departures
MAIN = str(CONFIGS / 'coco_multilabel' / 'tresnet-l-asl_1xb128_coco14-448px.py')


def test_the_main_config_departs_in_nothing(capsys):
    assert main([MAIN, '--strict']) == 0
    said = capsys.readouterr().out
    assert 'averaging: ExponentialMovingAverage of decay 0.9997 over weights and buffers' in said
    assert 'Nothing differs from the recipe for MS-COCO.' in said and 'warning' not in said


@pytest.mark.parametrize(
    ('option', 'item', 'words'),
    [
        ('optim_wrapper.optimizer.type=AdamW', 'weight decay', '0.0001, decoupled, not on biases'),
        ('optim_wrapper.optimizer.lr=2e-4', 'optimizer', 'Adam (lr=0.0002, weight_decay=0.0001)'),
        ('optim_wrapper.paramwise_cfg.flat_decay_mult=1', 'weight decay', 'spared: bias_decay_mult'),
        ('optim_wrapper.type=OptimWrapper', 'precision', 'float32'),
        ('param_scheduler.0.end=40', 'schedule', 'one cycle of 40 epochs on lr'),
        ('param_scheduler.1.convert_to_iter_based=False', 'schedule', 'on beta1, turning at 0.2, by epoch'),
        ('train_cfg.max_epochs=80', 'length', '80 epochs'),
        ('custom_hooks.0.momentum=2e-4', 'averaging', 'of decay 0.9998'),
        ('custom_hooks.0.update_buffers=False', 'averaging', 'over weights, the raw'),
        ('train_dataloader.batch_size=64', 'batch', '64 a process; the lr is for 128'),
        ('model.data_preprocessor.std=[58,57,57]', 'inputs', 'RGB, mean [0.0, 0.0, 0.0], std [58, 57, 57]'),
        ('train_dataloader.dataset.pipeline.2.factor=0.3', 'training images', 'Cutout(factor=0.3)'),
        ('test_dataloader.dataset.pipeline.1.scale=640', 'test images', 'SquishResize(scale=640)'),
        ('model.backbone.pretrained=False', 'backbone', 'tresnet_l.miil_in1k, from random weights'),
        ('model.head.loss.gamma_neg=2', 'loss', 'AsymmetricLoss (gamma_pos=0, gamma_neg=2, clip=0.05)'),
    ],
)
def test_a_change_is_said(option, item, words, capsys):
    assert main([MAIN, '--cfg-options', option]) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith('warning: ')]
    assert any(line.startswith(f'warning: {item}: ') and words in line for line in warnings), warnings
    assert all('; expected ' in line and line.endswith(']') for line in warnings)


LOSSES = {'ce', 'fl', 'fl-lw', 'af', 'pm', 'asl-adaptive', 'softmax-asl'}
SETS = {
    'coco_multilabel': set(),
    'voc': {'data'},
    'nus_wide': {'data'},
    'open_images': {'data', 'head', 'schedule', 'length'},
    'herbarium': {'data'},
}


@pytest.mark.parametrize('path', PATHS, ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_a_config_departs_in_what_its_name_says(path):
    """Data set, backbone, loss, head and image size are in the name; nothing else may differ from the main config."""
    model, training, dataset = path.stem.split('_')
    expected = set(SETS[path.parent.name])
    if not model.startswith('tresnet-l-') or 'pre' in training:
        expected.add('backbone')
    if any(
        model.endswith(f'l-{loss}') or model.endswith(f'1-{loss}') or model.endswith(f'5-{loss}') for loss in LOSSES
    ):
        expected.add('loss')
    if 'csra' in model or model.startswith('ofa595') or 'softmax' in model:
        expected.add('head')
    if not dataset.endswith('-448px'):
        expected |= {'training images', 'test images'}
    assert set(departures(load(path))) == expected


def test_strict_and_detectors(tmp_path, capsys):
    refuse = Refusals('misc/print_recipe', capsys)
    said = refuse(MAIN, '--strict', '--cfg-options', 'train_cfg.max_epochs=80')
    assert said == f'{MAIN} differs from the paper in length'
    Config(dict(model=dict(bbox_head=dict()))).dump(tmp_path / 'detector.py')
    assert 'expected a classifier (model.head)' in refuse(str(tmp_path / 'detector.py'))
    part = str(CONFIGS / '_base_' / 'models' / 'digitnet.py')
    assert refuse(part).startswith(
        f'{part} has no train_dataloader, train_cfg, optim_wrapper: it is a part of a config'
    )


def test_a_config_of_another_kind_is_described(capsys):
    digits = CONFIGS / 'digit_scenes' / 'digitnet-fl_ft-1xb16_digitscenes-48px.py'
    assert main([str(digits)]) == 0
    said = capsys.readouterr().out
    assert 'weight decay: none' in said and 'averaging: none' in said and '14 of 14 differ' in said
