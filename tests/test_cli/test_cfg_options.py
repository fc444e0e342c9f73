"""Which new keys ``--cfg-options`` may set (what it says to the others is tested with tools/train.py)."""

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.config import Config

from mmasl.cli.cfg_options import apply_cfg_options, check_key, check_settings, is_slip
from mmasl.cli.preflight import check_sections
from mmasl.errors import UserError
from tests.test_configs.recipes import CONFIGS
from tests.test_tools.tool_runs import CLASSIFICATION, write_config


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path, CLASSIFICATION)


LEGAL = [
    'randomness.deterministic',
    'auto_scale_lr.enable',
    'load_from',
    'compile',
    'strategy.type',
    'env_cfg.dist_cfg.backend',
    'optim_wrapper.clip_grad.max_norm',
    'optim_wrapper.accumulative_counts',
    'optim_wrapper.paramwise_cfg.norm_decay_mult',
    'optim_wrapper.optimizer.momentum',
    'train_cfg.val_begin',
    'val_cfg.fp16',
    'param_scheduler.0.gamma',
    'param_scheduler.0.convert_to_iter_based',
    'train_dataloader.persistent_workers',
    'train_dataloader.batch_sampler.type',
    'train_dataloader.dataset.missing_rate',
    'train_dataloader.dataset.pipeline.0.meta_keys',
    'default_hooks.checkpoint.max_keep_ckpts',
    'default_hooks.checkpoint.priority',
    'default_hooks.early_stopping.type',
    'model.head.loss.gamma_pos',
    'model.head.loss._delete_',
    'model.head.topk',
    'model.train_cfg.augments.type',
    'model.backbone.init_cfg.checkpoint',
    'val_evaluator.topk',
]


def test_legal_new_keys_are_taken(config):
    cfg = Config.fromfile(config)
    for key in LEGAL:
        check_key(cfg, key)


@pytest.mark.parametrize(
    ('name', 'other'),
    [('stage2', 'stage1'), ('v_bias', 'q_bias'), ('encoder_cfg', 'decoder_cfg'), ('test_cfg', 'train_cfg')]
    + [('gamma_neg', 'gamma_pos'), ('rel_pos_bias', 'shared_rel_pos_bias'), ('conv1_cfg', 'conv_cfg')],
)
def test_siblings_are_no_slips(name, other):
    assert not is_slip(name, other)


@pytest.mark.parametrize(
    ('line', 'near'),
    [('param_schedulers = []', 'param_scheduler'), ("custom_hook = [dict(type='EMAHook')]", 'custom_hooks')]
    + [('find_unused_parameter = True', 'find_unused_parameters'), ('modle = dict()', 'model')],
)
def test_a_mistyped_setting_in_a_file(tmp_path, line, near):
    config = write_config(tmp_path, CLASSIFICATION, f'{line}\n')
    with pytest.raises(UserError, match=f"no setting is called '{line.split()[0]}'; did you mean '{near}'") as error:
        check_sections(Config.fromfile(config), 'train')
    assert str(error.value).startswith(config)


def test_ordinary_variables_and_imported_names_are_no_settings(tmp_path):
    check_settings(Config(dict(mode='slide', models=['a', 'b'], train_pipeline=[], stage1_cfg=dict(), max_epochs=3)))
    imports = 'from mmengine.optim import OptimWrapper\nfrom mmengine.visualization import Visualizer\n'
    check_settings(Config.fromfile(write_config(tmp_path, imports + CLASSIFICATION)))


@pytest.mark.parametrize('package', ['mmasl', 'mmdet', 'mmpretrain'])
def test_no_variable_of_a_published_config_is_taken_for_a_slip(package):
    """Read as text, because loading two thousand configs takes minutes."""
    root = CONFIGS if package == 'mmasl' else Path(find_spec(package).origin).parent / '.mim' / 'configs'
    nodes = (node for file in root.rglob('*.py') for node in ast.walk(ast.parse(file.read_text())))
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assert names > {'model', 'train_dataloader'}
    check_settings(Config(dict.fromkeys(names, {})))


def test_an_option_switches_on_what_is_none(config):
    cfg = Config.fromfile(config)
    cfg.optim_wrapper.clip_grad = None
    apply_cfg_options(cfg, {'optim_wrapper.clip_grad.max_norm': 1})
    assert cfg.optim_wrapper.clip_grad == {'max_norm': 1}


def test_data_root_moves_every_path_made_from_it():
    dataset = {'type': 'CocoDataset', 'data_root': 'data/coco/', 'ann_file': 'train.json'}
    metric = {'type': 'CocoMetric', 'ann_file': 'data/coco/val.json', 'outfile_prefix': 'data/coco2/x'}
    cfg = Config({'data_root': 'data/coco/', 'train_dataloader': {'dataset': dataset}, 'val_evaluator': [metric]})
    apply_cfg_options(cfg, {'data_root': '/big/coco'})
    assert cfg.train_dataloader.dataset.data_root == '/big/coco'
    assert cfg.train_dataloader.dataset.ann_file == 'train.json'
    assert cfg.val_evaluator[0].ann_file == '/big/coco/val.json'
    assert cfg.val_evaluator[0].outfile_prefix == 'data/coco2/x'
