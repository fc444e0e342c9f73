"""Every config of the paper's classification experiments builds, reads its data, trains and evaluates."""

import copy
import functools
import json
import math

import pytest
import timm
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, MODELS
from modelindex.load_model_index import load as load_index

from mmasl.cli.checkpoints import skip_pretrained
from tests.test_configs.recipes import (
    CONFIGS,
    FOLDERS,
    PATHS,
    backbone_of,
    every_config,
    load,
    make_shallow,
    make_small,
    one_of_each,
)

INDEX = {model.name: model for model in load_index(str(CONFIGS.parent / 'model-index.yml')).models}


@every_config
def test_the_indices_name_it(path):
    assert INDEX[path.stem].config == str(path.relative_to(CONFIGS.parent))
    assert f'{path.stem.split("_")[0]}_' in (path.parent / 'README.md').read_text()
    assert f'({path.parent.name}/README.md)' in (CONFIGS / 'README.md').read_text()


def test_timm_has_the_weights_and_they_want_pixels_from_0_to_1():
    names = {backbone_of(load(path)) for path in PATHS if load(path).model.backbone.type == 'TIMMBackbone'}
    assert len(names) == 4
    for name in names:
        weights = timm.get_pretrained_cfg(name)
        assert weights.tag == name.split('.')[1] and weights.has_weights
        assert weights.mean == (0, 0, 0) and weights.std == (1, 1, 1)


def test_weights_that_a_checkpoint_replaces_are_not_fetched():
    cfg = copy.deepcopy(load(CONFIGS / 'coco_multilabel' / 'tresnet-l-asl_1xb128_coco14-448px.py'))
    assert cfg.model.backbone.pretrained is True
    skip_pretrained(cfg)
    assert cfg.model.backbone.pretrained is False


@pytest.fixture
def small(path, small_data):
    """The config ``path`` made small, as ``small(pixels=..., shallow=...)``."""

    def make(pixels=64, shallow=False):
        cfg = copy.deepcopy(load(path))
        folder = path.parent.name
        make_small(cfg, small_data(folder), *FOLDERS[folder][1:], pixels)
        if shallow:
            make_shallow(cfg)
        return cfg

    return make


@functools.cache
def shape_of_scores(model: str) -> tuple[int, ...]:
    """Of a model in JSON and its scores of one image; many configs have the same one but for the loss."""
    return tuple(MODELS.build(json.loads(model)).eval()(torch.zeros(1, 3, 64, 64)).shape)


@every_config
def test_the_model_fits_the_data(path, small):
    """The network at its published widths, and the pipelines at the config's own size."""
    cfg = small(pixels=None, shallow=True)
    init_default_scope('mmpretrain')
    size = int(path.stem.rpartition('-')[2].removesuffix('px'))
    for split in ('train', 'val'):
        sample = DATASETS.build(cfg[f'{split}_dataloader'].dataset)[0]
        assert sample['inputs'].shape == (3, size, size) and sample['inputs'].dtype == torch.uint8
        assert 'gt_label' in sample['data_samples']
    MODELS.build(cfg.model.head.pop('loss'))
    assert shape_of_scores(json.dumps(cfg.model.to_dict())) == (1, cfg.model.head.num_classes)


def two_iterations(cfg, path, tmp_path):
    cfg.update(work_dir=str(tmp_path), experiment_name=path.stem, log_level='WARNING', randomness=dict(seed=0))
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    averaged_and_raw = runner.message_hub.get_info('mmasl_validations')
    assert len(averaged_and_raw) == 2
    assert all(math.isfinite(value) for history in averaged_and_raw.values() for *_, value in history)
    return runner


@pytest.mark.parametrize('path', one_of_each(), ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_one_of_each_trains(path, small, tmp_path):
    two_iterations(small(shallow=True), path, tmp_path)


@pytest.mark.slow
@every_config
def test_all_train_in_full_depth(path, small, tmp_path):
    runner = two_iterations(small(), path, tmp_path)
    if FOLDERS[path.parent.name][2] is None:  # the miniature has as many classes
        assert sum(p.numel() for p in runner.model.parameters()) == INDEX[path.stem].metadata.parameters
