"""Every config is built and run for two iterations and an evaluation on a few images.

Each folder of configs has a function that makes its configs small enough and says where their data are.
"""

import math
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmasl.cli.preflight import check_components
from mmasl.datasets.miniatures import Size, make_miniature
from mmasl.datasets.miniatures.formats import OWN_CLASSES
from mmasl.engine.check_model import check_model
from tests.test_configs.recipes import FOLDERS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
ALL = sorted(path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)
# test_recipes.py and test_features.py train the others
PATHS = [path for path in ALL if path.parent.name not in (*FOLDERS, 'features')]
SIDE = 64


def digit_scenes(cfg: Config, folder: Path, scenes: int = 8) -> None:
    """Eight scenes in two batches."""
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.batch_size = scenes // 2
        loader.dataset.num_scenes = scenes


def digit_scenes_single(cfg: Config, folder: Path) -> None:
    """Eight scenes in two batches, and few from which the metric counts the classes."""
    digit_scenes(cfg, folder)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.train_dataset.num_scenes = 100


def coco_detection(cfg: Config, folder: Path) -> None:
    """Two batches, of three images with objects or of all four; nothing pre-trained."""
    root = folder / 'coco'
    if not root.exists():
        make_miniature('coco', root, Size(train=3, val=2, side=SIDE))
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        dataset = loader.dataset.get('dataset', loader.dataset)
        dataset.data_root = f'{root}/'
        set_scales(dataset.pipeline)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        if 'ann_file' in evaluator:
            evaluator.ann_file = str(root / 'annotations' / Path(evaluator.ann_file).name)
    if 'score_thr' in cfg.model.test_cfg:
        cfg.model.test_cfg.score_thr = 0.0  # an untrained head scores 0.01, and no box at all gives no metric
    for part in ('encoder', 'decoder'):
        if part in cfg.model:
            cfg.model[part].num_layers = 1
    backbone = cfg.model.backbone
    backbone.update(pretrained=False) if 'pretrained' in backbone else backbone.update(init_cfg=None)


def set_scales(node) -> None:
    """Have the transforms of a pipeline, however nested, make images of about ``SIDE`` pixels."""
    if isinstance(node, list | tuple):
        for part in node:
            set_scales(part)
    elif isinstance(node, dict):
        small = dict(scale=(2 * SIDE, SIDE), scales=[(SIDE, 2 * SIDE)], crop_size=(SIDE // 2, SIDE))
        node.update({key: value for key, value in small.items() if key in node})
        set_scales(list(node.values()))


def photos(cfg: Config, folder: Path) -> None:
    """Two batches of two images of the miniature, at their own size, from random weights."""
    name = 'voc' if cfg.model.head.num_classes == 20 else 'coco'
    root = folder / f'photos_{name}'
    if not root.exists():
        make_miniature(name, root, Size(train=4, val=2, test=1, side=SIDE))
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.batch_size = 2
        dataset = loader.dataset.get('dataset', loader.dataset)
        dataset.data_root = str(root / 'VOC2007' if name == 'voc' else root)
        set_scales(dataset.pipeline)
    cfg.model.backbone.init_cfg = None


def own_pictures(cfg: Config, folder: Path) -> None:
    """Two batches of two small pictures, from random weights."""
    root = folder / 'own_pictures'
    if not root.exists():
        make_miniature('own_pictures', root, Size(train=4, val=2, test=2, side=SIDE))
    cfg.model.backbone.init_cfg = None
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=2, num_workers=0)
        loader.dataset.update(data_root=str(root), classes=OWN_CLASSES)  # so few pictures do not have all of them
        set_scales(loader.dataset.pipeline)


FAMILIES = {
    'own_pictures': own_pictures,
    'digit_scenes': digit_scenes,
    'photos': photos,
    'photos_det': coco_detection,
    'digit_scenes_det': digit_scenes,
    'digit_scenes_single': digit_scenes_single,
    'coco_detection': coco_detection,
}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """The folder of the miniatures, each made by the first config that needs it."""
    return tmp_path_factory.mktemp('data')


def test_every_folder_has_a_way_to_be_made_small():
    assert {path.parent.name for path in PATHS} == set(FAMILIES)


@pytest.mark.parametrize('path', ALL, ids=lambda path: path.stem)
def test_the_tools_accept_every_argument(path):
    cfg = Config.fromfile(path)
    check_components(cfg, 'train')
    check_components(cfg, 'test')


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_two_iterations(path, tmp_path, data):
    cfg = Config.fromfile(path)
    FAMILIES[path.parent.name](cfg, data)
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = 1
    cfg.default_hooks.checkpoint = None
    cfg.work_dir = str(tmp_path)
    cfg.experiment_name = f'two_iterations_{path.stem}'
    cfg.log_level = 'WARNING'
    cfg.randomness = dict(seed=0)
    runner = Runner.from_cfg(cfg)
    check_model(runner.model)
    runner.train()
    assert runner.iter == 2
    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    metrics = runner.test()
    assert metrics and all(math.isfinite(value) for value in metrics.values())
