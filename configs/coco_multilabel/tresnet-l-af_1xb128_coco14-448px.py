_base_ = './tresnet-l-asl_1xb128_coco14-448px.py'

# asymmetric focusing alone (Table 2)
model = dict(head=dict(loss=dict(gamma_pos=0.0, gamma_neg=3.0, clip=0.0)))
