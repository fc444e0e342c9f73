_base_ = './tresnet-l-asl_1xb128_coco14-448px.py'

# focal loss, Eq. 3, at the gamma of Fig. 4 (Table 2, Fig. 5 and 8)
model = dict(head=dict(loss=dict(gamma_pos=2.0, gamma_neg=2.0, clip=0.0)))
