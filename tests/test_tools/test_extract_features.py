"""Features of a classifier: those before its last layer, in shards that a stopped run keeps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import Config
from mmpretrain import get_model

from mmasl.datasets import DigitScenes, Features
from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, Refusals, load_main, write_config

main = load_main('misc/extract_features')
NO_WORKERS = ['--workers', '0', '--shard', '6']


@pytest.fixture
def trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, CLASSIFICATION, "test_dataloader['dataset'] = dict(split='test', **scenes)\n")
    model = get_model(Config.fromfile(config))
    torch.save(dict(state_dict=model.state_dict()), 'weights.pth')
    return config, model


def test_the_last_layer_makes_the_logits_of_them(trained):
    config, model = trained
    assert main([config, 'out', '--checkpoint', 'weights.pth', *NO_WORKERS]) == 0
    scenes = DigitScenes('test', 16)
    features = Features('out', 'test')
    assert features.inputs.shape == (16, 128) and features.metainfo['classes'] == scenes.metainfo['classes']
    batch = dict(inputs=torch.stack([torch.from_numpy(s['img']).permute(2, 0, 1) for s in scenes]))
    with torch.no_grad():
        expected = model(model.data_preprocessor(batch)['inputs'], mode='tensor')
        torch.testing.assert_close(model.head.fc(features.inputs), expected, rtol=1e-4, atol=1e-4)
    labels = [set(target.nonzero().flatten().tolist()) for target in features.targets]
    assert labels == [set(s['gt_label']) for s in scenes]


def test_mirrored_pictures(trained):
    config, model = trained
    assert main([config, 'out', '--checkpoint', 'weights.pth', '--flip', *NO_WORKERS]) == 0
    pictures = [torch.from_numpy(sample['img']).permute(2, 0, 1).flip(-1) for sample in DigitScenes('test', 16)]
    with torch.no_grad():
        data = model.data_preprocessor(dict(inputs=torch.stack(pictures)))
        expected = model(data['inputs'], mode='tensor')
        torch.testing.assert_close(model.head.fc(Features('out', 'test').inputs), expected, rtol=1e-4, atol=1e-4)


def test_a_stopped_run_goes_on(trained):
    config, _ = trained
    run = [config, 'out', '--checkpoint', 'weights.pth', *NO_WORKERS]
    assert main(run) == 0
    shard, other = (Path('out', f'train_0000{number}_x.npy') for number in (1, 0))
    content, when = np.load(shard), other.stat().st_mtime_ns
    shard.unlink()
    assert main(run) == 0
    assert np.array_equal(np.load(shard), content) and other.stat().st_mtime_ns == when
    assert not list(Path('out').glob('*.part'))

    for name in 'xy':  # of a data set that was smaller then
        path = Path('out', f'train_00001_{name}.npy')
        np.save(path, np.load(path)[:2])
    assert main(run) == 0 and np.array_equal(np.load(shard), content)


def test_refusals(trained, tmp_path, capsys):
    config, _ = trained
    refuse = Refusals('misc/extract_features', capsys)
    assert main([config, 'out', *NO_WORKERS, '--splits', 'val']) == 0
    assert 'out has features of' in refuse(config, 'out', '--checkpoint', 'weights.pth')
    state = torch.load('weights.pth')['state_dict']
    assert main([config, 'same_name', '--checkpoint', 'weights.pth', *NO_WORKERS, '--splits', 'val']) == 0
    torch.save(dict(state_dict={name: 2 * value for name, value in state.items()}), 'weights.pth')  # trained on
    assert 'same_name has features of' in refuse(config, 'same_name', '--checkpoint', 'weights.pth', *NO_WORKERS)
    assert 'absent.pth does not exist' in refuse(config, 'new', '--checkpoint', 'absent.pth')
    train = ['--cfg-options', 'train_dataloader.dataset.num_scenes=8']
    assert 'out has features of' in refuse(config, 'out', *NO_WORKERS, *train)
    (tmp_path / 'detector').mkdir()
    detector = write_config(tmp_path / 'detector', DETECTION)
    assert 'expected a classifier of MMPretrain, got mmdet' in refuse(detector, 'new')
    assert not Path('new').exists()
