_base_ = './linear_ce.py'

# the values of Table 2; tools/studies/choose_loss.py chooses values for other data
model = dict(loss=dict(gamma_neg=4.0, clip=0.05))
