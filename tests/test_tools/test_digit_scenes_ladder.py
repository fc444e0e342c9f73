import argparse
import functools
import json
from pathlib import Path

import digit_scenes_det_ladder
import ladder
import pytest
import report
from digit_scenes_ladder import STUDY
from grid import finished, run_grid
from ladder_cells import TUNING_SEED, make_spec, run_cell
from ladder_report import by_row

from mmasl.files import write_json


def cell(loss, seed, value, missing=0.0, regime='ft', split='test', lr=3e-3):
    criterion = dict(type='Loss', alpha=0.75) if loss == 'fl-lw' else dict(type='Loss')
    spec = dict(
        regime=regime, loss=loss, seed=seed, missing=missing, split=split, lr=lr, epochs=15, criterion=criterion
    )
    result = dict.fromkeys(('mAP', 'CF1', 'OF1'), value) | dict(pt_pos=0.5, pt_neg=0.9, delta_p=-0.4)
    return dict(cell=f'{regime}_{loss}_{split}_{seed}', spec=spec, result=result, seconds=40.0)


CELLS = [cell('ce', 0, 40.0), cell('ce', 1, 44.0), cell('asl', 0, 50.0), cell('asl', 1, 43.0), cell('asl', 2, 70.0)]


def test_differences_are_paired_by_seed():
    ce, asl = by_row(STUDY, CELLS).values()
    assert report.values(ce, 'mAP') == dict(mean=42.0, std=2.8284, n=2)
    assert report.values(asl, 'mAP')['n'] == 3
    paired = report.difference(asl, ce, 'mAP')
    assert paired == dict(mean=4.5, std=7.7782, n=2, better=1)  # of +10 and -1; seed 2 has no partner
    assert report.difference_text(asl, ce, 'mAP') == '+4.5 ± 7.8 (1/2)'
    assert report.difference_text(ce, ce, 'mAP') == report.difference_text(asl, {}, 'mAP') == ''


def test_rows_are_in_the_order_of_the_ladder():
    cells = [cell('asl', 0, 1.0, regime='scratch'), cell('asl', 0, 1.0, missing=0.4), cell('fl', 0, 1.0, missing=0.4)]
    rows = by_row(STUDY, cells + [cell('asl', 0, 1.0)])
    assert list(rows) == [('ft', 0.0, 'asl'), ('ft', 0.4, 'fl'), ('ft', 0.4, 'asl'), ('scratch', 0.0, 'asl')]
    assert report.values(rows['ft', 0.0, 'asl'], 'mAP')['std'] is None


def test_cells_of_different_settings_are_not_averaged():
    with pytest.raises(ValueError, match=r"cells of \('ft', 0.0, 'ce'\) were made with different settings"):
        by_row(STUDY, [cell('ce', 0, 1.0), cell('ce', 1, 1.0, lr=1.0)])


def paths(folder):
    """Where a report reads and writes, all in one folder."""
    names = dict(cells='cells', results='results.jsonl', page='README.md', images='images')
    return [text for flag, name in names.items() for text in (f'--{flag}', str(folder / name))]


def test_report_is_written_between_the_markers(tmp_path):
    for content in [*CELLS, cell('fl-lw', 100, 33.25, split='val')]:
        write_json(tmp_path / 'cells' / f'{content["cell"]}.json', content)
    begin = '<!-- ladder: begin (written by tools/studies/digit_scenes_ladder.py report) -->'
    end = '<!-- ladder: end -->'
    readme = tmp_path / 'README.md'
    readme.write_text(f'before\n{begin}\nold table\n{end}\nafter\n')
    for _ in range(2):  # again gives the same, from the gathered cells alone
        assert ladder.main(STUDY, '', ['report', *paths(tmp_path)]) == 0
        text = readme.read_text()
        assert text.startswith(f'before\n{begin}\n') and text.endswith(f'{end}\nafter\n') and 'old table' not in text
        assert '| both (ASL) | 54.3 ± 14.0 (3) | +4.5 ± 7.8 (1/2) |' in text
        assert '| focal + linear weighting: α=0.75 | 33.2 |' in text
        for path in (tmp_path / 'cells').iterdir():
            path.unlink()
    names = [json.loads(line)['cell'] for line in (tmp_path / 'results.jsonl').read_text().splitlines()]
    assert names == sorted(content['cell'] for content in CELLS) + ['ft_fl-lw_val_100']
    assert (tmp_path / 'images' / 'digit_scenes.png').stat().st_size > 1000


def test_a_report_of_nothing_and_half_a_pair_of_markers_are_refused(tmp_path):
    with pytest.raises(ValueError, match='expected finished cells in'):
        ladder.main(STUDY, '', ['report', *paths(tmp_path)])
    page = tmp_path / 'page.md'
    page.write_text('<!-- a: end -->')
    with pytest.raises(ValueError, match="expected a line '<!-- a: begin"):
        report.write_page(page, dict(a='text'), 'me')


def test_seeds_are_complete_one_after_the_other(monkeypatch):
    names = []
    monkeypatch.setattr(ladder, 'run_grid', lambda cells, *others: names.extend(cells) or 0)
    arguments = ['grid', '--regime', 'ft', '--losses', 'ce', 'asl', '--missing', '0', '0.4', '--seeds', '2']
    assert ladder.main(STUDY, '', arguments) == 0
    assert names == [
        f'ft_{loss}_missing{missing}_seed{seed}'
        for seed in (0, 1)
        for missing in ('00', '40')
        for loss in ('ce', 'asl')
    ]


def test_every_loss_gets_the_same_trials_on_the_validation_split(monkeypatch):
    kept = {}
    monkeypatch.setattr(ladder, 'run_grid', lambda cells, *others: kept.update(cells) or 0)
    ladder.main(STUDY, '', ['tune'])
    trials = [(spec['regime'], spec['loss'], spec['lr']) for spec in kept.values()]
    assert sorted(trials) == sorted(
        (regime, loss, lr) for regime in STUDY.regimes for loss in STUDY.rows(regime) for lr in STUDY.rates
    )
    assert {(spec['split'], spec['seed']) for spec in kept.values()} == {('val', TUNING_SEED)}


def test_a_spec_follows_the_config():
    spec = make_spec(STUDY, 'ft', 'asl-t2', seed=3, missing=0.2)
    assert json.loads(json.dumps(spec)) == spec
    assert (spec['criterion']['gamma_neg'], spec['criterion']['clip']) == (4.0, 0.05)
    assert spec['overrides'] == {'train_dataloader.dataset.missing_rate': 0.2}
    changed = make_spec(STUDY, 'ft', 'asl-t2', seed=3, missing=0.2, lr=1.0, epochs=2)
    assert (changed['lr'], changed['epochs']) == (1.0, 2) and changed['settings'] != spec['settings']
    same = make_spec(STUDY, 'ft', 'asl-t2', seed=3, missing=0.2, lr=spec['lr'], criterion=dict(clip=0.05))
    assert same == spec
    assert make_spec(STUDY, 'ft', 'asl-t2', seed=4, missing=0.2) == spec | dict(seed=4)


def test_what_is_stored_is_not_run_again():
    """On a fresh machine too, where nothing is in work_dirs."""
    args = argparse.Namespace(regime=['ft', 'scratch'], seeds=3, missing=(0.0,), losses=['ce', 'fl', 'asl'])
    args.cells, args.results = Path('absent'), report.RESULTS / 'digit_scenes.jsonl'
    cells = ladder.grid(STUDY, args)
    assert set(finished(cells, Path('absent'), report.RESULTS / 'digit_scenes.jsonl')) == set(cells)


def test_the_detection_study_compares_the_losses_of_each_detector():
    study = digit_scenes_det_ladder.STUDY
    assert {regime: study.rows(regime) for regime in study.regimes} == {'fcos': ['fl', 'asl'], 'gfl': ['qfl', 'aql']}
    spec = make_spec(study, 'fcos', 'asl', seed=1, missing=0.4)
    assert json.loads(json.dumps(spec)) == spec
    assert spec['criterion']['type'] == 'mmasl.AsymmetricLoss' and spec['batch_size'] == 16


def test_a_real_cell_is_run_and_kept(tmp_path, monkeypatch, capsys):
    few = {'train_dataloader.dataset.num_scenes': 32}
    cells = {'tiny': make_spec(STUDY, 'ft', 'asl', seed=1, missing=0.4, epochs=1, overrides=few)}
    args = argparse.Namespace(cells=tmp_path / 'cells', results=tmp_path / 'results.jsonl', workers=1)
    run = [cells, args, functools.partial(run_cell, STUDY, {}), str]
    assert run_grid(*run) == 0
    cell = json.loads((tmp_path / 'cells' / 'tiny.json').read_text())
    assert set(cell['result']) == set(STUDY.metrics) and 0 < cell['result']['mAP'] < 100 and cell['machine']
    assert run_grid(*run) == 0
    assert '1 cells, 1 of them finished before' in capsys.readouterr().out
