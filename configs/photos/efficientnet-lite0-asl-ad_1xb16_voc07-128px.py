_base_ = './efficientnet-lite0-ce_1xb16_voc07-128px.py'

# gamma_neg follows the probability gap; all values are the defaults of the loss, which takes 40 / iterations as step
# size; 936 of them here
loss = dict(type='mmasl.AdaptiveAsymmetricLoss', gamma_neg=2.0, clip=0.05, delta_p_target=0.1, step_size=0.043)
model = dict(head=dict(loss=loss))
custom_hooks = _base_.custom_hooks + [dict(type='mmasl.AsymmetryHook', interval=20)]
