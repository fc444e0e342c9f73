import argparse
import json
import os
import shutil
import sys

import pytest
from experiment import train_and_test, trial_spec
from grid import finished, gather, keep_cell, read_cells, run_cells, run_grid

from mmasl.errors import UserError
from tests.test_tools.tool_runs import CLASSIFICATION, write_config


def double(spec):
    """A cell that leaves a trace of having run, and fails where it is told to."""
    with open(spec['trace'], 'a') as file:
        file.write(f'{spec["value"]}\n')
    if spec['value'] < 0:
        raise ArithmeticError('negative')
    print('noise of the run', flush=True)
    return dict(double=2 * spec['value'], threads=os.environ['OMP_NUM_THREADS'])


@pytest.fixture
def cells(tmp_path):
    return {f'cell{value}': dict(value=value, trace=str(tmp_path / 'trace')) for value in (1, 2, 3)}


def runs(tmp_path):
    return sorted((tmp_path / 'trace').read_text().split())


def grid(cells, tmp_path, workers=1):
    """Run the grid, and return the doubles of its finished cells."""
    args = argparse.Namespace(cells=tmp_path / 'cells', results=tmp_path / 'results.jsonl', workers=workers)
    assert run_grid(cells, args, double, str) == 0
    done = finished(cells, args.cells, args.results)
    return {name: cell['result']['double'] for name, cell in done.items()}


def test_finished_cells_are_kept_and_skipped(cells, tmp_path):
    for _ in range(2):
        assert grid(cells, tmp_path, workers=2) == {'cell1': 2, 'cell2': 4, 'cell3': 6}
    kept = read_cells(tmp_path / 'cells')
    assert [cell['cell'] for cell in kept] == ['cell1', 'cell2', 'cell3']
    assert all(cell['result']['threads'] == '1' and cell['seconds'] >= 0 for cell in kept)
    assert runs(tmp_path) == ['1', '2', '3']


def test_only_what_is_missing_or_changed_runs_again(cells, tmp_path):
    grid(cells, tmp_path)
    folder = tmp_path / 'cells'
    (folder / 'cell1.json').unlink()
    (folder / 'cell2.json').write_text('{"spec": ')  # as if written without care and cut
    changed = {**cells, 'cell3': {**cells['cell3'], 'value': 7}}
    assert grid(changed, tmp_path) == {'cell1': 2, 'cell2': 4, 'cell3': 14}
    assert runs(tmp_path) == ['1', '1', '2', '2', '3', '7']
    assert set(finished(cells, folder)) == {'cell1', 'cell2'} and set(finished(changed, folder)) == set(cells)


def test_gathered_cells_are_finished_on_another_machine(cells, tmp_path):
    folder, file = tmp_path / 'cells', tmp_path / 'results.jsonl'
    grid(dict(cell1=cells['cell1']), tmp_path)
    gather(folder, file)
    shutil.rmtree(folder)
    grid(cells, tmp_path)
    assert runs(tmp_path) == ['1', '2', '3']
    assert [cell['cell'] for cell in gather(folder, file)] == ['cell1', 'cell2', 'cell3']
    assert gather(folder, file) == [json.loads(line) for line in file.read_text().splitlines()]
    assert grid(dict(cell2=dict(cells['cell2'], value=9)), tmp_path) == {'cell2': 18}
    assert [cell['result']['double'] for cell in read_cells(folder, file)] == [2, 18, 6]  # the newer one counts


def test_the_newer_of_two_days_counts(cells, tmp_path):
    folder, file = tmp_path / 'cells', tmp_path / 'results.jsonl'
    grid(cells, tmp_path)
    newer = dict(json.loads((folder / 'cell1.json').read_text()), result=dict(double=5), date='2999-01-01')
    file.write_text(json.dumps(newer) + '\n')  # came with a checkout
    assert [cell['result']['double'] for cell in gather(folder, file)] == [5, 4, 6]


def test_what_another_grid_has_finished_is_not_run_again(cells, tmp_path):
    run = double, tmp_path / 'cells', 'cell1'
    assert keep_cell(*run, cells['cell1']) == keep_cell(*run, cells['cell1'])
    assert keep_cell(*run, dict(cells['cell1'], value=4))['result']['double'] == 8
    assert runs(tmp_path) == ['1', '4']


def test_nothing_is_not_gathered(tmp_path):
    with pytest.raises(UserError, match='expected finished cells in .*, found none: run the grid first'):
        gather(tmp_path / 'cells', tmp_path / 'results.jsonl')
    assert not list(tmp_path.iterdir())


def test_a_spec_is_the_same_after_json(tmp_path):
    spec = dict(value=1.0, trace=str(tmp_path / 'trace'), bounds=(1.0, 3.0))
    for same in (spec, dict(spec, value=1)):
        assert grid({'cell': same}, tmp_path) == {'cell': 2}
    assert runs(tmp_path) == ['1.0']


def test_a_cell_that_fails_does_not_stop_the_others(cells, tmp_path):
    folder = tmp_path / 'cells'
    bad = {'bad': dict(value=-1, trace=str(tmp_path / 'trace')), **cells}
    results = dict(run_cells(bad, folder, double, workers=1, log=tmp_path / 'log'))
    assert isinstance(results['bad'], ArithmeticError)
    assert {'cell1', 'cell2', 'cell3'} < set(results)
    assert not (folder / 'bad.json').exists()
    assert (tmp_path / 'log').read_text().count('noise of the run') == 3


def test_progress_is_shown_and_failures_are_counted(cells, tmp_path, capsys):
    bad = {'bad': dict(value=-1, trace=str(tmp_path / 'trace')), **cells}
    args = argparse.Namespace(cells=tmp_path / 'cells', results=tmp_path / 'results.jsonl', workers=1)
    failures = run_grid(bad, args, double, lambda result: f'= {result["double"]}')
    out, err = capsys.readouterr()
    assert failures == 1 and '4 cells, 0 of them finished before' in out
    assert (tmp_path / 'cells.log').read_text().count('noise of the run') == 3
    assert 'cell3: = 6  (0 s, 0 min left)' in out and 'bad: ArithmeticError: negative' in err


def test_cells_run_as_jobs_of_submitit(cells, tmp_path, monkeypatch):
    """Without Slurm submitit starts local processes; the code is the same up to its executor."""
    monkeypatch.delenv('PYTHONPATH', raising=False)
    folder = tmp_path / 'cells'
    slurm = dict(timeout_min=20, slurm_partition='any')
    done = dict(run_cells(cells, folder, double, slurm=slurm))
    assert {name: cell['result']['double'] for name, cell in done.items()} == {'cell1': 2, 'cell2': 4, 'cell3': 6}
    failed = dict(run_cells({'bad': dict(cells['cell1'], value=-1)}, folder, double, slurm=slurm))
    assert 'ArithmeticError: negative' in str(failed['bad']) and not (folder / 'bad.json').exists()


def test_jobs_without_submitit_are_refused(cells, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'submitit', None)
    with pytest.raises(UserError, match='Slurm jobs need submitit: pip install submitit'):
        list(run_cells(cells, tmp_path, double, slurm={}))


def test_a_training_that_diverges_fails_with_a_clear_line(tmp_path):
    config = write_config(tmp_path, CLASSIFICATION)
    overrides = {'optim_wrapper.optimizer.lr': 1e30, 'train_cfg.max_epochs': 3}
    with pytest.raises(UserError, match='iteration 2 .*logits of .* are not finite|iteration . .*loss is (nan|inf)'):
        train_and_test(config, overrides, split='val')


def test_a_specification_says_what_differs_from_the_config(tmp_path):
    config = write_config(tmp_path, CLASSIFICATION)
    shown = {'lr': 'optim_wrapper.optimizer.lr', 'step': 'param_scheduler.0.milestones'}
    spec = trial_spec(config, {'optim_wrapper.optimizer.lr': 0.01}, 3, seed_keys=['randomness.seed'], shown=shown)
    assert (spec['overrides'], spec['lr'], spec['step'], spec['seed']) == ({}, 0.01, [100], 3)
    assert trial_spec(config, seed=4, seed_keys=['randomness.seed'], shown=shown) == spec | dict(seed=4)
    other = trial_spec(config, {'optim_wrapper.optimizer.lr': 0.1}, 3, label='x')
    assert other['settings'] != spec['settings'] and other['label'] == 'x'


def test_a_specification_follows_the_preprocessor_outside_the_model_and_the_moved_data(tmp_path):
    more = "data_root = 'old/'\ndata_preprocessor = dict(mean=[1.0])\ntrain_dataloader['dataset']['root'] = data_root\n"
    config = write_config(tmp_path, CLASSIFICATION, more)
    settings = {
        trial_spec(config, changes)['settings']
        for changes in ({}, {'data_preprocessor.mean': [2.0]}, {'data_root': 'new'})
    }
    assert len(settings) == 3
