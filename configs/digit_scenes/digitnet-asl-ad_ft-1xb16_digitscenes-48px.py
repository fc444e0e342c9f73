_base_ = './digitnet-asl_ft-1xb16_digitscenes-48px.py'

# gamma_neg starts from the best fixed value and follows the probability gap; the target is the unbiased one
model = dict(head=dict(loss=dict(type='mmasl.AdaptiveAsymmetricLoss', delta_p_target=0.0)))
custom_hooks = [dict(type='mmasl.AsymmetryHook', interval=20)]
