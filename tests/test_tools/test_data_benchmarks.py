"""The data benchmarks measure what they say; no time is asserted."""

import json

import data_loading
import data_pipeline
import metrics_at_scale


def test_data_loading(tmp_path):
    assert data_loading.generate_coco(tmp_path, images=50, objects=400) > 400 * 400
    assert data_loading.generate_open_images(tmp_path, images=60) > 60 * 40
    rows = [data_loading.measure(case, str(tmp_path)) for case in data_loading.CASES]
    assert [row['images'] for row in rows] == [50, 60, 60]
    ours, theirs = (data_loading.load(case, str(tmp_path)) for case in data_loading.CASES[1:])
    assert [ours.get_data_info(i) for i in range(60)] == [theirs.get_data_info(i) for i in range(60)]


def test_metrics_at_scale(tmp_path, capsys):
    argv = ['--samples', '50', '--classes', '20', '--batch', '16', '--out', str(tmp_path / 'out.json')]
    metrics_at_scale.main(argv)
    (row,) = json.loads((tmp_path / 'out.json').read_text())['rows']
    assert row['samples'] == 50 and 90 < row['mAP'] <= 100 and row['peak_gib'] > 0
    assert '| samples | classes |' in capsys.readouterr().out


def test_data_pipeline(tmp_path, capsys):
    data_pipeline.main(['--number', '2', '--repeats', '1', '--out', str(tmp_path / 'out.json')])
    result = json.loads((tmp_path / 'out.json').read_text())
    assert all(row['images_per_second'] > 0 for row in result['rows'])
    for job in ('plain', 'augmented'):
        assert next(row['ratio'] for row in result['rows'] if row['job'] == job) == 1  # ours
    assert list(result['profile']) == ['LoadImageFromFile', 'SquishResize', 'Cutout', 'RandAugment', 'PackInputs']
    assert '| RandAugment |' in capsys.readouterr().out
