"""The configs of the paper's classification experiments, and what makes them small enough for a test."""

import functools
from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# For each folder: its miniature, the data set within it, and the miniature's number of classes if it differs.
FOLDERS = {
    'coco_multilabel': ('coco', '', None),
    'voc': ('voc', 'VOC2007', None),
    'nus_wide': ('nus_wide', '', None),
    'open_images': ('open_images', '', 40),
    'herbarium': ('herbarium', '', 10),
}
PATHS = sorted(path for folder in FOLDERS for path in (CONFIGS / folder).glob('*.py'))
every_config = pytest.mark.parametrize('path', PATHS, ids=lambda path: f'{path.parent.name}/{path.stem}')


@functools.cache
def load(path: Path) -> Config:
    return Config.fromfile(path)


def backbone_of(cfg: Config) -> str:
    return cfg.model.backbone.get('model_name') or cfg.model.backbone.type


def one_of_each() -> list[Path]:
    """The first config of each combination of data set, backbone and head."""
    found: dict[tuple, Path] = {}
    for path in PATHS:
        model = load(path).model
        found.setdefault((path.parent.name, backbone_of(load(path)), model.head.type), path)
    return list(found.values())


def make_small(cfg: Config, miniature: str, folder: str, num_classes: int | None, pixels: int | None = 64) -> None:
    """Two iterations on four images of the ``miniature``, on the CPU, from random weights.

    Args:
        cfg: Changed in place.
        miniature: The root of the miniature.
        folder: Of the config.
        num_classes: Where the miniature has another number of classes.
        pixels: A side of the images instead of the config's.
    """
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.update(data_root=str(Path(miniature) / folder), indices=4)
        for transform in loader.dataset.pipeline:
            if transform.type == 'mmasl.SquishResize' and pixels:
                transform.scale = pixels
    model, backbone = cfg.model, cfg.model.backbone
    for part in (backbone, model.neck or ConfigDict()):
        part.pop('init_cfg', None)
    if 'pretrained' in backbone:
        backbone.pretrained = False
    if num_classes:
        model.head.num_classes = model.data_preprocessor.num_classes = num_classes
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.optim_wrapper.type = 'OptimWrapper'
    cfg.default_hooks.checkpoint = None


def make_shallow(cfg: Config) -> None:
    """One block a stage, of the published width: the deep backbones take minutes on a CPU."""
    backbone = cfg.model.backbone
    if backbone.type == 'TIMMBackbone':
        backbone['layers'] = [1, 1, 1, 1]
    elif backbone.type == 'ResNet':
        backbone.depth = 50
