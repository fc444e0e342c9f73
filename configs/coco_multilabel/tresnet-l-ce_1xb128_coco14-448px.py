_base_ = './tresnet-l-asl_1xb128_coco14-448px.py'

# cross-entropy: Eq. 7 without focusing and margin (Fig. 5 and 8)
model = dict(head=dict(loss=dict(gamma_neg=0.0, clip=0.0)))
