"""tools/train.py and a user's mistakes: one line on stderr, an exit status, no traceback; and a bug keeps its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS

from mmasl.cli import preflight
from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, TOOLS, Refusals, load_main, write_config

pytestmark = pytest.mark.usefixtures('empty_folder')

main = load_main('train')


@pytest.fixture
def config(tmp_path) -> str:
    return write_config(tmp_path, CLASSIFICATION)


@pytest.fixture
def refuse(capsys) -> Refusals:
    return Refusals('train', capsys)


# --- options -----------------------------------------------------------------------------------------------------

MISTYPED = {
    'modle.head.loss.gamma_neg': "no key 'modle' in the config; did you mean 'model'?",
    'model.hed.loss.gamma_neg': "no key 'hed' in model (ImageClassifier); did you mean 'head'?",
    'model.head.loss.gama_neg': "in model.head.loss (mmasl.AsymmetricLoss); did you mean 'gamma_neg'?",
    'model.head.loss.gammaneg': "did you mean 'gamma_neg'?",
    'model.head.num_clases': "did you mean 'num_classes'?",
    'train_cfg.max_epoch': "no key 'max_epoch' in train_cfg; did you mean 'max_epochs'?",
    'train_dataloader.batchsize': "did you mean 'batch_size'?",
    'train_dataloader.dataset.num_scene': "did you mean 'num_scenes'?",
    'val_dataloader.sampler.colour': "no key 'colour' in val_dataloader.sampler (DefaultSampler)",
    'optim_wrapper.clip_gard.max_norm': "did you mean 'clip_grad'?",
    'optim_wrapper.optimizer.momentun': "no key 'momentun' in optim_wrapper.optimizer (SGD); did you mean 'momentum'?",
    'param_scheduler.3.gamma': 'param_scheduler is a list of 1 elements',
    'default_hooks.chekpoint.interval': "did you mean 'checkpoint'?",
    'randomness.sed': "did you mean 'seed'?",
    'auto_scale_lr.base_batchsize': "did you mean 'base_batch_size'?",
    'model.head.num_classes.x': 'model.head.num_classes is 80 and has no keys',
    'max_epochs': "no key 'max_epochs' in the config",
}


@pytest.mark.parametrize(('key', 'message'), MISTYPED.items(), ids=list(MISTYPED))
def test_a_mistyped_key(config, refuse, key, message):
    said = refuse(config, '--cfg-options', f'{key}=2')
    assert said.startswith('--cfg-options') and message in said
    assert not Path('work_dirs').exists()


def test_options_that_are_no_settings(config, refuse):
    assert "expected key=value, got 'a.b'" in refuse(config, '--cfg-options', 'a.b', status=2)
    assert 'brackets' in refuse(config, '--cfg-options', 'train_cfg.val_begin=[1,', status=2)
    assert 'unrecognized arguments: --epochs' in refuse(config, '--epochs=3', status=2)
    assert 'required: config' in refuse(status=2)


UNTYPED = {
    'custom_hooks = [dict(priority=1)]': "custom_hooks.0: expected a dict with a type, got {'priority': 1}",
    "custom_hooks = dict(type='EMAHook')": "custom_hooks: expected a list of dicts, got {'type': 'EMAHook'}",
    "default_hooks['checkpoint'].pop('type')": 'default_hooks.checkpoint: expected a dict with a type, got {',
    'param_scheduler = dict(milestones=[1])': 'param_scheduler: expected a dict with a type, got {',
    "optim_wrapper['optimizer'].pop('type')": "optim_wrapper.optimizer: expected a dict with a type, got {'lr': 0.01}",
}


@pytest.mark.parametrize(('line', 'message'), UNTYPED.items(), ids=list(UNTYPED))
def test_dicts_without_a_type(tmp_path, refuse, line, message):
    assert refuse(write_config(tmp_path, CLASSIFICATION, f'{line}\n')).startswith(message)


# --- config files ------------------------------------------------------------------------------------------------


def test_a_config_that_does_not_exist(config, refuse):
    wrong = config.replace('.py', 's.py')
    assert refuse(wrong) == f'config {wrong} does not exist; did you mean {config}?'
    for name in ('asl-x_1xb8.py', 'asl-y_1xb8.py'):
        Path(name).touch()
    assert refuse('asl').endswith('; did you mean asl-x_1xb8.py or asl-y_1xb8.py?')
    assert refuse('nosuch/zzzz.py') == 'config nosuch/zzzz.py does not exist'
    assert 'is a folder' in refuse('.')
    Path('notes.txt').write_text('')
    assert 'neither .py nor .json nor .yaml' in refuse('notes.txt')


BROKEN = {
    'syntax': ('a = 1\nb = (\n', 'line 2: '),
    'name': ('a = 1\n\nb = dict(c=undefined)\n', "line 3: NameError: name 'undefined' is not defined"),
    'base': ("_base_ = './nosuch.py'\n", 'does not exist'),
    'import': ("custom_imports = dict(imports=['nosuch_module'])\n", "Failed to import custom modules from {'imports'"),
    'bits': ('a = 1\n', 'has no model, train_dataloader, train_cfg, optim_wrapper'),
    'scope': (CLASSIFICATION + "\ndefault_scope = 'mmpretran'\n", "no package 'mmpretran'; did you mean 'mmpretrain'?"),
}


@pytest.mark.parametrize('what', BROKEN)
def test_a_broken_config(tmp_path, refuse, what):
    text, message = BROKEN[what]
    path = write_config(tmp_path, text)
    said = refuse(path)
    assert path in said or what == 'scope'
    assert message in said


def test_a_broken_base_is_named(tmp_path, refuse):
    Path(tmp_path, 'base.py').write_text('x = (\n')
    path = write_config(tmp_path, "_base_ = './base.py'\n")
    assert refuse(path).startswith(f'{tmp_path}/base.py, line 1: ')
    Path(tmp_path, 'base.py').write_text('x = [1]\n')
    path = write_config(tmp_path, "_base_ = './base.py'\nx = dict(a=1)\n")
    assert 'TypeError' in refuse(path) and path in refuse(path)


# --- components --------------------------------------------------------------------------------------------------

WRONG = {
    'model.head.loss.type=mmasl.AsymetricLoss': (
        "model.head.loss: no model is called 'mmasl.AsymetricLoss'; did you mean 'mmasl.AsymmetricLoss'?"
    ),
    'model.backbone.type=DigitNet': "model.backbone: no model is called 'DigitNet'; did you mean 'mmasl.DigitNet'?",
    'model.backbone.type=nosuch.Net': "model.backbone: no model is called 'nosuch.Net'",
    'train_dataloader.dataset.type=DigitScene': "train_dataloader.dataset: no dataset is called 'DigitScene'",
    'val_evaluator.type=MultiLabelMetrics': "did you mean 'MultiLabelMetric'?",
    'train_dataloader.dataset.pipeline.0.type=PackInput': 'train_dataloader.dataset.pipeline.0: no transform',
    'optim_wrapper.optimizer.type=SDG': "optim_wrapper.optimizer: no optimizer is called 'SDG'; did you mean 'SGD'?",
    'default_hooks.checkpoint.type=CheckpointHok': 'default_hooks.checkpoint: no hook',
    'runner_type=FlexibelRunner': "no runner is called 'FlexibelRunner'; did you mean 'FlexibleRunner'?",
    'model.head.loss.gamma_neg=-1': 'model.head.loss (AsymmetricLoss): gamma_neg',
    'model.head.loss.clip=1.5': 'model.head.loss (AsymmetricLoss): clip',
    'model.head.loss.focus=2': "no key 'focus' in model.head.loss (mmasl.AsymmetricLoss)",
    'train_dataloader.dataset.colour=red': "no key 'colour' in train_dataloader.dataset (mmasl.DigitScenes)",
    'default_hooks.checkpoint.save_best=f1 default_hooks.checkpoint.rule=greater': (
        "default_hooks.checkpoint.save_best: 'f1' is none of the metrics multi-label/precision_thr-0.02, "
    ),
    'model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=nosuch.pth': (
        'model.backbone.init_cfg.checkpoint: nosuch.pth does not exist'
    ),
}


@pytest.mark.parametrize('options', WRONG)
def test_a_setting_that_a_component_refuses(config, refuse, options):
    assert WRONG[options] in refuse(config, '--cfg-options', *options.split())


BROKEN_REGISTRY = """
from mmengine.registry import MODELS, Registry
MODELS = Registry('model', parent=MODELS, scope='brokenmodels', locations=['brokenmodels.nets'])
"""


def test_a_package_that_cannot_be_imported(tmp_path, refuse, monkeypatch):
    for package, file, text in [
        ('brokenscope', 'registry.py', "assert False, 'MMCV==2.2.0 is used but incompatible'"),
        ('brokenmodels', 'registry.py', BROKEN_REGISTRY),
        ('brokenmodels', 'nets.py', 'import mmcv_without_ops'),
    ]:
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / '__init__.py').touch()
        (tmp_path / package / file).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    config = write_config(tmp_path, CLASSIFICATION, "default_scope = 'brokenscope'\n")
    said = refuse(config)
    assert said.startswith("'brokenscope', which the config needs, cannot be imported: MMCV==2.2.0 is used")
    assert 'mmasl.check_env' in said
    config = write_config(tmp_path, CLASSIFICATION.replace('mmasl.DigitNet', 'brokenmodels.Net'))
    said = refuse(config)
    assert said.startswith("'brokenmodels.Net' cannot be imported: No module named 'mmcv_without_ops'")
    assert said.endswith('python -m mmasl.check_env says what to do')
    MODELS.children.pop('brokenmodels')


def test_sections_that_do_not_go_together(config, refuse):
    with Path(config).open('a') as file:
        file.write('val_cfg = None\nrandomness = dict(sed=0)\n')
    assert refuse(config).endswith('has val_dataloader, val_evaluator, but no val_cfg: they go together')
    said = refuse(config, '--cfg-options', 'val_cfg.fp16=False')
    assert said.startswith("randomness: there is no argument 'sed'; did you mean 'seed'?")


@MODELS.register_module()
class ToolsTestBuggyLoss(torch.nn.Module):
    """Fails in its constructor in the ways that are nobody's fault but its own."""

    def __init__(self, how: str):
        super().__init__()
        if how == 'attribute':
            self.nosuch  # noqa: B018
        elif how == 'in torch':
            torch.nn.functional.cross_entropy(torch.ones(2, 2), torch.ones(3, 3), reduction='nosuch')
        elif how == 'empty':
            raise ValueError
        elif how == 'own call':
            int(nosuch=1)


INHERITED = """
model['bbox_head'].update(loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0))
"""


def test_an_inherited_argument_names_delete(tmp_path, refuse):
    Path(write_config(tmp_path, DETECTION, INHERITED)).rename('base.py')
    path = write_config(tmp_path, "_base_ = './base.py'\nmodel = dict(bbox_head=dict(loss_cls=", '%s)))')
    text, ours = Path(path).read_text(), "type='mmasl.AsymmetricLoss', use_sigmoid=True"
    Path(path).write_text(text % f'dict({ours}')
    said = refuse(path)
    assert said.startswith("model.bbox_head.loss_cls: mmasl.AsymmetricLoss takes no argument 'gamma'")
    assert 'write _delete_=True in the dict that replaces it' in said
    Path(path).write_text(text % f'dict(_delete_=True, {ours}')
    assert main([path]) == 0


UNFORESEEN = {
    'train_cfg.max_epochs=many': "invalid literal for int() with base 10: 'many'",
    'train_dataloader.batch_size=0': 'batch_size should be a positive integer value',
    'optim_wrapper.optimizer.lr=-1': 'Invalid learning rate: -1',
    'model.backbone.frozen_stages=9': 'frozen_stages',
    'train_dataloader.dataset.missing_rate=1.5': 'missing_rate',
}


@pytest.mark.parametrize('option', UNFORESEEN)
def test_what_no_check_foresees_keeps_its_exception(config, option):
    with pytest.raises((ValueError, TypeError), match=re.escape(UNFORESEEN[option])):
        main([config, '--cfg-options', option])


def test_a_hint_comes_after_the_traceback(config, capsys):
    Path(config).write_text(Path(config).read_text().replace('model = dict(', 'model = dict(colour=1,'))
    assert main([config]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert 'Traceback (most recent call last):' in lines and "argument 'colour'" in lines[-2]
    assert lines[-1].startswith("hint: if 'colour' comes from a dict that the config inherits, write _delete_=True")


@pytest.mark.parametrize('how', ['attribute', 'in torch', 'empty', 'own call'])
def test_a_bug_keeps_its_traceback(config, how):
    loss = f"dict(type='ToolsTestBuggyLoss', how='{how}')"
    Path(config).write_text(CLASSIFICATION.replace("dict(type='mmasl.AsymmetricLoss', gamma_neg=4.0)", loss))
    with pytest.raises((AttributeError, ValueError, TypeError)):
        main([config])


# --- data --------------------------------------------------------------------------------------------------------

COCO = """
scenes = None
data_root = 'data/coco/'
data = dict(type='CocoDataset', data_root=data_root, pipeline=[])
train_dataloader.update(dataset=dict(**data, ann_file='annotations/train.json', data_prefix=dict(img='train2017/')))
val_dataloader.update(dataset=dict(**data, ann_file='annotations/val.json', data_prefix=dict(img='val2017/')))
val_evaluator = dict(type='CocoMetric', ann_file=data_root + 'annotations/val.json')
"""


def test_missing_data(tmp_path, refuse):
    path = write_config(tmp_path, DETECTION, COCO)
    said = refuse(path)
    assert said.startswith('CocoDataset: data/coco/ does not exist (config key train_dataloader.dataset.data_root)')
    assert 'https://cocodataset.org' in said and said.endswith('--cfg-options data_root=...')
    Path('data/coco/annotations').mkdir(parents=True)
    assert 'annotations/train.json does not exist (config key train_dataloader.dataset.ann_file)' in refuse(path)
    Path('data/coco/annotations/train.json').write_text('{')
    assert 'train2017/ does not exist (config key train_dataloader.dataset.data_prefix.img)' in refuse(path)
    Path('data/coco/train2017').mkdir()
    assert 'config key val_dataloader.dataset.ann_file' in refuse(path)
    assert 'elsewhere does not exist' in refuse(path, '--cfg-options', 'data_root=elsewhere')
    Path('data/coco/annotations/val.json').write_text('{')
    Path('data/coco/val2017').mkdir()
    assert refuse(path).startswith('data/coco/annotations/train.json is not a JSON file: ')


# --- the rest ----------------------------------------------------------------------------------------------------


def test_amp_without_an_accelerator(config, refuse):
    if preflight.has_accelerator():
        pytest.skip('this is about machines without one')
    assert 'needs a GPU' in refuse(config, '--amp')
    assert 'needs a GPU' in refuse(config, '--cfg-options', 'optim_wrapper.type=AmpOptimWrapper')


def test_amp_with_another_wrapper(config, refuse):
    assert 'has ApexOptimWrapper' in refuse(config, '--amp', '--cfg-options', 'optim_wrapper.type=ApexOptimWrapper')


def test_auto_scale_lr_without_a_base(config, refuse):
    assert 'auto_scale_lr.base_batch_size' in refuse(config, '--auto-scale-lr')


def test_auto_scale_lr_that_the_schedule_would_undo(tmp_path, refuse):
    cycle = "auto_scale_lr = dict(base_batch_size=8)\nparam_scheduler = dict(type='OneCycleLR', eta_max=0.1)\n"
    config = write_config(tmp_path, CLASSIFICATION + cycle)
    for way in (['--auto-scale-lr'], ['--cfg-options', 'auto_scale_lr.enable=True']):
        said = refuse(config, *way)
        assert said.startswith('--auto-scale-lr (auto_scale_lr.enable): OneCycleLR rises to param_scheduler.eta_max ')


def test_launcher_without_its_variables(config, refuse, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    assert 'RANK is not set; start this command through torchrun' in refuse(config, '--launcher', 'pytorch')
    assert 'SLURM_PROCID is not set' in refuse(config, '--launcher', 'slurm')


def test_a_work_dir_that_cannot_be(config, refuse):
    assert 'work directory' in refuse(config, '--work-dir', f'{config}/work')


def test_one_line_from_the_command_itself(config):
    command = [sys.executable, str(TOOLS / 'train.py'), config, '--cfg-options', 'model.head.loss.gama_neg=2']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr and done.stderr.count("error: --cfg-options: no key 'gama_neg'") == 1
