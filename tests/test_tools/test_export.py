"""ONNX and TorchScript of classifiers and of the raw heads of detectors, against torch."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from mmdet.apis import init_detector
from mmdet.structures import DetDataSample
from mmengine import Config

from mmasl.apis import MultiLabelInferencer
from mmasl.datasets import DigitScenes
from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, Refusals, load_main, write_config

pytestmark = pytest.mark.usefixtures('empty_folder')

main = load_main('model_converters/export')
train = load_main('train')
ATSS = """
model.update(type='ATSS')
model['neck'].update(num_outs=3)
model['bbox_head'] = dict(
    type='ATSSHead',
    num_classes=10,
    in_channels=16,
    feat_channels=16,
    stacked_convs=1,
    norm_cfg=dict(type='GN', num_groups=4),
    anchor_generator=dict(
        type='AnchorGenerator', ratios=[1.0], octave_base_scale=8, scales_per_octave=1, strides=[4, 8, 16]
    ),
    bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
    loss_cls=dict(type='mmasl.AsymmetricLoss', use_sigmoid=True, gamma_neg=2.0),
    loss_bbox=dict(type='GIoULoss'),
    loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True),
)
model['train_cfg'] = dict(assigner=dict(type='ATSSAssigner', topk=9), allowed_border=-1, pos_weight=-1)
"""
SINGLE_LABEL = """
model['head'].update(type='LinearClsHead', loss=dict(type='CrossEntropyLoss'))
model['data_preprocessor'].update(to_onehot=False)
train_dataloader['dataset'].update(single=True)
"""
COLORS = "model['data_preprocessor'].update({}=True, mean=[130.0, 120.0, 110.0], std=[60.0, 64.0, 70.0])\n"
TEXTS = {
    'classifier': CLASSIFICATION + COLORS.format('to_rgb'),
    'single_classifier': CLASSIFICATION + SINGLE_LABEL,
    'fcos': DETECTION + COLORS.format('bgr_to_rgb'),
    'atss': DETECTION + ATSS,
}


@pytest.fixture(scope='module', params=TEXTS)
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f'export_{request.param}')
    config = write_config(folder, TEXTS[request.param])
    assert train([config, '--work-dir', str(folder / 'wd'), '--no-validate']) == 0
    return config, str(folder / 'wd' / 'epoch_1.pth')


@pytest.mark.parametrize('suffix', ['onnx', 'pt'])
def test_it_is_compared_with_torch(trained, suffix, capsys):
    config, checkpoint = trained
    assert main([config, checkpoint, f'out/model.{suffix}', '--size', '64', '64']) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f'done: out/model.{suffix}; largest difference from torch, |a-b|/(1+|b|): ')
    names = [part.split()[0] for part in last.split('): ')[1].split(', ')]
    if 'classifier' in config:
        assert names == ['scores']
    else:
        assert names == [f'{kind}_{level}' for kind in ('cls_score', 'bbox_pred', 'centerness') for level in range(3)]
    assert [path.name for path in Path('out').iterdir()] == [f'model.{suffix}']


def test_probabilities_of_the_inferencer(trained):
    """Of a picture as it comes from a file, in any batch."""
    config, checkpoint = trained
    if 'classifier' not in config:
        pytest.skip('about classifiers')
    assert main([config, checkpoint, 'model.onnx', '--size', '48', '48']) == 0
    session = onnxruntime.InferenceSession('model.onnx')
    pictures = np.stack([scene['img'].transpose(2, 0, 1) for scene in DigitScenes('test', 5)]).astype(np.float32)
    (scores,) = session.run(['scores'], {'pictures': pictures})
    inferencer = MultiLabelInferencer(Config.fromfile(config), checkpoint)
    expected = [result['pred_scores'] for result in inferencer([scene['img'] for scene in DigitScenes('test', 5)])]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    classes = json.loads(session.get_modelmeta().custom_metadata_map['classes'])
    assert tuple(classes) == DigitScenes.METAINFO['classes']


def test_raw_outputs_of_the_detector(trained):
    config, checkpoint = trained
    if 'classifier' in config:
        pytest.skip('about detectors')
    assert main([config, checkpoint, 'model.onnx', '--size', '64', '64']) == 0
    pictures = np.random.default_rng(0).uniform(0, 255, (2, 3, 64, 64)).astype(np.float32)
    outputs = onnxruntime.InferenceSession('model.onnx').run(None, {'pictures': pictures})
    model = init_detector(Config.fromfile(config), checkpoint, device='cpu')
    batch = dict(inputs=list(torch.from_numpy(pictures)), data_samples=[DetDataSample(), DetDataSample()])
    data = model.data_preprocessor(batch)
    with torch.no_grad():
        expected = [level for part in model(data['inputs'], mode='tensor') for level in part]
    for output, value in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, value, rtol=1e-3, atol=1e-4)


def test_refusals(trained, capsys, monkeypatch):
    config, checkpoint = trained
    refuse = Refusals('model_converters/export', capsys)
    assert 'model.txt: the name must end in .onnx or .pt' in refuse(config, checkpoint, 'model.txt')
    assert 'does not exist' in refuse(config, checkpoint + 'x', 'model.pt')
    monkeypatch.setattr(sys.modules[refuse.main.__module__], 'TOLERANCE', -1.0)
    said = refuse(config, checkpoint, 'model.pt', '--size', '64', '64')
    assert said.startswith('model.pt differs from torch by more than -1.0: ') and not list(Path().iterdir())
