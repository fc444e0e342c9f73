_base_ = './digitnet-softmax-ce_ft-1xb32_digitscenes-tail-48px.py'

# focal loss over softmax probabilities
model = dict(
    head=dict(
        loss=dict(_delete_=True, type='mmasl.SoftmaxAsymmetricLoss', gamma_pos=2.0, gamma_neg=2.0, label_smoothing=0.0)
    )
)
