_base_ = './tresnet-l-asl_1xb128_voc07-448px.py'

# cross-entropy (Table 8)
model = dict(head=dict(loss=dict(gamma_neg=0.0, clip=0.0)))
