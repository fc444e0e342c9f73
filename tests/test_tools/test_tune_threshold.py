"""From a validation dump to thresholds that tools/test.py uses."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import thresholds
import torch
from mmengine import Config
from mmpretrain import get_model

from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, Refusals, load_main, write_config

pytestmark = pytest.mark.usefixtures('empty_folder')

tune = load_main('analysis_tools/tune_threshold')
evaluate = load_main('test')
CONFIG = CLASSIFICATION.replace(
    "dict(type='MultiLabelMetric', thr=0.02)", "dict(type='mmasl.MultiLabelMetric', topk=None)"
)


@pytest.fixture(scope='module')
def dumped(tmp_path_factory):
    """A config, a checkpoint and its validation dump."""
    folder = tmp_path_factory.mktemp('tune')
    # No test data: nothing here may read any.
    config = write_config(folder, CONFIG, "test_dataloader = dict(dataset=dict(type='Nothing'))\n")
    torch.manual_seed(0)
    model = get_model(Config.fromfile(config))
    checkpoint, dump = str(folder / 'weights.pth'), str(folder / 'val.pkl')
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    assert evaluate([config, checkpoint, '--split', 'val', '--dump', dump, '--work-dir', str(folder / 'wd')]) == 0
    return config, checkpoint, dump


@pytest.mark.parametrize('per_class', [[], ['--per-class']])
def test_what_is_promised_is_what_test_py_measures(dumped, capsys, per_class):
    config, checkpoint, dump = dumped
    assert tune([dump, *per_class, '--objective', 'CF1', '--out', 'found/thr.json']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('| % | CP | CR | CF1 |') and lines[-1].startswith('done: CF1, threshold 0.')
    assert lines[-2].startswith('warning: CF1 with --per-class') == bool(per_class)
    content = json.loads(Path('found/thr.json').read_text())
    assert np.size(content['thr']) == (80 if per_class else 1) and content['samples'] == 16
    assert Path('found/thr.png').stat().st_size > 1000 and '</svg>' in Path('found/thr.svg').read_text()
    promised = content['validation']
    assert promised['chosen here']['CF1'] > promised['chosen on one half, used on the other']['CF1']
    assert promised['chosen here']['CF1'] >= promised['thresholds of 0.5']['CF1']
    out = ['--out', 'metrics.json', '--out-item', 'metrics']
    assert evaluate([config, checkpoint, '--split', 'val', '--thr', 'found/thr.json', *out]) == 0
    measured = json.loads(Path('metrics.json').read_text())
    for key, value in promised['chosen here'].items():
        assert measured[f'multi-label/{key}'] == pytest.approx(value)


def test_by_default_one_threshold_for_the_best_of1(dumped, capsys):
    _, _, dump = dumped
    assert tune([dump]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith('done: OF1, threshold 0.')
    content = json.loads(Path('thresholds.json').read_text())
    assert isinstance(content['thr'], float) and content['objective'] == 'OF1'


def test_the_benchmark_of_the_defaults(capsys):
    few = ['--sizes', '8', '--seeds', '2', '--epochs', '1', '--scenes', '64', '16', '16']
    few += ['--cells', 'cells', '--results', 'found.jsonl']
    assert thresholds.main(few) == 0
    found = [json.loads(line) for line in Path('found.jsonl').read_text().splitlines()]
    assert [cell['cell'] for cell in found] == [f'{loss}_seed{n}' for loss in ('asl', 'cross-entropy') for n in (0, 1)]
    assert all(len(cell['result']) == 5 and len(cell['result']['OF1, one for all, 8 scenes']) == 2 for cell in found)
    assert '| thresholds of 0.5 |' in capsys.readouterr().out


def test_refusals(dumped, capsys, tmp_path):
    config, checkpoint, dump = dumped
    refuse = Refusals('analysis_tools/tune_threshold', capsys)
    assert '--split val --dump absent.pkl writes it' in refuse('absent.pkl')
    Path('other.pkl').write_bytes(pickle.dumps([dict(pred_instances=1)]))
    assert "other.pkl is not a dump of a multi-label classifier: data_samples: expected the key 'pred_score'" in refuse(
        'other.pkl'
    )
    assert '--out thr.txt: the name must end in .json' in refuse(dump, '--out', 'thr.txt')
    assert refuse(dump, '--floor', '2') == '--floor must lie in (0, 1], got 2.0'
    sample = dict(pred_score=torch.tensor([0.3, 0.6]), num_classes=2)
    labels = [[0], [], []]  # one half has no positive
    Path('few.pkl').write_bytes(pickle.dumps([dict(sample, gt_label=torch.tensor(row).long()) for row in labels]))
    assert refuse('few.pkl') == 'few.pkl: targets: expected at least one positive label, got none'
    refuse = Refusals('test', capsys)
    assert '--thr absent.json: expected a number or a file' in refuse(config, checkpoint, '--thr', 'absent.json')
    Path('two.json').write_text('{"thr": [0.1, 0.2]}')
    said = refuse(config, checkpoint, '--thr', 'two.json')
    assert said == '--thr two.json: expected one number or 80, one for each class, got 2'
    for more in ([], ['--tta']):
        said = refuse(config, checkpoint, '--split', 'val', *more, '--cfg-options', 'val_evaluator.thr=[0.1,0.2]')
        assert said == 'test_evaluator.thr: expected one number or 80, one for each class, got 2'
    path = write_config(tmp_path, DETECTION)
    assert '--thr: only MultiLabelMetric has a threshold' in refuse(path, checkpoint, '--thr', '0.1')
    Path('each.json').write_text(json.dumps(dict(thr=[0.1, 0.2] * 40)))
    mmpretrains = ['--thr', 'each.json', '--cfg-options', 'val_evaluator.type=MultiLabelMetric']
    said = refuse(config, checkpoint, '--split', 'val', *mmpretrains, 'val_evaluator.topk=3')
    assert 'test_evaluator (MultiLabelMetric) has one threshold for all classes' in said
