# The schedule of the authors' script. Mixed precision needs a GPU; on a CPU, set optim_wrapper.type=OptimWrapper.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    # Adam adds the decay to the gradient as an L2 term, unlike AdamW; biases and 1-d parameters have no decay
    optimizer=dict(type='Adam', lr=1e-4, weight_decay=1e-4),  # the peak of the cycle; the paper's text has about 2e-4
    paramwise_cfg=dict(bias_decay_mult=0.0, flat_decay_mult=0.0),
)

# one cycle of 80 epochs on lr and, as in torch, on beta1; the training ends after 41 epochs
cycle = dict(by_epoch=True, end=80, pct_start=0.2, convert_to_iter_based=True)
param_scheduler = [dict(type='mmasl.OneCycleLR', **cycle), dict(type='mmasl.OneCycleMomentum', **cycle)]

train_cfg = dict(by_epoch=True, max_epochs=41, val_interval=1)
val_cfg = dict()
test_cfg = dict()

custom_hooks = [
    # decay 0.9997 over the whole state; the weights before averaging are evaluated too
    dict(type='EMAHook', momentum=3e-4, update_buffers=True, evaluate_on_origin=True, priority='ABOVE_NORMAL'),
    dict(type='mmasl.LastAndBestHook'),
]

# --auto-scale-lr scales the peak of the cycle with the batch
auto_scale_lr = dict(base_batch_size=128)
