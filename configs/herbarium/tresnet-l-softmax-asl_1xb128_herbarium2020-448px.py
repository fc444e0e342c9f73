_base_ = './tresnet-l-asl_1xb128_herbarium2020-448px.py'

# This is the single-label form with softmax and label smoothing, which the authors published later (issue 7). Without
# smoothing and with gamma_pos=0 it is cross-entropy for any gamma_neg.
model = dict(
    head=dict(
        type='LinearClsHead',
        loss=dict(_delete_=True, type='mmasl.SoftmaxAsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, label_smoothing=0.1),
    )
)
