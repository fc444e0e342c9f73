"""Last and best, averaged and raw: four numbers that are never mixed."""

import re

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmasl.engine.hooks import LastAndBestHook
from mmasl.errors import UserError
from tests.test_tools.tool_runs import CLASSIFICATION, write_config

HOOKS = """
custom_hooks = [
    dict(type='EMAHook', momentum=0.1, update_buffers=True, evaluate_on_origin=True),
    dict(type='mmasl.LastAndBestHook', metric='multi-label/f1-score_thr-0.02'),
]
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=1)
"""
LINE = r'f1-score_thr-0.02, (averaged|raw) weights: last ([\d.]+) \(epoch (\d)\), best on validation ([\d.]+) \(epoch'


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(write_config(tmp_path, CLASSIFICATION, HOOKS))
    cfg.work_dir = 'work'

    def train(**options):
        cfg.merge_from_dict(options)
        runner = Runner.from_cfg(cfg)
        runner.train()
        return runner, re.findall(LINE, ''.join(capfd.readouterr()))

    return train


def history(runner, suffix=''):
    values, _ = runner.message_hub.get_scalar(f'val/multi-label/f1-score_thr-0.02{suffix}').data
    return [round(float(value), 2) for value in values]


def test_four_numbers_also_after_a_resume(run):
    runner, lines = run()
    expected = []
    for kind, suffix in (('averaged', ''), ('raw', '_origin')):
        values = history(runner, suffix)
        assert len(values) == 3
        expected.append((kind, f'{values[-1]:.2f}', '3', f'{max(values):.2f}'))
    assert lines == expected

    runner, lines = run(**{'load_from': 'work/epoch_2.pth', 'resume': True, 'experiment_name': 'resumed'})
    assert [(kind, last) for kind, last, *_ in lines] == [(kind, last) for kind, last, *_ in expected]
    record = runner.message_hub.get_info('mmasl_validations')
    for history_of in record.values():  # epoch 2 too, which was validated after its checkpoint was written
        assert [at for _, at, _ in history_of] == ['epoch 1', 'epoch 2', 'epoch 3']


def test_iterations_where_there_are_no_epochs(run):
    train_cfg = dict(_delete_=True, by_epoch=False, max_iters=2, val_interval=1)
    runner, _ = run(custom_hooks=[dict(type='mmasl.LastAndBestHook')], train_cfg=train_cfg)
    (record,) = runner.message_hub.get_info('mmasl_validations').values()
    assert [at for _, at, _ in record] == ['iteration 1', 'iteration 2']


def test_without_averaging_there_is_one_line(run):
    runner, lines = run(custom_hooks=[dict(type='mmasl.LastAndBestHook')], train_cfg=dict(max_epochs=1))
    assert lines == []
    assert len(runner.message_hub.get_info('mmasl_validations')) == 1


def test_an_unknown_metric_is_refused(run):
    hook = dict(type='mmasl.LastAndBestHook', metric='mAP')
    with pytest.raises(
        UserError, match='custom_hooks: LastAndBestHook.metric: expected one of multi-label/precision.*, got mAP'
    ):
        run(custom_hooks=[hook], train_cfg=dict(max_epochs=1))


def test_the_default_is_the_first_metric():
    assert LastAndBestHook().metric is None
