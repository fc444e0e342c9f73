_base_ = './mlp_ce.py'

# Eq. 3
model = dict(loss=dict(gamma_pos=2.0, gamma_neg=2.0))
