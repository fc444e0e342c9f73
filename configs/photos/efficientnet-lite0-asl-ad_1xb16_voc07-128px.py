_base_ = './efficientnet-lite0-ce_1xb16_voc07-128px.py'

# gamma_neg follows the probability gap. All values are the defaults of the loss, whose step size is 40 / iterations.
loss = dict(type='mmasl.AdaptiveAsymmetricLoss', gamma_neg=2.0, clip=0.05, delta_p_target=0.1)
model = dict(head=dict(loss=loss))
custom_hooks = _base_.custom_hooks + [dict(type='mmasl.AsymmetryHook', interval=20)]
