# made by tools/misc/pretrain_digit_net.py
checkpoint = '{{ fileDirname }}/../../digit_scenes/digitnet_digitscenes-single-48px.pth'

# the enhanced FCOS (centre sampling, norm on box, centreness on the box branch, GIoU) for digits of 20 to 40 pixels
model = dict(
    type='FCOS',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        # DigitScenes yields BGR as mmcv does
        bgr_to_rgb=True,
        mean=[127.5, 127.5, 127.5],
        std=[64.0, 64.0, 64.0],
        pad_size_divisor=16,
    ),
    backbone=dict(
        type='mmasl.DigitNet',
        out_indices=(2, 3),
        frozen_stages=0,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone'),
    ),
    neck=dict(type='FPN', in_channels=[96, 128], out_channels=32, num_outs=2),
    bbox_head=dict(
        type='FCOSHead',
        num_classes=10,
        in_channels=32,
        feat_channels=32,
        stacked_convs=1,
        strides=[8, 16],
        regress_ranges=((-1, 20), (20, 1e8)),
        center_sampling=True,
        norm_on_bbox=True,
        centerness_on_reg=True,
        norm_cfg=dict(type='GN', num_groups=8),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25),
        loss_bbox=dict(type='GIoULoss'),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True),
    ),
    test_cfg=dict(
        nms_pre=300, min_bbox_size=0, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=50
    ),
)
