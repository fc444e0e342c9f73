"""The label statistics of every kind of config, read through the registry."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, Refusals, load_main, write_config

pytestmark = pytest.mark.usefixtures('empty_folder')


def read(tmp_path, text, *options):
    assert load_main('analysis_tools/label_statistics')([write_config(tmp_path, text), '--out', 'out', *options]) == 0
    rows = list(csv.DictReader(Path('out/label_statistics.csv').read_text(encoding='utf-8').splitlines()))
    return json.loads(Path('out/label_statistics.json').read_text()), rows


def test_multi_label(tmp_path, capsys):
    figures, rows = read(tmp_path, CLASSIFICATION)
    out = capsys.readouterr().out
    assert (figures['kind'], figures['images'], figures['classes'], len(rows)) == ('multi-label', 16, 80, 80)
    assert sum(int(row['positive']) for row in rows) == pytest.approx(16 * figures['labels_per_image'])
    assert all(int(row['positive']) + int(row['negative']) == 16 for row in rows)
    assert '6. ASL: ' in out and "'clip': 0.05" in out and 'Losses to try' in out
    assert [step['name'] for step in figures['ladder']][0] == 'cross-entropy'
    assert Path('out/label_statistics.png').stat().st_size > 1000 and Path('out/label_statistics.svg').exists()


def test_repeated_data_and_a_part_of_it(tmp_path, capsys):
    repeated = "scenes = dict(type='RepeatDataset', times=3, dataset=dict(type='mmasl.DigitScenes', num_scenes=8, "
    text = CLASSIFICATION.replace("scenes = dict(type='mmasl.DigitScenes', num_scenes=16, ", repeated)
    text = text.replace("pipeline=[dict(type='PackInputs')])", "pipeline=[dict(type='PackInputs')]))")
    text = text.replace("dataset=dict(split='train', **scenes)", 'dataset=scenes')
    figures, _ = read(tmp_path, text, '--images', '6')
    assert figures['images'] == 6 and 'reading 6 of 24 images' in capsys.readouterr().out


def test_features(tmp_path):
    x, y = np.zeros((10, 4)), np.array([[1, 0, -1], [1, 1, 0]] * 5)
    np.savez('my.npz', train_x=x, train_y=y, val_x=x, val_y=y, test_x=x, test_y=y)
    figures, rows = read(tmp_path, "train_dataloader = dict(dataset=dict(type='mmasl.Features', data_root='my.npz'))")
    assert figures['kind'] == 'multi-label' and [row['positive'] for row in rows] == ['10', '5', '0']
    assert [row['ignored'] for row in rows] == ['0', '0', '5']


def test_detection(tmp_path):
    figures, rows = read(tmp_path, DETECTION)
    assert (figures['kind'], figures['images'], len(rows)) == ('detection', 8, 10)
    assert figures['positive_negative_ratio'] is None and rows[0]['negative'] == ''
    assert figures['ladder'][0]['loss']['alpha'] == 0.25


def test_refusals(tmp_path, capsys):
    refuse = Refusals('analysis_tools/label_statistics', capsys)
    config = write_config(tmp_path, CLASSIFICATION)
    assert refuse(config, '--cfg-options', 'train_dataloader.dataset.num_scene=3').startswith(
        "--cfg-options: no key 'num_scene' in train_dataloader.dataset"
    )
    without = write_config(tmp_path, CLASSIFICATION, 'train_dataloader = None\n')
    assert refuse(without) == f'{without} has no train_dataloader'
