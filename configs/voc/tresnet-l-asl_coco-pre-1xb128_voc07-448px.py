_base_ = './tresnet-l-asl_1xb128_voc07-448px.py'

# starts from the averaged weights of the MS-COCO config of the same name (Table 6, "extra pretrain data")
checkpoint = 'work_dirs/tresnet-l-asl_1xb128_coco14-448px/epoch_41.pth'
init_cfg = dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone')
model = dict(backbone=dict(pretrained=False, init_cfg=init_cfg))
