_base_ = './digitnet-softmax-ce_ft-1xb32_digitscenes-tail-48px.py'

# the authors' single-label loss with the defaults of their script
model = dict(
    head=dict(
        loss=dict(_delete_=True, type='mmasl.SoftmaxAsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, label_smoothing=0.1)
    )
)
