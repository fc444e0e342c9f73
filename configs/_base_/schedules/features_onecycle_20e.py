# This is our choice and not tuned. tools/studies/choose_loss.py finds the learning rate for a loss and a data set.
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2))
param_scheduler = dict(type='OneCycleLR', eta_max=1e-3, pct_start=0.25, by_epoch=True, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=20)
val_cfg = dict()
test_cfg = dict()
