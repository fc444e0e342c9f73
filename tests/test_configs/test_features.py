"""The configs on frozen features: any data, the same data for each loss, unknown labels."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import Config
from modelindex.load_model_index import load as load_index

from mmasl.datasets import Features
from mmasl.datasets.features import read_features
from tests.test_tools.tool_runs import Refusals, load_main

FOLDER = Path(__file__).parents[2] / 'configs' / 'features'
PATHS = sorted(FOLDER.glob('*.py'))
train, evaluate = load_main('train'), load_main('test')


@pytest.fixture
def data(tmp_path, monkeypatch) -> dict[str, np.ndarray]:
    """Labels that are signs of a projection, every tenth of them unknown, in my.npz."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    projection = rng.normal(size=(6, 3))
    arrays = {}
    for split, size in (('train', 160), ('test', 60)):
        x = rng.normal(size=(size, 6))
        y = (x @ projection > 0.8).astype(int)
        y[rng.random(y.shape) < 0.1] = -1
        arrays |= {f'{split}_x': x, f'{split}_y': y}
    np.savez('my.npz', **arrays)
    return arrays


def test_all_are_here():
    nets, losses = ('linear', 'mlp'), ('ce', 'fl', 'asl', 'asl-adaptive')
    assert {path.stem for path in PATHS} == {f'{net}_{loss}' for net in nets for loss in losses}
    models = load_index(str(FOLDER.parents[1] / 'model-index.yml')).models
    assert {FOLDER.parents[1] / model.config for model in models} >= set(PATHS)


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_a_config_learns(data, path, capsys):
    options = ['--cfg-options', 'data_root=my.npz']
    short = ['train_cfg.max_epochs=8', 'train_cfg.val_interval=8', 'param_scheduler.eta_max=0.05']
    assert train([str(path), *options, *short]) == 0
    out = ['--out', 'metrics.json', '--out-item', 'metrics']
    assert evaluate([str(path), f'work_dirs/{path.stem}/epoch_8.pth', *out, *options]) == 0
    metrics = json.loads(Path('metrics.json').read_text())
    assert metrics['multi-label/mAP'] > 65  # about 30 by chance


def test_losses_differ_in_nothing_else():
    for net in ('linear', 'mlp'):
        bases = [Config.fromfile(FOLDER / f'{net}_{loss}.py').to_dict() for loss in ('ce', 'fl', 'asl', 'asl-adaptive')]
        for cfg in bases:
            cfg['model'].pop('loss')
            cfg.pop('custom_hooks', None)  # the adaptive exponent is logged
        assert all(cfg == bases[0] for cfg in bases)


def test_splits_are_disjoint_and_complete(data):
    parts = [Features('my.npz', split) for split in ('train', 'val', 'test')]
    assert [len(part) for part in parts] == [128, 32, 60]
    both = torch.cat([parts[0].inputs, parts[1].inputs])
    assert torch.equal(both.sort(0)[0], torch.tensor(data['train_x']).float().sort(0)[0])
    assert torch.equal(parts[2].targets, torch.tensor(data['test_y']).float())
    np.savez('with_val.npz', **data, val_x=data['test_x'], val_y=data['test_y'], classes=['a', 'b', 'c'])
    assert len(Features('with_val.npz', 'train')) == 160 and len(Features('with_val.npz', 'val')) == 60
    assert Features('with_val.npz').metainfo == dict(classes=('a', 'b', 'c'))


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        (dict(test_x=None), 'missing test_x'),
        (dict(val_y=np.zeros((60, 3))), 'missing val_x'),
        (dict(test_x=np.zeros((60, 5))), r'expected test_x \(60, 6\) and test_y \(60, 3\), got \(60, 5\)'),
        (dict(train_y=np.full((160, 3), 2)), 'train_y of 1, 0 and -1'),
        (dict(test_x=np.full((60, 6), np.nan)), 'expected finite test_x'),
        (dict(classes=['a']), 'expected 3 names in classes, got 1'),
    ],
)
def test_bad_data(data, changes, text, capsys):
    np.savez('bad.npz', **{key: value for key, value in (data | changes).items() if value is not None})
    with pytest.raises(ValueError, match=text):
        read_features('bad.npz')


def test_missing_data_is_one_line(data, capsys):
    refuse = Refusals('train', capsys)
    said = refuse(str(FOLDER / 'mlp_ce.py'), '--cfg-options', 'data_root=absent.npz')
    assert 'Features: absent.npz does not exist' in said and 'train_x, train_y, test_x and test_y' in said
    Path('half.npz').write_bytes(Path('my.npz').read_bytes()[:2000])
    assert 'half.npz: expected a .npz with' in refuse(str(FOLDER / 'mlp_ce.py'), '--cfg-options', 'data_root=half.npz')
    Path('text.npz').write_text('no arrays')
    assert 'text.npz: expected a .npz with' in refuse(str(FOLDER / 'mlp_ce.py'), '--cfg-options', 'data_root=text.npz')
