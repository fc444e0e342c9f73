_base_ = './linear_ce.py'

model = dict(hidden=(512,), dropout=0.5)
