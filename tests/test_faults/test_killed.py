"""Processes that are killed and disks that are full: a whole checkpoint is there, and the training goes on from it."""

import os
import resource
import signal
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmasl.cli import checkpoints
from mmasl.engine.hooks.safe_checkpoint_hook import AtomicLocalBackend
from mmasl.errors import UserError
from tests.test_engine.test_hooks.test_exact_resume_hook import assert_same
from tests.test_tools.tool_runs import CLASSIFICATION, load_main, write_config

main = load_main('train')
THREE_EPOCHS = """
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=1)
default_hooks['checkpoint'].update(max_keep_ckpts=1, save_best='multi-label/f1-score_thr-0.02', rule='greater')
"""


def in_child(function) -> int:
    """Run ``function`` in a fork of this process, and return the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # the threads of the parent did not come along
            function()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_while_writing(monkeypatch, file: str):
    """Have the process killed when half of ``file`` is written."""
    put = LocalBackend.put

    def killing_put(self, obj, filepath):
        if file not in str(filepath):
            return put(self, obj, filepath)
        put(self, obj[: len(obj) // 2], filepath)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(LocalBackend, 'put', killing_put)


def test_a_kill_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / 'file'
    AtomicLocalBackend().put(b'old', file)
    with monkeypatch.context() as patch:
        killed_while_writing(patch, 'file')
        assert in_child(lambda: AtomicLocalBackend().put(b'new' * 100, file)) == -signal.SIGKILL
    assert file.read_bytes() == b'old'
    AtomicLocalBackend().put(b'new', file)  # over what the kill left beside it
    assert file.read_bytes() == b'new' and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize('file', ['/epoch_2.pth', '/best_'])
def test_killed_while_a_checkpoint_is_written(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, CLASSIFICATION, THREE_EPOCHS)
    with monkeypatch.context() as patch:
        killed_while_writing(patch, file)
        assert in_child(lambda: main([config, '--work-dir', 'wd'])) == -signal.SIGKILL
    last = Path(Path('wd/last_checkpoint').read_text())
    assert last.name == 'epoch_1.pth'
    checkpoints.read(str(last), 'last')
    assert main([config, '--work-dir', 'wd', '--resume']) == 0
    assert main([config, '--work-dir', 'whole']) == 0
    resumed, whole = (torch.load(f'{folder}/epoch_3.pth', weights_only=False) for folder in ('wd', 'whole'))
    assert_same(whole['state_dict'], resumed['state_dict'], 'state_dict')
    left = sorted(path.name for path in Path('wd').glob('*.pth*') if 'best' not in path.name)
    assert left == ['epoch_3.pth']


def test_an_empty_or_missing_last_checkpoint(tmp_path):
    assert checkpoints.latest(str(tmp_path)) is None
    for number in (9, 10):
        (tmp_path / f'epoch_{number}.pth').write_bytes(b'')
        os.utime(tmp_path / f'epoch_{number}.pth', (number, number))
    with pytest.raises(UserError, match=f'last_checkpoint, .* is missing; .*: --resume {tmp_path}/epoch_10.pth; '):
        checkpoints.latest(str(tmp_path))
    (tmp_path / 'last_checkpoint').write_text('')
    assert checkpoints.latest(str(tmp_path)) == str(tmp_path / 'epoch_10.pth')


@HOOKS.register_module()
class FillDisk(Hook):
    """Lets no file grow beyond 100 kB from the second epoch on."""

    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_disk(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    full = write_config(tmp_path, CLASSIFICATION, THREE_EPOCHS + "custom_hooks = [dict(type='mmengine.FillDisk')]\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        assert main([full, '--work-dir', 'wd']) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    *_, error, hint = capsys.readouterr().err.splitlines()
    assert 'File too large' in error
    assert hint == 'hint: make room on the disk, then go on from the last checkpoint with --resume'
    assert not list(Path('wd').glob('*.part'))
    checkpoints.read('wd/epoch_1.pth', 'last')
    config = write_config(tmp_path, CLASSIFICATION, THREE_EPOCHS)
    assert main([config, '--work-dir', 'wd', '--resume']) == 0
    assert Path('wd/epoch_3.pth').exists()
