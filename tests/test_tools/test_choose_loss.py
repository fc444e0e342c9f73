"""Which loss, by cross-validation: equal trials, honest selection, a verdict with spread."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.test_tools.tool_runs import Refusals, load_main

main = load_main('studies/choose_loss')
tool = sys.modules[main.__module__]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 5))
    y = (x @ rng.normal(size=(5, 4)) > 1).astype(int)
    np.savez('my.npz', train_x=x[:100], train_y=y[:100], test_x=x[100:], test_y=y[100:])


QUICK = ['--folds', '3', '--epochs', '2', '--hidden', '--trials', '3']


def test_every_loss_has_as_many_trials():
    assert {len(trials) for trials in tool.LADDER.values()} == {6}


def test_few_trials_have_the_same_rates_for_every_loss_with_parameters():
    args = tool.parse_args(['my.npz', '--trials', '3'])
    chosen = {name: [rate for _, rate in tool.chosen_trials(name, args)] for name in tool.LADDER}
    assert {tuple(sorted(rates)) for name, rates in chosen.items() if name != tool.BASELINE} == {tool.RATES}


def test_a_fold_is_measured_with_what_is_best_on_the_others():
    results = np.array([[9.0, 1.0, 2.0], [3.0, 3.0, 3.0]])  # the first trial is best on the first fold only
    values, best = tool.select(results)
    assert values.tolist() == [3.0, 1.0, 2.0] and best == 0


@pytest.mark.parametrize(
    ('gains', 'choice', 'words'),
    [
        ([2.0, 3.0, 2.5], 'ASL', 'take ASL: ASL is worth +2.5 ± 0.5 mAP against cross-entropy, ahead on 3 of 3 folds'),
        ([9.0, -4.0, 1.0], 'cross-entropy', 'no loss is ahead by more than the folds differ, take cross-entropy: '),
        ([-2.0, -3.0, -2.5], 'cross-entropy', 'take cross-entropy: ASL is worth -2.5 ± 0.5 mAP'),
    ],
)
def test_the_verdict(gains, choice, words):
    values = {'cross-entropy': np.full(3, 40.0), 'ASL': 40 + np.array(gains)}
    found, said = tool.judge(values)
    assert found == choice and said.startswith(words)


def test_a_run_and_its_continuation(data, capsys, monkeypatch):
    assert main(['my.npz', *QUICK, '--losses', 'ASL', '--test']) == 0
    out = capsys.readouterr().out
    report = json.loads(Path('work_dirs/choose_loss/choose_loss.json').read_text())
    assert out.splitlines()[-1].startswith(report['verdict']) and report['choice'] in ('cross-entropy', 'ASL')
    assert set(report['losses']) == {'cross-entropy', 'ASL'} and len(report['losses']['ASL']['folds']) == 3
    assert 0 < report['losses']['cross-entropy']['test'] <= 100
    assert abs(report['pt_pos_excess']) < 0.5 and f'held-out ones by {report["pt_pos_excess"]:.2f}: it memorises' in out
    assert len(list(Path('work_dirs/choose_loss/trials').iterdir())) == 3
    assert Path('work_dirs/choose_loss/choose_loss.png').stat().st_size > 1000
    monkeypatch.setattr(tool, 'train', lambda *args: pytest.fail('it was trained before'))
    assert main(['my.npz', *QUICK, '--losses', 'ASL']) == 0
    assert json.loads(Path('work_dirs/choose_loss/choose_loss.json').read_text())['verdict'] == report['verdict']
    arrays = dict(np.load('my.npz'))
    np.savez('my.npz', **(arrays | dict(train_y=1 - arrays['train_y'])))
    with pytest.raises(pytest.fail.Exception):  # other labels
        main(['my.npz', *QUICK, '--losses', 'ASL'])


def test_refusals(data, capsys):
    refuse = Refusals('studies/choose_loss', capsys)
    assert refuse('my.npz', '--dropout', '50') == '--dropout must lie in [0, 1), got 50.0'
    assert refuse('my.npz', '--folds', '2') == '--folds must lie in 3 ... 100, got 2'
    assert 'absent.npz: expected a .npz with' in refuse('absent.npz')
    np.savez('rare.npz', train_x=np.zeros((4, 2)), train_y=[[1], [0], [0], [0]], test_x=np.zeros((1, 2)), test_y=[[1]])
    message = refuse('rare.npz', '--folds', '3')
    assert message.startswith('--folds: expected a positive label in each') and message.endswith('take fewer')


def test_the_study_of_its_cost_refuses_in_one_line_too(data, capsys, monkeypatch):
    refuse = Refusals('studies/choose_loss_cost', capsys)
    study = sys.modules[refuse.main.__module__]
    monkeypatch.setattr(study, 'data_sets', lambda folder: study.photographs(folder, 'voc'))
    assert refuse('--features', 'absent').startswith('absent/voc: expected')
