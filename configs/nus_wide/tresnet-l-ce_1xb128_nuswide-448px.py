_base_ = './tresnet-l-asl_1xb128_nuswide-448px.py'

# cross-entropy (Table 10)
model = dict(head=dict(loss=dict(gamma_neg=0.0, clip=0.0)))
