_base_ = './linear_ce.py'

# the values of Table 2; for other data choose them with tools/studies/choose_loss.py
model = dict(loss=dict(gamma_neg=4.0, clip=0.05))
