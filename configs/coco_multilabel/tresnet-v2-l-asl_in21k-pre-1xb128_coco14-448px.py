_base_ = './tresnet-l-asl_1xb128_coco14-448px.py'

# ImageNet-21K weights (Table 5). Only version 2 of TResNet-L has been published with them, so it is probably what the
# paper used
model = dict(backbone=dict(model_name='tresnet_v2_l.miil_in21k'), head=dict(in_channels=2048))
