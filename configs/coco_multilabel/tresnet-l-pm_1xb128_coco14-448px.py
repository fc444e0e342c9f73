_base_ = './tresnet-l-asl_1xb128_coco14-448px.py'

# probability margin alone, on a symmetric focal loss (Table 2)
model = dict(head=dict(loss=dict(gamma_pos=2.0, gamma_neg=2.0, clip=0.3)))
