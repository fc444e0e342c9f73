"""What the detection configs promise: twins that differ in the loss alone, upstream's losses as they are."""

import json
from pathlib import Path

import pytest
from mmengine import Config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
RESULTS = ROOT / 'tools' / 'studies' / 'results' / 'digit_scenes_det.jsonl'
DIGITS = 'digit_scenes_det/{}_digitnet_fpn_{}_1xb16_digitscenes-96px.py'
PHOTOS = 'photos_det/{}_efficientnet-lite0_fpn_{}_1xb8_coco14-160px.py'
ENHANCED = 'coco_detection/fcos_tresnet-m_fpn_gn-head-center-normbbox-centeronreg-giou_{}-1x_coco.py'
TWINS = {
    ENHANCED: ('fl', 'asl'),
    'coco_detection/atss_tresnet-m_fpn_{}-1x_coco.py': ('fl', 'asl'),
    DIGITS.format('fcos', '{}'): ('fl', 'asl'),
    DIGITS.format('gfl', '{}'): ('qfl', 'aql'),
    PHOTOS.format('fcos', '{}'): ('fl', 'asl'),
    PHOTOS.format('gfl', '{}'): ('qfl', 'aql'),
}
MMDET = {
    'coco_detection/fcos_r50-caffe_fpn_gn-head_asl-1x_coco.py': 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    ENHANCED.format('fl'): 'fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py',
    'coco_detection/atss_r50_fpn_asl-1x_coco.py': 'atss/atss_r50_fpn_1x_coco.py',
    'coco_detection/atss_tresnet-m_fpn_fl-1x_coco.py': 'atss/atss_r50_fpn_1x_coco.py',
    'coco_detection/retinanet_r50_fpn_asl-1x_coco.py': 'retinanet/retinanet_r50_fpn_1x_coco.py',
    'coco_detection/deformable-detr_r50_asl-16xb2-50e_coco.py': (
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py'
    ),
}


def load(path):
    """The config as a dict, without the scopes that MMEngine notes where a base is another package's."""
    cfg = json.dumps(Config.fromfile(path).to_dict())
    return json.loads(cfg, object_hook=lambda part: {key: part[key] for key in part if key != '_scope_'})


@pytest.mark.parametrize('data', ['voc07', 'coco14'])
def test_photographs_differ_in_the_loss_alone(data):
    cfgs = [load(path) for path in sorted((CONFIGS / 'photos').glob(f'*_{data}-*.py'))]
    for cfg in cfgs:
        cfg['model']['head'].pop('loss')
        cfg.pop('loss', None)
        cfg['custom_hooks'] = [hook for hook in cfg['custom_hooks'] if hook['type'] != 'mmasl.AsymmetryHook']
    assert len(cfgs) == 8 and all(cfg == cfgs[0] for cfg in cfgs)


@pytest.mark.parametrize('name', TWINS)
def test_twins_differ_in_the_loss_alone(name):
    """On DigitScenes in the learning rate too: each has the one that suits its loss."""
    twins = [load(CONFIGS / name.format(loss)) for loss in TWINS[name]]
    losses = [cfg['model']['bbox_head'].pop('loss_cls') for cfg in twins]
    if 'digitscenes' in name:
        for cfg in twins:
            cfg['param_scheduler'].pop('eta_max')
    assert twins[0] == twins[1]
    assert losses[0]['type'] in ('FocalLoss', 'QualityFocalLoss') and losses[1]['type'].startswith('mmasl.Asymmetric')
    assert all(loss['use_sigmoid'] for loss in losses)


@pytest.mark.parametrize('name', [name for name in TWINS if '/fcos_digitnet' in name])
def test_settings_are_the_best_on_validation(name):
    """The trials are stored; a config has the settings of its loss's best one."""
    cells = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    trials = [dict(cell['spec'], mAP=cell['result']['mAP']) for cell in cells if cell['spec']['split'] == 'val']
    for loss in TWINS[name]:
        cfg = load(CONFIGS / name.format(loss))
        mine = [t for t in trials if t['loss'] == loss and t['epochs'] == cfg['train_cfg']['max_epochs']]
        best = max((t for t in mine if t['missing'] == 0), key=lambda trial: trial['mAP'])
        criterion = cfg['model']['bbox_head']['loss_cls']
        assert (best['lr'], best['criterion']) == (cfg['param_scheduler']['eta_max'], criterion)
        assert len(mine) >= 6


@pytest.mark.parametrize('name', MMDET)
def test_coco_configs_are_mmdetections_with_another_loss_or_backbone(name):
    upstream = Path(Config._get_cfg_path(f'mmdet::{MMDET[name]}', '')[0])
    ours, theirs = load(CONFIGS / name), load(upstream)
    models = [cfg.pop('model') for cfg in (ours, theirs)]
    assert ours == theirs
    changed = {'loss_cls'} if 'asl' in name else {'data_preprocessor', 'backbone', 'neck'}
    for model in models:
        if 'loss_cls' in changed:
            assert model['bbox_head'].pop('loss_cls')['loss_weight' if 'detr' in name else 'use_sigmoid']
        else:
            assert changed == {key for key in changed if model.pop(key)}
    assert models[0] == models[1]
