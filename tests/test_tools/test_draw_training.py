"""Fig. 4 and 9 from the JSON logs of trainings."""

import csv
import json

import pytest

from tests.test_tools.tool_runs import CLASSIFICATION, Refusals, load_main, write_config


def log(folder, entries, time='20250101_000000'):
    path = folder / time / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(map(json.dumps, entries)))
    return path


def entry(step, **values):
    return dict(dict(pt_pos=0.5, pt_neg=0.75, delta_p=-0.25, loss=1.0, step=step), **values)


@pytest.fixture
def main():
    return load_main('analysis_tools/draw_training')


def test_fig4(main, tmp_path):
    log(tmp_path / 'ce', [entry(10), {'multi-label/mAP': 3.0, 'step': 1}, entry(20)])
    log(tmp_path / 'ce', [entry(20, pt_pos=0.6), entry(30)], time='20250102_000000')  # resumed from iteration 10
    asl = log(tmp_path / 'asl', [entry(10)])
    asl.write_text(asl.read_text() + '\n{"pt_pos": 0.')  # it is still being written
    out = tmp_path / 'out'
    assert main(['fig4', str(tmp_path / 'ce'), str(asl), '--labels', 'CE', 'ASL', '--out', str(out)]) == 0
    head, *rows = csv.reader((out / 'fig4.csv').read_text().splitlines())
    assert head == ['training', 'iteration', 'pt_pos', 'pt_neg', 'delta_p']
    assert [row[:3] for row in rows] == [
        ['CE', '10', '0.5'],
        ['CE', '20', '0.6'],
        ['CE', '30', '0.5'],
        ['ASL', '10', '0.5'],
    ]
    assert (out / 'fig4.png').stat().st_size > 1000 and '</svg>' in (out / 'fig4.svg').read_text()


def test_fig9(main, tmp_path):
    log(tmp_path / 'target0.1', [entry(step, gamma_neg=step / 10) for step in (10, 20, 30)])
    assert main(['fig9', str(tmp_path / 'target0.1'), '--out', str(tmp_path), '--smooth', '2']) == 0
    rows = (tmp_path / 'fig9.csv').read_text().splitlines()
    assert rows[:2] == ['training,iteration,gamma_neg,delta_p', 'target0.1,10,1.0,-0.25']


def test_refusals(tmp_path, capsys):
    refuse = Refusals('analysis_tools/draw_training', capsys)
    assert refuse('fig4', str(tmp_path)) == (
        f'{tmp_path}: expected a work directory with a JSON log (<time>/vis_data/scalars.json)'
    )
    path = log(tmp_path / 'plain', [dict(loss=1.0, step=10)])
    assert refuse('fig9', str(path)) == (
        f'{path}: the log has no gamma_neg, delta_p; train with --cfg-options '
        'default_hooks.gap.type=mmasl.AsymmetryHook'
    )
    assert refuse('fig4', str(path), str(path)) == (
        '--labels: expected 2 different names, got scalars.json, scalars.json'
    )
    assert '--smooth: expected an integer above 0, got 0' in refuse('fig4', str(path), '--smooth', '0', status=2)


def test_from_training_to_figure(main, tmp_path, monkeypatch):
    """The commands of docs/analysis.md."""
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, CLASSIFICATION)
    flags = ['default_hooks.gap.type=mmasl.ProbabilityGapHook', 'train_cfg.max_epochs=2']
    assert load_main('train')([config, '--work-dir', 'asl', '--no-validate', '--cfg-options', *flags]) == 0
    assert main(['fig4', 'asl', '--out', 'out']) == 0
    rows = (tmp_path / 'out' / 'fig4.csv').read_text().splitlines()
    assert [row.split(',')[:2] for row in rows[1:]] == [['asl', '2'], ['asl', '4']]  # two iterations an epoch
