_base_ = './tresnet-l-asl_1xb128_herbarium2020-448px.py'

# the single-label form, softmax and label smoothing, that the authors published later (issue 7); without smoothing it
# would be cross-entropy at gamma_pos=0, whatever gamma_neg is
model = dict(
    head=dict(
        type='LinearClsHead',
        loss=dict(_delete_=True, type='mmasl.SoftmaxAsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, label_smoothing=0.1),
    )
)
