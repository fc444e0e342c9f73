# FSDP shards parameters, gradients and the optimizer's state over the processes; checkpoints are complete. Add this
# file as a further _base_ of any config for a classifier or a detector; see docs/machines.md.
runner_type = 'FlexibleRunner'
strategy = dict(type='mmasl.FSDPStrategy', model_wrapper=dict(type='MMFullyShardedDataParallel'))
