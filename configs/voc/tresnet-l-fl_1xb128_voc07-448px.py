_base_ = './tresnet-l-asl_1xb128_voc07-448px.py'

# focal loss (Table 8)
model = dict(head=dict(loss=dict(gamma_pos=2.0, gamma_neg=2.0, clip=0.0)))
