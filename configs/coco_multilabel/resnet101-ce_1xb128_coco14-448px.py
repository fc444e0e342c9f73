_base_ = './resnet101-asl_1xb128_coco14-448px.py'

# cross-entropy (Fig. 8)
model = dict(head=dict(loss=dict(gamma_neg=0.0, clip=0.0)))
