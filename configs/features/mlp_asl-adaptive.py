_base_ = './mlp_ce.py'

# gamma_neg follows the probability gap, and all values are the defaults of the loss
model = dict(loss=dict(type='mmasl.AdaptiveAsymmetricLoss', gamma_neg=2.0, clip=0.05))
custom_hooks = [dict(type='mmasl.AsymmetryHook')]
