# Parameters, gradients and the optimizer's state in shards, one on each process; checkpoints are whole.
# As a further _base_ of any config for a classifier or a detector: docs/machines.md
runner_type = 'FlexibleRunner'
strategy = dict(type='mmasl.FSDPStrategy', model_wrapper=dict(type='MMFullyShardedDataParallel'))
