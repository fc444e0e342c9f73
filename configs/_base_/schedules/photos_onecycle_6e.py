# One cycle of the learning rate; the backbone has a tenth of it. A custom key replaces the other rules, so all
# parameters of the backbone have weight decay. Outside it, biases and 1-d parameters have none.
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-2),  # the peak of the cycle
    paramwise_cfg=dict(bias_decay_mult=0.0, flat_decay_mult=0.0, custom_keys={'backbone': dict(lr_mult=0.1)}),
)
param_scheduler = dict(type='mmasl.OneCycleLR', pct_start=0.2, by_epoch=True, convert_to_iter_based=True)

train_cfg = dict(by_epoch=True, max_epochs=6, val_interval=6)
val_cfg = dict()
test_cfg = dict()

# The average covers about 200 iterations and includes the buffers. The authors' 0.9997 is meant for 26,000 iterations.
custom_hooks = [dict(type='EMAHook', momentum=5e-3, update_buffers=True, priority='ABOVE_NORMAL')]

auto_scale_lr = dict(base_batch_size=16)
