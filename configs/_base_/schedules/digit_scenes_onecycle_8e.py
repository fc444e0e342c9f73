_base_ = './digit_scenes_onecycle.py'

train_cfg = dict(max_epochs=8, val_interval=8)
