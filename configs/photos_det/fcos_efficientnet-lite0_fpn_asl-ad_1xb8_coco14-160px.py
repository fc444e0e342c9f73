_base_ = './fcos_efficientnet-lite0_fpn_asl_1xb8_coco14-160px.py'

# the gap starts at -0.98; its target should lie a little above the gap of a training with fixed constants, which is not
# measured yet (docs/adaptive.md)
model = dict(bbox_head=dict(loss_cls=dict(type='mmasl.AdaptiveAsymmetricLoss', delta_p_target=-0.6)))
