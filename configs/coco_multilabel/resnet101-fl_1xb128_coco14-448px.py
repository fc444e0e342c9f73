_base_ = './resnet101-asl_1xb128_coco14-448px.py'

# focal loss (Fig. 8)
model = dict(head=dict(loss=dict(gamma_pos=2.0, gamma_neg=2.0, clip=0.0)))
