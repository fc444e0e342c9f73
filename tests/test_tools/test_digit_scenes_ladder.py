import json

import digit_scenes_det_ladder
import ladder
import ladder_report as report
import pytest
from digit_scenes_ladder import STUDY


def cell(loss, seed, value, missing=0.0, regime='ft', split='test', **spec):
    criterion = dict(type='Loss', alpha=0.75) if loss == 'fl-lw' else dict(type='Loss')
    spec = dict(lr=3e-3, epochs=15, scenes=4000, criterion=criterion, **spec)
    spec = dict(regime=regime, loss=loss, seed=seed, missing=missing, split=split) | spec
    result = dict.fromkeys(('mAP', 'CF1', 'OF1'), value) | dict(pt_pos=0.5, pt_neg=0.9, delta_p=-0.4)
    return dict(spec=spec, result=result, seconds=40.0)


CELLS = [cell('ce', 0, 40.0), cell('ce', 1, 44.0), cell('asl', 0, 50.0), cell('asl', 1, 43.0), cell('asl', 2, 70.0)]


def test_differences_are_paired_by_seed():
    ce, asl = report.aggregate(STUDY, CELLS)
    assert (ce['loss'], ce['seeds'], ce['difference']) == ('ce', [0, 1], None)
    assert ce['mAP'] == dict(mean=42.0, std=2.8284, n=2)
    assert asl['mAP']['n'] == 3
    assert asl['difference'] == dict(mean=4.5, std=7.7782, n=2, better=1)  # of +10 and -1; seed 2 has no partner


def test_rows_are_in_the_order_of_the_ladder():
    cells = [cell('asl', 0, 1.0, regime='scratch'), cell('asl', 0, 1.0, missing=0.4), cell('fl', 0, 1.0, missing=0.4)]
    rows = report.aggregate(STUDY, cells + [cell('asl', 0, 1.0)])
    assert [(row['regime'], row['missing'], row['loss']) for row in rows] == [
        ('ft', 0.0, 'asl'),
        ('ft', 0.4, 'fl'),
        ('ft', 0.4, 'asl'),
        ('scratch', 0.0, 'asl'),
    ]
    assert rows[0]['mAP']['std'] is None


def test_cells_of_different_settings_are_not_averaged():
    with pytest.raises(ValueError, match='made with different settings'):
        report.aggregate(
            STUDY, [cell('ce', 0, 1.0), cell('ce', 1, 1.0) | dict(spec=dict(cell('ce', 1, 1.0)['spec'], lr=1.0))]
        )


def test_report_is_written_between_the_markers(tmp_path):
    trial = cell('fl-lw', 100, 33.25, split='val')
    for number, content in enumerate([*CELLS, trial]):
        report.write_json(tmp_path / 'cells' / f'{number}.json', content)
    begin, end = report.markers(STUDY)
    readme = tmp_path / 'README.md'
    readme.write_text(f'before\n{begin}\nold table\n{end}\nafter\n')
    for _ in range(2):  # again gives the same
        report.write_report(STUDY, tmp_path / 'cells', tmp_path)
        text = readme.read_text()
        assert text.startswith(f'before\n{begin}\n') and text.endswith(f'{end}\nafter\n') and 'old table' not in text
        assert '| both (ASL) | 54.3 ± 14.0 (3) | +4.5 ± 7.8 (1/2) |' in text
        assert '| focal + linear weighting: α=0.75 | 33.2 |' in text
    content = json.loads((tmp_path / 'ladder.json').read_text())
    assert [row['loss'] for row in content['rows']] == ['ce', 'asl'] and content['trials'][0]['mAP'] == 33.25
    assert (tmp_path / 'ladder.png').stat().st_size > 1000
    assert '</svg>' in (tmp_path / 'ladder.svg').read_text()


def test_a_report_of_nothing_and_a_readme_without_markers_are_refused(tmp_path):
    with pytest.raises(ValueError, match='expected finished cells in'):
        report.write_report(STUDY, tmp_path, tmp_path)
    with pytest.raises(ValueError, match='expected a line'):
        report.insert('no markers', 'text', *report.markers(STUDY))


def test_seeds_are_complete_one_after_the_other(monkeypatch):
    names = []
    monkeypatch.setattr(ladder, 'run', lambda study, cells, folder, workers: names.extend(cells) or 0)
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
    monkeypatch.setattr(ladder, 'run', lambda study, cells, folder, workers: kept.update(cells) or 0)
    ladder.main(STUDY, '', ['tune'])
    trials = [(spec['regime'], spec['loss'], spec['lr']) for spec in kept.values()]
    assert sorted(trials) == sorted(
        (regime, loss, lr) for regime in STUDY.regimes for loss in STUDY.rows(regime) for lr in STUDY.rates
    )
    assert {(spec['split'], spec['seed']) for spec in kept.values()} == {('val', ladder.TUNING_SEED)}


def test_a_spec_follows_the_config():
    spec = ladder.make_spec(STUDY, 'ft', 'asl-t2', seed=3, missing=0.2)
    assert json.loads(json.dumps(spec)) == spec
    assert (spec['criterion']['gamma_neg'], spec['criterion']['clip']) == (4.0, 0.05)
    changed = ladder.make_spec(STUDY, 'ft', 'asl-t2', seed=3, missing=0.2, lr=1.0, epochs=2)
    assert changed == spec | dict(lr=1.0, epochs=2) != spec


def test_the_detection_study_compares_the_losses_of_each_detector():
    study = digit_scenes_det_ladder.STUDY
    assert {regime: study.rows(regime) for regime in study.regimes} == {'fcos': ['fl', 'asl'], 'gfl': ['qfl', 'aql']}
    spec = ladder.make_spec(study, 'fcos', 'asl', seed=1, missing=0.4)
    assert json.loads(json.dumps(spec)) == spec
    assert spec['criterion']['type'] == 'mmasl.AsymmetricLoss' and spec['scenes'] == 1500


def test_a_real_cell_is_run_and_kept(tmp_path, monkeypatch, capsys):
    spec = ladder.make_spec(STUDY, 'ft', 'asl', seed=1, missing=0.4, epochs=1) | dict(scenes=32)
    cells = {'tiny': spec}
    monkeypatch.setattr(ladder, 'ROOT', tmp_path)
    assert ladder.run(STUDY, cells, tmp_path, workers=1) == 0
    result = json.loads((tmp_path / 'tiny.json').read_text())['result']
    assert set(result) == set(STUDY.metrics) and 0 < result['mAP'] < 100
    assert ladder.run(STUDY, cells, tmp_path, workers=1) == 0
    assert '1 cells, 1 of them finished before' in capsys.readouterr().out
