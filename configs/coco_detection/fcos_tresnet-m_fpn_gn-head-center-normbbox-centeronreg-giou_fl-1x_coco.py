_base_ = 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py'

# TResNet-M replaces ResNet-50, as in the paper. The rest is MMDetection's; the paper's settings are not known.
model = dict(
    # the weights expect RGB in [0, 1]; MMDetection loads BGR
    data_preprocessor=dict(mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='mmpretrain.TIMMBackbone',
        model_name='tresnet_m',  # miil_in21k_ft_in1k of timm
        pretrained=True,
        features_only=True,
        out_indices=(1, 2, 3, 4),
    ),
    neck=dict(in_channels=[64, 128, 1024, 2048]),
)
