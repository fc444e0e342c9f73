# Adam as in the paper, without weight decay; the cycle always spans train_cfg.max_epochs
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-2))

# a dict, so that a config or --cfg-options can set `param_scheduler.eta_max` alone
param_scheduler = dict(type='OneCycleLR', eta_max=1e-2, pct_start=0.25, by_epoch=True, convert_to_iter_based=True)

train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=10)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=16)
