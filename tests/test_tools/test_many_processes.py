"""Two processes train what one trains; what the scripts for clusters start."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from mmasl.cli import preflight
from mmasl.cli import run as cli
from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, TOOLS, free_port, last_log, load_main, write_config

main = load_main('train')
# Random flips too, which depend on the sample and not on the process. BatchNorm is frozen: its statistics are those of
# a process's own samples, and SyncBatchNorm needs a GPU.
MORE = """
model['backbone'].update(frozen_stages=3)
flipped = dict(scenes, pipeline=[dict(type='RandomFlip', prob=0.5), *scenes['pipeline']])
train_dataloader.update(dataset=dict(split='train', **flipped))
val_dataloader['dataset']['num_scenes'] = 7
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=2)
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
"""
METRIC = "dict(type='mmasl.MultiLabelMetric')"
TEXTS = {
    'classification': CLASSIFICATION.replace("dict(type='MultiLabelMetric', thr=0.02)", METRIC) + MORE,
    'adaptive': CLASSIFICATION.replace("dict(type='MultiLabelMetric', thr=0.02)", METRIC)
    + MORE
    + "model['head']['loss'].update(type='mmasl.AdaptiveAsymmetricLoss')\n",
    'detection': DETECTION + MORE,
}


def run_in_processes(argv: list[str], world_size: int) -> None:
    """Run the tool as a launcher would, in forks of this process, which have imported everything."""
    port, children = free_port(), []
    for rank in range(world_size):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                torch.set_num_threads(1)  # the threads of the parent did not come along
                os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size))
                os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
                status = main([*argv, '--launcher', 'pytorch'])
            finally:
                os._exit(status)
        children.append(child)
    assert wait(children) == [0] * world_size


def wait(children: list[int], seconds: float = 300) -> list[int]:
    """Return the exit status of each process. If one fails or the time is over, the others are killed."""
    statuses, end = {}, time.monotonic() + seconds
    while len(statuses) < len(children):
        for child in set(children) - set(statuses):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                statuses[child] = os.waitstatus_to_exitcode(status)
            elif any(statuses.values()) or time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.05)
    return [statuses[child] for child in children]


def outcome(work_dir: str) -> tuple[dict, dict]:
    """Return weights, averaged and raw, and the metrics of the validation."""
    checkpoint = torch.load(Path(work_dir, 'epoch_2.pth'), weights_only=False)
    lines = (last_log(work_dir) / 'vis_data' / 'scalars.json').read_text().splitlines()
    metrics = {key: value for key, value in json.loads(lines[-1]).items() if '/' in key}
    return {**checkpoint['state_dict'], **checkpoint['ema_state_dict']}, metrics


@pytest.mark.skipif(preflight.has_accelerator(), reason='processes of CPUs are for machines without an accelerator')
@pytest.mark.parametrize('task', TEXTS)
def test_two_processes_train_what_one_trains(tmp_path, monkeypatch, task):
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, TEXTS[task])
    assert main([config, '--work-dir', 'one', '--cfg-options', 'train_dataloader.batch_size=4']) == 0
    run_in_processes([config, '--work-dir', 'two', '--cfg-options', 'train_dataloader.batch_size=2'], 2)
    (one, metrics), (two, their_metrics) = outcome('one'), outcome('two')
    assert one.keys() == two.keys() and metrics.keys() == their_metrics.keys() and metrics
    for name, value in one.items():
        torch.testing.assert_close(
            two[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f'{name}: {text}'
        )
    assert their_metrics == pytest.approx(metrics, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize('launcher', preflight.LAUNCHER_VARIABLES)
def test_one_process_speaks(launcher, monkeypatch, capsys):
    for variable in preflight.LAUNCHER_VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    for rank in ('0', '1'):
        monkeypatch.setenv(preflight.LAUNCHER_VARIABLES[launcher], rank)
        cli.say(f'rank {rank}')
    assert capsys.readouterr().out == 'rank 0\n'


FAKE = """#!/usr/bin/env bash
printf '%s\\n' "$@" > arguments
"""


@pytest.mark.parametrize(
    ('script', 'arguments', 'command', 'expected'),
    [
        ('dist_train', ['c.py', '2'], 'python', ['train.py', 'c.py', '--launcher', 'pytorch']),
        ('dist_test', ['c.py', 'w.pth', '2'], 'python', ['test.py', 'c.py', 'w.pth', '--launcher', 'pytorch']),
        (
            'slurm_train',
            ['part', 'job', 'c.py', 'wd'],
            'srun',
            ['train.py', 'c.py', '--work-dir', 'wd', '--launcher', 'slurm'],
        ),
        ('slurm_test', ['part', 'job', 'c.py', 'w.pth'], 'srun', ['test.py', 'c.py', 'w.pth', '--launcher', 'slurm']),
    ],
)
def test_what_a_script_starts(tmp_path, script, arguments, command, expected):
    fake = tmp_path / 'bin' / command
    fake.parent.mkdir()
    fake.write_text(FAKE)
    fake.chmod(0o755)
    env = {**os.environ, 'PATH': f'{fake.parent}:{os.environ["PATH"]}', 'GPUS': '16', 'SRUN_ARGS': '--exclusive -x n1'}
    more = ['--cfg-options', 'work_dir=a folder']
    subprocess.run([TOOLS / f'{script}.sh', *arguments, *more], cwd=tmp_path, env=env, check=True)
    given = (tmp_path / 'arguments').read_text().splitlines()
    start = next(i for i, argument in enumerate(given) if argument.endswith(expected[0]))
    assert [Path(given[start]).name, *given[start + 1 :]] == [*expected, *more]
    if command == 'python':
        assert '--nproc_per_node=2' in given and '--master_port=29500' in given
    else:
        assert given[:3] == ['-p', 'part', '--job-name=job'] and '--ntasks=16' in given
        assert given[given.index('--exclusive') : start] == ['--exclusive', '-x', 'n1', 'python', '-u']
    done = subprocess.run([TOOLS / f'{script}.sh', 'c.py'], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith('usage: ')
