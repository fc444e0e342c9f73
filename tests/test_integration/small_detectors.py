"""MMDetection's own detectors made small, and batches of random images for them."""

from pathlib import Path

import mmdet
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

CONFIGS = Path(mmdet.__file__).parent / '.mim/configs'
NUM_CLASSES = 7
SIZE = 128

RESNET = dict(depth=18, base_channels=8, init_cfg=None)  # stages of 8, 16, 32 and 64 channels
PYRAMID = dict(
    backbone=RESNET,
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=32),
    bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=1),
)
REPPOINTS = dict(PYRAMID, bbox_head=dict(PYRAMID['bbox_head'], point_feat_channels=32))
FFN = dict(embed_dims=32, feedforward_channels=32)


def transformer(width: int = 32) -> dict:
    attention = dict(embed_dims=width, dropout=0.0)
    ffn = dict(FFN, embed_dims=width)
    return dict(
        num_queries=30,
        backbone=RESNET,
        neck=dict(in_channels=[16, 32, 64], out_channels=width),
        encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
        decoder=dict(num_layers=2, layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn)),
        positional_encoding=dict(num_feats=width // 2),
        bbox_head=dict(embed_dims=width),
    )


STAGE = dict(
    backbone=RESNET,
    neck=dict(in_channels=64, block_mid_channels=8, out_channels=32),
    bbox_head=dict(in_channels=32),
)
WIDTH = dict(embed_dims=32)
DAB = dict(
    num_queries=30,
    backbone=RESNET,
    neck=dict(in_channels=[64], out_channels=32),
    encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=WIDTH, ffn_cfg=FFN)),
    decoder=dict(num_layers=2, layer_cfg=dict(self_attn_cfg=WIDTH, cross_attn_cfg=WIDTH, ffn_cfg=FFN)),
    positional_encoding=dict(num_feats=16),
    bbox_head=dict(embed_dims=32),
)
DARKNET = dict(
    data_preprocessor=dict(batch_augments=None),
    backbone=dict(deepen_factor=0.33, widen_factor=0.125),
    neck=dict(in_channels=[32, 64, 128], out_channels=32),
    bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=1),
)
BATCH_NORM = dict(type='BN')
CSPNEXT = dict(
    backbone=dict(deepen_factor=0.167, widen_factor=0.125, norm_cfg=BATCH_NORM),
    neck=dict(in_channels=[32, 64, 128], out_channels=32, num_csp_blocks=1, norm_cfg=BATCH_NORM),
    bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=1, norm_cfg=BATCH_NORM),
)

# head: (config of MMDetection, what makes it small)
DETECTORS = {
    'FCOS': ('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', PYRAMID),
    'ATSS': ('atss/atss_r50_fpn_1x_coco.py', PYRAMID),
    'RetinaNet': ('retinanet/retinanet_r50_fpn_1x_coco.py', PYRAMID),
    'FSAF': ('fsaf/fsaf_r50_fpn_1x_coco.py', PYRAMID),
    'PAA': ('paa/paa_r50_fpn_1x_coco.py', PYRAMID),
    'FoveaBox': ('foveabox/fovea_r50_fpn_4xb4-1x_coco.py', PYRAMID),
    'YOLOX': ('yolox/yolox_s_8xb8-300e_coco.py', DARKNET),
    'Deformable DETR': ('deformable_detr/deformable-detr_r50_16xb2-50e_coco.py', transformer()),
    'DINO': ('dino/dino-4scale_r50_8xb2-12e_coco.py', transformer(256)),  # MMDetection 3.3 takes no other width
    'RepPoints': ('reppoints/reppoints-moment_r50_fpn_1x_coco.py', REPPOINTS),
    'SABL-RetinaNet': ('sabl/sabl-retinanet_r50_fpn_1x_coco.py', PYRAMID),
    'GA-RetinaNet': ('guided_anchoring/ga-retinanet_r50_fpn_1x_coco.py', PYRAMID),
    'PISA-RetinaNet': ('pisa/retinanet-r50_fpn_pisa_1x_coco.py', PYRAMID),
    'DDQ-DETR': ('ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py', transformer()),
    'YOLOF': ('yolof/yolof_r50-c5_8xb8-1x_coco.py', STAGE),
    'DAB-DETR': ('dab_detr/dab-detr_r50_8xb2-50e_coco.py', DAB),
    'GFL': ('gfl/gfl_r50_fpn_1x_coco.py', PYRAMID),
    'LD': ('ld/ld_r18-gflv1-r101_fpn_1x_coco.py', PYRAMID),
    'RTMDet': ('rtmdet/rtmdet_l_8xb32-300e_coco.py', CSPNEXT),
    'TOOD': ('tood/tood_r50_fpn_1x_coco.py', PYRAMID),
    'VFNet': ('vfnet/vfnet_r50_fpn_1x_coco.py', PYRAMID),
}
# The DETR family with quality targets, which its configs leave out; {name here: name above}.
WITH_QUALITY = {f'{name}, quality': name for name in ('Deformable DETR', 'DINO', 'DDQ-DETR')}


def small_config(name: str) -> ConfigDict:
    """The model of MMDetection's config, with its losses and assigners but few channels and layers."""
    path, small = DETECTORS[WITH_QUALITY.get(name, name)]
    cfg = Config.fromfile(CONFIGS / path)
    cfg.merge_from_dict({'model': small})
    model = cfg.model
    model.bbox_head.num_classes = NUM_CLASSES
    if name in WITH_QUALITY:
        own = model.bbox_head.loss_cls
        model.bbox_head.loss_cls = dict(type='QualityFocalLoss', beta=own.gamma, loss_weight=own.loss_weight)
    if name == 'LD':
        model.update(teacher_config=dict(model=small_config('GFL')), teacher_ckpt=None)
    return model


def build(cfg: ConfigDict, seed: int = 0) -> torch.nn.Module:
    """The detector under ``default_scope='mmdet'``, with no imports beyond what MMDetection's tools do."""
    register_all_modules(init_default_scope=False)
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg)
        model.init_weights()
    model.train()
    return model


def losses(model: torch.nn.Module, data: dict, seed: int = 0) -> dict[str, torch.Tensor]:
    """The losses of one iteration, each summed over its levels; ``seed`` makes random queries and dropout repeat."""
    torch.manual_seed(seed)
    found = model(**model.data_preprocessor(data, training=True), mode='loss')
    return {name: sum(part.sum() for part in ([v] if torch.is_tensor(v) else v)) for name, v in found.items()}


def batch(boxes=(3, 0), seed: int = 0) -> dict:
    """Random images with so many boxes each, as a data loader would give them."""
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randint(256, (3, SIZE, SIZE), generator=generator, dtype=torch.uint8) for _ in boxes]
    samples = []
    for count in boxes:
        corner = torch.rand(count, 2, generator=generator) * SIZE / 2
        extent = (0.15 + 0.35 * torch.rand(count, 2, generator=generator)) * SIZE
        instances = InstanceData(
            bboxes=torch.cat([corner, corner + extent], dim=1),
            labels=torch.randint(NUM_CLASSES, (count,), generator=generator),
        )
        meta = dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), pad_shape=(SIZE, SIZE), scale_factor=(1.0, 1.0))
        sample = DetDataSample(metainfo=dict(**meta, batch_input_shape=(SIZE, SIZE)))
        sample.gt_instances = instances
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)
