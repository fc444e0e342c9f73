_base_ = './efficientnet-lite0-ce_1xb16_coco14-128px.py'

# probability margin alone, on a symmetric focal loss (Table 2)
model = dict(head=dict(loss=dict(gamma_pos=2.0, gamma_neg=2.0, clip=0.3)))
