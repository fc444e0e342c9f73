"""The check of a built model: a head's channels against its classes, as MMDetection builds them.

tools/train.py runs it, and a hook runs it for those who train without the tool.
"""

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from mmasl.engine.check_model import check_model
from mmasl.errors import UserError
from mmasl.models.losses import AsymmetricLoss
from tests.test_integration.small_detectors import CONFIGS, DETECTORS, NUM_CLASSES, small_config
from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, Refusals, write_config

pytestmark = pytest.mark.usefixtures('empty_folder')

OURS = dict(type='mmasl.AsymmetricLoss', gamma_neg=2.0)
FIT = dict(OURS, use_sigmoid=True)
QUALITY = {'GFL', 'LD', 'RTMDet', 'TOOD'}
NOT_FROM_CONFIG = {'YOLOX', 'Deformable DETR', 'DINO', 'DDQ-DETR', 'DAB-DETR'}  # they ask the loss, or nothing


def built_head(cfg, **loss):
    """A detector of which there is the head alone."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        return nn.ModuleDict({'bbox_head': MODELS.build(dict(cfg, loss_cls=loss))})


@pytest.mark.parametrize('name', DETECTORS)
def test_heads_of_mmdetection(name):
    cfg = small_config(name).bbox_head
    ours = dict(OURS, activated=True) if name == 'TOOD' else OURS
    ours = dict(ours, reduction=cfg.loss_cls.get('reduction', 'mean'))
    if name in QUALITY:
        text = r'^model\.bbox_head\.loss_cls\.type=mmasl\.AsymmetricQualityLoss is needed: .* which AsymmetricLoss does'
        with pytest.raises(UserError, match=text):
            check_model(built_head(cfg, **ours, use_sigmoid=True))
        ours = dict(ours, type='mmasl.AsymmetricQualityLoss')
    check_model(built_head(cfg, **ours, use_sigmoid=True))
    model = built_head(cfg, **ours)
    head = model['bbox_head']
    if name in NOT_FROM_CONFIG:
        assert head.cls_out_channels == NUM_CLASSES
        return check_model(model)
    channels = 7 if name == 'VFNet' else 8  # its channels are those of the base class's own loss
    trouble = (
        'it predicts by their softmax' if name == 'VFNet' else f'{type(head.loss_cls).__name__} needs one per class'
    )
    assert head.cls_out_channels == channels
    with pytest.raises(UserError) as error:
        check_model(model)
    assert str(error.value) == (
        f'model.bbox_head.loss_cls.use_sigmoid=True is missing in the config: {type(head).__name__} has {channels} '
        f'class channels for 7 classes, and {trouble}'
    )


def test_a_head_that_passes_probabilities():
    detector = small_config('TOOD')
    cfg = dict(detector.bbox_head, train_cfg=detector.train_cfg)
    for key in ('loss_cls', 'initial_loss_cls'):
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = nn.ModuleDict({'bbox_head': MODELS.build(dict(cfg, **{key: FIT}))})
        with pytest.raises(UserError) as error:
            check_model(model)
        assert str(error.value) == (
            f'model.bbox_head.{key}.activated=True is missing in the config: TOODHead passes probabilities to its loss'
        )


@pytest.mark.parametrize(
    'path, needed',
    [
        ('yolox/yolox_s_8xb8-300e_coco.py', 'sum'),
        ('fsaf/fsaf_r50_fpn_1x_coco.py', 'none'),
        ('yolo/yolov3_d53_8xb8-320-273e_coco.py', 'sum'),
    ],
)
def test_heads_that_need_another_reduction(path, needed):
    cfg = Config.fromfile(CONFIGS / path).model.bbox_head
    check_model(built_head(cfg, **FIT, reduction=needed))
    with pytest.raises(UserError) as error:
        check_model(built_head(cfg, **FIT))
    assert str(error.value) == (
        f"model.bbox_head.loss_cls.reduction='{needed}' is missing in the config: {cfg.type} needs it; with 'mean', "
        "the class loss has another scale than the head's other losses"
    )


def test_yolov3_may_average_all_its_losses():
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = MODELS.build(dict(type='YOLOV3Head', num_classes=7, in_channels=[8, 8, 8], loss_cls=FIT))
    check_model(nn.ModuleDict({'bbox_head': head}))


def test_losses_of_others_are_not_looked_at():
    cfg = small_config('RetinaNet').bbox_head
    model = built_head(cfg, type='CrossEntropyLoss')
    assert model['bbox_head'].cls_out_channels == NUM_CLASSES + 1
    check_model(model)
    check_model(nn.Linear(2, 3))


def test_second_stages_are_softmax():
    head = dict(type='Shared2FCBBoxHead', in_channels=4, fc_out_channels=4, roi_feat_size=1, num_classes=7)
    with DefaultScope.overwrite_default_scope('mmdet'):
        heads = nn.ModuleList([MODELS.build(head), MODELS.build(dict(head, loss_cls=FIT))])
    with pytest.raises(UserError) as error:
        check_model(nn.ModuleDict({'roi_head': nn.ModuleDict({'bbox_head': heads})}))
    assert str(error.value) == (
        'model.roi_head.bbox_head.1.loss_cls: Shared2FCBBoxHead has 8 class channels for 7 classes, because it '
        'classifies by softmax with background as the last channel, but AsymmetricLoss is for sigmoid classification; '
        'use a softmax loss here: model.roi_head.bbox_head.1.loss_cls.type=CrossEntropyLoss'
    )


UNFIT = {
    'autoassign/autoassign_r50-caffe_fpn_1x_coco.py': 'AutoAssignHead never calls its loss_cls',
    'free_anchor/freeanchor_r50_fpn_1x_coco.py': 'FreeAnchorRetinaHead never calls its loss_cls',
    'centernet/centernet-update_r50-caffe_fpn_ms-1x_coco.py': 'CenterNetUpdateHead passes probabilities and heatmaps',
}


@pytest.mark.parametrize('path', UNFIT)
def test_heads_that_cannot_use_it(path):
    cfg = Config.fromfile(CONFIGS / path).model.bbox_head
    check_model(built_head(cfg, **cfg.get('loss_cls', dict(type='FocalLoss', use_sigmoid=True))))
    with pytest.raises(UserError, match=rf'^model\.bbox_head\.loss_cls: {UNFIT[path]}'):
        check_model(built_head(cfg, **FIT))


class Head(nn.Module):
    """A user's own, with a loss that inherits from ours."""

    def __init__(self, loss='loss_cls', **attributes):
        super().__init__()
        self.add_module(loss, type('OwnLoss', (AsymmetricLoss,), {'__module__': 'elsewhere'})())
        vars(self).update(attributes)
        self.cls_embed = nn.Linear(2, 5)


def test_heads_of_users():
    check_model(Head())  # says nothing of its classes
    check_model(Head(num_classes=5))
    check_model(Head(num_classes=4, cls_out_channels=4))
    check_model(Head('loss_other', num_classes=4))
    with pytest.raises(
        UserError, match=r'^model\.loss_cls: Head has 5 class channels for 4 classes, because it classifies by soft'
    ):
        check_model(Head(num_classes=4))
    with pytest.raises(UserError, match=r'^model\.initial_loss_cls: .* OwnLoss is for sigmoid'):
        check_model(Head('initial_loss_cls', num_classes=4))


def test_a_wrapped_model():
    wrapper = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    nn.Module.__init__(wrapper)
    wrapper.module = Head(num_classes=4)
    with pytest.raises(UserError, match=r'^model\.loss_cls: '):
        check_model(wrapper)


def test_class_weights_of_another_number():
    model = nn.Module()
    model.head = Head('loss_module', num_classes=3)
    model.head.loss_module = AsymmetricLoss(class_weight=[1.0, 2.0])
    with pytest.raises(UserError, match=r'model.head.loss.class_weight: expected 3 weights, one per class, got 2'):
        check_model(model)
    model.head.num_classes = 2
    check_model(model)


def test_class_weights_with_a_channel_for_background():
    weights = dict(class_weight=[1.0] * (NUM_CLASSES + 1))
    cfg = small_config('RetinaNet').bbox_head
    check_model(built_head(cfg, type='CrossEntropyLoss', **weights))
    head = dict(type='Shared2FCBBoxHead', in_channels=4, fc_out_channels=4, roi_feat_size=1, num_classes=NUM_CLASSES)
    for number in (NUM_CLASSES, NUM_CLASSES + 1):
        loss = dict(type='mmasl.SoftmaxAsymmetricLoss', class_weight=[1.0] * number)
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = nn.ModuleDict({'bbox_head': MODELS.build(dict(head, loss_cls=loss))})
        if number == NUM_CLASSES:
            with pytest.raises(UserError, match=f'expected {NUM_CLASSES + 1} weights, one per class, got {number}'):
                check_model(model)
        else:
            check_model(model)


@pytest.mark.parametrize('head', ['MultiLabelLinearClsHead', 'CSRAClsHead'])
def test_a_softmax_loss_on_a_multi_label_head(tmp_path, capsys, head):
    more = f"model['head'].update(type='{head}', loss=dict(type='mmasl.SoftmaxAsymmetricLoss'))\n"
    more += "model['head'].update(num_heads=1, lam=0.1)\n" if head == 'CSRAClsHead' else ''
    assert Refusals('train', capsys)(write_config(tmp_path, CLASSIFICATION, more)) == (
        f'model.head.loss: {head} passes several labels of a picture, but SoftmaxAsymmetricLoss takes one; write '
        'type=mmasl.AsymmetricLoss there, or model.head.type=LinearClsHead for one label'
    )


FORGOTTEN = DETECTION.replace('use_sigmoid=True, gamma_neg', 'gamma_neg')
MESSAGE = 'model.bbox_head.loss_cls.use_sigmoid=True is missing in the config: FCOSHead has 11 class channels for 10'


@pytest.mark.parametrize('runner', ['Runner', 'FlexibleRunner'])
def test_train_refuses(tmp_path, capsys, runner):
    config = write_config(tmp_path, FORGOTTEN)
    refuse = Refusals('train', capsys)
    assert refuse(config, '--cfg-options', f'runner_type={runner}').startswith(MESSAGE)


def test_the_hook_speaks_before_the_first_iteration(tmp_path):
    cfg = Config.fromfile(write_config(tmp_path, FORGOTTEN, "custom_hooks = [dict(type='mmasl.CheckModelHook')]\n"))
    cfg.merge_from_dict(dict(work_dir='work', val_cfg=None, val_dataloader=None, val_evaluator=None))
    cfg.merge_from_dict(dict(test_cfg=None, test_dataloader=None, test_evaluator=None))
    runner = Runner.from_cfg(cfg)
    with pytest.raises(UserError, match=MESSAGE):
        runner.train()
    assert runner.iter == 0
