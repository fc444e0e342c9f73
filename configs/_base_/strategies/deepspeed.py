# ZeRO stage 1 shards the optimizer's state, stage 2 also the gradients, and stage 3 also the parameters. Add this file
# as a further _base_ of any config, and set optim_wrapper = dict(type='DeepSpeedOptimWrapper'); see docs/machines.md.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='DeepSpeedStrategy',
    config=dict(zero_allow_untested_optimizer=True),  # for SGD; DeepSpeed's list has Adam and AdamW
    zero_optimization=dict(stage=1),
)
