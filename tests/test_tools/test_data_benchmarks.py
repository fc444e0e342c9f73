"""The data benchmarks measure what they say; no time is asserted."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / 'tools' / 'benchmarks'


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads = torch.get_num_threads()
    yield import_module
    torch.set_num_threads(threads)
    for name in ('data_loading', 'data_pipeline', 'metrics_at_scale', 'loss_report', 'loss_cases', 'loss_timing'):
        sys.modules.pop(name, None)


def test_data_loading(load, tmp_path):
    tool = load('data_loading')
    assert tool.generate_coco(tmp_path, images=50, objects=400) > 400 * 400
    assert tool.generate_open_images(tmp_path, images=60) > 60 * 40
    rows = [tool.measure(case, str(tmp_path)) for case in tool.CASES]
    assert [row['images'] for row in rows] == [50, 60, 60]
    ours, theirs = (tool.load(case, str(tmp_path)) for case in tool.CASES[1:])
    assert [ours.get_data_info(i) for i in range(60)] == [theirs.get_data_info(i) for i in range(60)]


def test_metrics_at_scale(load, tmp_path, capsys):
    argv = ['--samples', '50', '--classes', '20', '--batch', '16', '--out', str(tmp_path / 'out.json')]
    load('metrics_at_scale').main(argv)
    (row,) = json.loads((tmp_path / 'out.json').read_text())['rows']
    assert row['samples'] == 50 and 90 < row['mAP'] <= 100 and row['peak_gib'] > 0
    assert '| samples | classes |' in capsys.readouterr().out


def test_data_pipeline(load, tmp_path, capsys):
    load('data_pipeline').main(['--number', '2', '--repeats', '1', '--out', str(tmp_path / 'out.json')])
    result = json.loads((tmp_path / 'out.json').read_text())
    assert all(row['images_per_second'] > 0 for row in result['rows'])
    for job in ('plain', 'augmented'):
        assert next(row['ratio'] for row in result['rows'] if row['job'] == job) == 1  # ours
    assert list(result['profile']) == ['LoadImageFromFile', 'SquishResize', 'Cutout', 'RandAugment', 'PackInputs']
    assert '| RandAugment |' in capsys.readouterr().out
