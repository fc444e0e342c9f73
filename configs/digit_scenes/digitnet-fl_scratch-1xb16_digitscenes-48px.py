_base_ = './digitnet-fl_ft-1xb16_digitscenes-48px.py'

# random weights instead of the single-digit ones, and a longer training
model = dict(backbone=dict(init_cfg=None))
train_cfg = dict(max_epochs=20, val_interval=20)
