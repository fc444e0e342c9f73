# This is the multi-label loss with one positive per image (issue 68 of the authors' repository). Our copy of
# the paper lacks appendix G, so backbone and schedule are those of MS-COCO.
_base_ = [
    '../_base_/models/tresnet_l_asl.py',
    '../_base_/datasets/herbarium2020_bs128_448.py',
    '../_base_/schedules/asl_onecycle_41of80e.py',
    '../_base_/default_runtime.py',
]

# as many classes as metadata.json lists
model = dict(data_preprocessor=dict(num_classes=32094), head=dict(num_classes=32094))
default_hooks = dict(checkpoint=dict(save_best='single-label/f1-score', rule='greater'))
