_base_ = './efficientnet-lite0-ce_1xb16_coco14-128px.py'

# positives focused by an exponent of 1
model = dict(head=dict(loss=dict(gamma_pos=1.0, gamma_neg=2.0, clip=0.2)))
