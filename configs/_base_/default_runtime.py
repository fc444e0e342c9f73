_base_ = 'mmpretrain::_base_/default_runtime.py'

# types without a prefix are looked up in MMPretrain, and types with `mmasl.` in this project
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(max_keep_ckpts=1))
