_base_ = './efficientnet-lite0-ce_1xb16_coco14-128px.py'

# Eq. 3
model = dict(head=dict(loss=dict(gamma_pos=2.0, gamma_neg=2.0)))
