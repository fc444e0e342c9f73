_base_ = './tresnet-l-asl_1xb128_voc07-448px.py'

# TResNet-XL, a published checkpoint
model = dict(backbone=dict(model_name='tresnet_xl.miil_in1k'), head=dict(in_channels=2656))
