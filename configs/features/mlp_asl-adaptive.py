_base_ = './mlp_ce.py'

# gamma_neg follows the probability gap, from the values of Table 2
model = dict(loss=dict(type='mmasl.AdaptiveAsymmetricLoss', gamma_neg=4.0, clip=0.05))
