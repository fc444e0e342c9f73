"""tools/train.py at work, and its checkpoints. What it says to other mistakes of users is in test_train_refusals.py."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmasl.cli import preflight
from mmasl.cli import run as cli
from mmasl.cli.flags import make_parser
from tests.test_tools.tool_runs import (
    CLASSIFICATION,
    DETECTION,
    TOOLS,
    Refusals,
    free_port,
    last_log,
    load_main,
    write_config,
)

pytestmark = pytest.mark.usefixtures('empty_folder')

main = load_main('train')


@pytest.fixture
def config(tmp_path) -> str:
    return write_config(tmp_path, CLASSIFICATION)


@pytest.fixture
def refuse(capsys) -> Refusals:
    return Refusals('train', capsys)


def test_trains_and_says_where_the_results_are(config, capsys):
    best = ['default_hooks.checkpoint.save_best=multi-label/f1-score_thr-0.02', 'default_hooks.checkpoint.rule=greater']
    assert main([config, '--cfg-options', *best]) == 0
    work_dir = Path('work_dirs', Path(config).stem)
    last = capsys.readouterr().out.splitlines()[-1]
    assert f'best {work_dir.absolute()}/best_multi-label_f1-score_thr-0.02_epoch_1.pth' in last
    assert last.startswith('done: ')
    assert str(work_dir / 'epoch_1.pth') in last
    assert str(last_log(work_dir)) in last


def test_no_validate(config, capsys):
    assert main([config, '--no-validate', '--no-pin-memory', '--no-persistent-workers']) == 0
    assert 'Epoch(val)' not in capsys.readouterr().out


def test_auto_scale_lr_is_linear(config, capsys):
    assert main([config, '--auto-scale-lr', '--cfg-options', 'auto_scale_lr.base_batch_size=32']) == 0
    assert 'lr: 2.5000e-03' in capsys.readouterr().out  # 0.01 * 8 / 32


def test_a_config_of_the_import_style(config, refuse):
    text = CLASSIFICATION.replace("'mmasl.DigitNet'", 'DigitNet').replace("'mmasl.DigitScenes'", 'DigitScenes')
    imports = 'from mmasl.models.backbones import DigitNet\nfrom mmasl.datasets import DigitScenes\n'
    Path(config).write_text(imports + text)
    assert refuse(config, '--cfg-options', 'train_dataloader.dataset.num_scene=8').endswith("'num_scenes'?")
    with pytest.raises(ValueError, match='frozen_stages must lie in'):
        main([config, '--cfg-options', 'model.backbone.frozen_stages=9'])
    assert main([config, '--cfg-options', 'train_dataloader.dataset.num_scenes=8']) == 0


def test_mmpretrain_gets_its_data_loader_defaults(config, tmp_path):
    """MMPretrain's configs leave collate_fn to its tools; MMDetection's must keep MMEngine's."""
    args = make_parser('').parse_args([config])
    cfg = Config.fromfile(config)
    cfg.val_dataloader.num_workers = 2
    cli.set_dataloaders(cfg, args)
    assert cfg.train_dataloader.collate_fn == {'type': 'default_collate'}
    assert not cfg.train_dataloader.persistent_workers and cfg.val_dataloader.persistent_workers
    (tmp_path / 'det.py').write_text(DETECTION)
    cfg = Config.fromfile(tmp_path / 'det.py')
    cli.set_dataloaders(cfg, args)
    assert 'collate_fn' not in cfg.train_dataloader


def test_flexible_runner(config):
    flexible = ['--work-dir', 'wd', '--cfg-options', 'runner_type=FlexibleRunner']
    assert main([config, *flexible]) == 0
    assert main([config, *flexible, 'train_cfg.max_epochs=2', '--resume']) == 0
    assert torch.load('wd/epoch_2.pth', weights_only=False)['meta']['epoch'] == 2


def test_two_processes_without_a_gpu(config, tmp_path):
    if preflight.has_accelerator():
        pytest.skip('this is about machines without one')
    run = [TOOLS / 'dist_train.sh', config, '2', '--work-dir', 'wd']
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PORT': free_port(), 'PATH': path}
    done = subprocess.run(run, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count('done: ') == 1
    assert 'Epoch(train) [1][1/1]' in done.stdout  # 16 scenes / (2 processes * 8)


def test_amp_is_set(config, monkeypatch):
    monkeypatch.setattr(preflight, 'has_accelerator', lambda: True)
    cfg = Config.fromfile(config)
    cli.enable_amp(cfg)
    preflight.check_amp(cfg)
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.loss_scale) == ('AmpOptimWrapper', 'dynamic')
    cfg.optim_wrapper.loss_scale = 512.0
    cli.enable_amp(cfg)
    assert cfg.optim_wrapper.loss_scale == 512.0


# --- checkpoints -------------------------------------------------------------------------------------------------


def test_resume_auto_starts_anew_and_later_goes_on(config, capsys):
    assert main([config, '--resume', '--work-dir', 'wd']) == 0
    assert '--resume: no checkpoint in wd, starting from the beginning' in capsys.readouterr().out
    # A work directory that was moved still resumes, although MMEngine wrote absolute paths into it.
    os.rename('wd', 'moved')
    options = ['--work-dir', 'moved', '--cfg-options', 'train_cfg.max_epochs=3']
    assert main([config, '--resume', *options]) == 0
    out = capsys.readouterr().out
    assert '--resume: continuing from moved/epoch_1.pth' in out
    assert 'Epoch(train) [1]' not in out and 'Epoch(train) [2]' in out and 'Epoch(train) [3]' in out


def test_a_killed_run_resumes_at_the_right_epoch(config, tmp_path):
    command = [sys.executable, str(TOOLS / 'train.py'), config, '--work-dir', 'wd']
    with (tmp_path / 'killed.log').open('w') as log:
        process = subprocess.Popen(
            [*command, '--cfg-options', 'train_cfg.max_epochs=100000', 'default_hooks.checkpoint.max_keep_ckpts=3'],
            stdout=log,
            stderr=log,
        )
        deadline = time.time() + 120
        while not Path('wd/last_checkpoint').exists() and time.time() < deadline and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    path = Path(Path('wd/last_checkpoint').read_text())
    done = torch.load(path, weights_only=False)['meta']['epoch']
    assert path.name == f'epoch_{done}.pth'
    assert main([config, '--work-dir', 'wd', '--resume', '--cfg-options', f'train_cfg.max_epochs={done + 2}']) == 0
    lines = (last_log('wd') / 'vis_data' / 'scalars.json').read_text().splitlines()
    epochs = [json.loads(line)['epoch'] for line in lines if 'loss' in line]
    assert epochs[0] == done + 1 and epochs[-1] == done + 2


def test_resume_from_what_is_no_training_state(config, refuse):
    assert refuse(config, '--resume', 'nosuch.pth') == '--resume: nosuch.pth does not exist'
    torch.save({'state_dict': {}}, 'weights.pth')
    assert 'holds weights only' in refuse(config, '--resume', 'weights.pth')
    torch.save([1], 'list.pth')
    assert 'holds a list instead of weights' in refuse(config, '--resume', 'list.pth')
    Path('wd').mkdir()
    assert 'only the strategy that wrote it' in refuse(config, '--resume', 'wd')
    Path('wd/epoch_1.pth').touch()
    for runner in ('Runner', 'FlexibleRunner'):
        said = refuse(config, '--resume', 'wd', '--cfg-options', f'runner_type={runner}')
        assert said == '--resume: wd is a folder; write the file, such as wd/epoch_1.pth, its newest checkpoint'


def test_start_from_another_architecture(config, refuse):
    assert main([config, '--work-dir', 'wd']) == 0
    # Fine-tuning changes the head; resuming must not.
    other = ['--cfg-options', 'model.head.num_classes=12', 'model.data_preprocessor.num_classes=12']
    assert 'is not a checkpoint of this model' in refuse(config, '--resume', 'wd/epoch_1.pth', *other)
    torch.save({'state_dict': {'layer.weight': torch.zeros(2)}}, 'other.pth')
    assert 'is not a checkpoint of this model' in refuse(config, '--cfg-options', 'load_from=other.pth')
    assert main([config, '--cfg-options', 'load_from=wd/epoch_1.pth', 'model.head.loss.gamma_pos=1']) == 0


def test_a_truncated_checkpoint(config, refuse):
    assert main([config, '--work-dir', 'wd']) == 0
    whole = Path('wd/epoch_1.pth').read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 100):
        Path('wd/epoch_1.pth').write_bytes(whole[:size])
        said = refuse(config, '--work-dir', 'wd', '--resume')
        assert f'wd/epoch_1.pth cannot be loaded (is it complete? it has {size:,} bytes)' in said


CYCLE = "param_scheduler = [dict(type='mmasl.OneCycleLR', by_epoch=True, convert_to_iter_based=True)]\n"
CHANGED = {
    'train_cfg.max_epochs=4': 'OneCycleLR.total_steps 4 in the checkpoint, 8 in the config',
    'optim_wrapper.optimizer.lr=0.1': 'optimizer.lr 0.01 in the checkpoint, 0.1 in the config',
    'optim_wrapper.optimizer.weight_decay=0.5': 'optimizer.weight_decay 0 in the checkpoint, 0.5 in the config',
    'param_scheduler.0.end=1': 'OneCycleLR.total_steps 4 in the checkpoint, 2 in the config',
}


def test_resuming_with_another_schedule(tmp_path, refuse, capsys):
    config = write_config(tmp_path, CLASSIFICATION, CYCLE + "train_cfg['max_epochs'] = 2\n")
    assert main([config, '--work-dir', 'wd']) == 0
    for option, message in CHANGED.items():
        said = refuse(config, '--work-dir', 'wd', '--resume', '--cfg-options', option)
        assert 'wd/epoch_2.pth (of epoch 2) was written with another schedule, which would replace that of ' in said
        assert message in said
        assert said.startswith('--resume: ') and said.endswith('wd/epoch_2.pth')
    capsys.readouterr()
    assert main([config, '--work-dir', 'wd', '--resume']) == 0
    assert 'safely' not in capsys.readouterr().out  # MMEngine's warning of an unsafe file
    more = ['--cfg-options', 'load_from=wd/epoch_2.pth', 'train_cfg.max_epochs=1']
    assert main([config, '--work-dir', 'more', *more]) == 0  # what the message proposes


ENDS = {
    "[dict(type='PolyLR', end=1)]": 'max_epochs 1 in the checkpoint, 3 (beyond the end=1 of PolyLR) in the config',
    "[dict(type='LinearLR', by_epoch=False, end=1), dict(type='CosineAnnealingLR', T_max=2, by_epoch=False, end=2)]": (
        'max_iters 2 in the checkpoint, 6 (beyond the end=2 of CosineAnnealingLR) in the config'
    ),
}


@pytest.mark.parametrize('schedule', ENDS)
def test_a_longer_training_than_the_schedule_that_is_written_out(tmp_path, refuse, schedule):
    adam = "optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.01))\n"
    config = write_config(tmp_path, CLASSIFICATION, f'{adam}param_scheduler = {schedule}\n')
    assert main([config, '--work-dir', 'wd']) == 0
    resume = [config, '--work-dir', 'wd', '--resume', '--cfg-options']
    assert main([*resume, 'optim_wrapper.optimizer.betas=[0.9,0.999]']) == 0  # the default
    assert ENDS[schedule] in refuse(*resume, 'train_cfg.max_epochs=3')
    said = 'optimizer.betas (0.9, 0.999) in the checkpoint, (0.5, 0.9) in the config'
    assert said in refuse(*resume, 'optim_wrapper.optimizer.betas=[0.5,0.9]')


def test_a_longer_training_whose_schedule_is_the_same(tmp_path):
    config = write_config(tmp_path, CLASSIFICATION, "param_scheduler = [dict(type='MultiStepLR', milestones=[2])]\n")
    assert main([config, '--work-dir', 'wd']) == 0
    assert main([config, '--work-dir', 'wd', '--resume', '--cfg-options', 'train_cfg.max_epochs=3']) == 0
    states = [torch.load(f'wd/epoch_{epoch}.pth', weights_only=False)['optimizer'] for epoch in (1, 2, 3)]
    assert [state['param_groups'][0]['lr'] for state in states] == [pytest.approx(lr) for lr in (0.01, 0.001, 0.001)]
