_base_ = './digitnet-softmax-ce_ft-1xb32_digitscenes-tail-48px.py'

# label smoothing alone, the part of softmax ASL that is not asymmetry
model = dict(
    head=dict(
        loss=dict(_delete_=True, type='mmasl.SoftmaxAsymmetricLoss', gamma_pos=0.0, gamma_neg=0.0, label_smoothing=0.1)
    )
)
