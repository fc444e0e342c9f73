# ZeRO stage 1: the optimizer's state in shards; stage 2 shards the gradients too, 3 the parameters too.
# As a further _base_ of any config; it needs optim_wrapper = dict(type='DeepSpeedOptimWrapper') too: docs/machines.md
runner_type = 'FlexibleRunner'
strategy = dict(
    type='DeepSpeedStrategy',
    config=dict(zero_allow_untested_optimizer=True),  # SGD; Adam and AdamW are on DeepSpeed's list
    zero_optimization=dict(stage=1),
)
