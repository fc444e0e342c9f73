"""tools/test.py: the same numbers as validation, for classification and detection, and refusals."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, Refusals, last_log, load_main, write_config

pytestmark = pytest.mark.usefixtures('empty_folder')

main = load_main('test')
train = load_main('train')


@pytest.fixture(scope='module', params=['classification', 'detection'])
def trained(request, tmp_path_factory):
    """A config, its checkpoint and the metrics of its validation."""
    folder = tmp_path_factory.mktemp(request.param)
    config = write_config(folder, {'classification': CLASSIFICATION, 'detection': DETECTION}[request.param])
    assert train([config, '--work-dir', str(folder / 'wd')]) == 0
    lines = (last_log(folder / 'wd') / 'vis_data' / 'scalars.json').read_text().splitlines()
    metrics = {key: value for key, value in json.loads(lines[-1]).items() if '/' in key}
    return config, str(folder / 'wd' / 'epoch_1.pth'), metrics


@pytest.fixture
def refuse(capsys) -> Refusals:
    return Refusals('test', capsys)


def test_it_repeats_the_validation(trained, capsys):
    config, checkpoint, validated = trained
    assert main([config, checkpoint, '--out', 'metrics.json', '--out-item', 'metrics']) == 0
    metrics = json.loads(Path('metrics.json').read_text())
    assert validated and metrics == validated
    assert 'detection' in config or any(value > 0 for value in metrics.values())
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith('done: ') and last.endswith('metrics in metrics.json')


def test_the_weights_of_the_checkpoint_decide(trained):
    config, checkpoint, _ = trained
    content = torch.load(checkpoint, weights_only=False)
    for key in [key for key in content['state_dict'] if key.endswith(('conv_cls.bias', 'head.fc.bias'))]:
        content['state_dict'][key] += 2
    torch.save(content, 'other.pth')
    found = []
    for path in (checkpoint, 'other.pth'):
        assert main([config, path, '--out', 'pred.pkl']) == 0
        sample = pickle.loads(Path('pred.pkl').read_bytes())[0]
        scores = sample['pred_instances']['scores'] if 'detection' in config else sample['pred_score']
        found.append(float(scores.max()))
    assert found[1] > found[0]


@pytest.mark.parametrize('flag', ['--out', '--dump'])
def test_predictions_are_written(trained, flag):
    config, checkpoint, _ = trained
    assert main([config, checkpoint, flag, 'pred.pkl']) == 0
    predictions = pickle.loads(Path('pred.pkl').read_bytes())
    assert len(predictions) in (8, 16)
    assert 'pred_score' in predictions[0] or 'pred_instances' in predictions[0]


def test_tta(trained):
    """Predictions are other ones; a classifier's are the mean over the picture and its mirror image."""
    config, checkpoint, _ = trained
    assert main([config, checkpoint, '--tta', '--out', 'tta.pkl']) == 0
    if 'detection' in config:
        assert main([config, checkpoint, '--out', 'plain.pkl']) == 0
        plain, tta = (pickle.loads(Path(f'{name}.pkl').read_bytes())[0]['pred_instances'] for name in ('plain', 'tta'))
        assert not torch.equal(plain['scores'], tta['scores'])
        return
    for name, prob in (('plain', 0.0), ('mirrored', 1.0)):
        flip = f"[dict(type='RandomFlip', prob={prob}), dict(type='PackInputs')]"
        Path(name).mkdir()
        other = write_config(Path(name), CLASSIFICATION, f"test_dataloader['dataset'].update(pipeline={flip})")
        assert main([other, checkpoint, '--out', f'{name}.pkl']) == 0
    plain, mirrored, tta = (
        torch.stack([sample['pred_score'] for sample in pickle.loads(Path(f'{name}.pkl').read_bytes())])
        for name in ('plain', 'mirrored', 'tta')
    )
    torch.testing.assert_close(tta, (plain + mirrored) / 2)
    assert not torch.allclose(plain, mirrored)


def test_a_checkpoint_of_another_architecture(trained, refuse):
    config, checkpoint, _ = trained
    weights = torch.load(checkpoint, weights_only=False)['state_dict']
    other_classes = [f'{"bbox_head" if "detection" in config else "head"}.num_classes=7']
    said = refuse(config, checkpoint, '--cfg-options', *(f'model.{option}' for option in other_classes))
    weights = {key: value for key, value in weights.items() if 'num_batches_tracked' not in key}
    assert f'of {len(weights)} weights 2 of another shape' in said
    assert 'instead of (7' in said and 'it was written by the run' in said

    half = dict(list(weights.items())[: len(weights) // 2])
    torch.save({'state_dict': {**half, 'extra.weight': torch.zeros(1)}}, 'half.pth')
    said = refuse(config, 'half.pth')
    assert said.startswith('half.pth is not a checkpoint of this model') and 'missing' in said
    assert '1 unexpected (extra.weight)' in said


def test_weights_that_are_all_there(trained):
    """Neither the wrapper's prefix, nor a key too many, nor missing batch counts are another architecture."""
    config, checkpoint, validated = trained
    weights = torch.load(checkpoint, weights_only=False)['state_dict']
    weights = {f'module.{key}': value for key, value in weights.items() if 'num_batches_tracked' not in key}
    torch.save({**weights, 'extra.weight': torch.zeros(1)}, 'raw.pth')
    assert main([config, 'raw.pth', '--out', 'metrics.json', '--out-item', 'metrics']) == 0
    assert json.loads(Path('metrics.json').read_text()) == validated


def test_flexible_runner_refuses_another_architecture(trained, refuse):
    config, checkpoint, _ = trained
    torch.save({'state_dict': {'extra.weight': torch.zeros(1)}}, 'other.pth')
    flexible = ['--cfg-options', 'runner_type=FlexibleRunner']
    assert 'is not a checkpoint of this model' in refuse(config, 'other.pth', *flexible)
    assert main([config, checkpoint, *flexible]) == 0


def test_checkpoints_that_cannot_be_read(trained, refuse):
    config, checkpoint, _ = trained
    near = checkpoint.replace('epoch_1', 'epoch_2')
    assert refuse(config, near) == f"checkpoint: {near} does not exist; did you mean '{checkpoint}'?"
    whole = Path(checkpoint).read_bytes()
    Path('cut.pth').write_bytes(whole[: len(whole) // 2])
    assert 'cut.pth cannot be loaded (is it complete?' in refuse(config, 'cut.pth')
    assert 'cannot be loaded' in refuse(config, config)
    work_dir = str(Path(checkpoint).parent)
    said = f'checkpoint: {work_dir} is a folder; write the file, such as {checkpoint}, its newest checkpoint'
    assert refuse(config, work_dir) == said
    assert refuse(config, '.') == 'checkpoint: . is a folder: only the strategy that wrote it can read it'


def test_where_nothing_can_be_written(trained, refuse):
    config, checkpoint, _ = trained
    assert 'must end in .pkl or .pickle' in refuse(config, checkpoint, '--out', 'pred.json')
    said = refuse(config, checkpoint, '--out', '/proc/self/pred.pkl')
    assert 'the folder /proc/self is not writable' in said and said.endswith('choose another with --out')
    assert '--out-item needs --out' in refuse(config, checkpoint, '--out-item', 'metrics')
    assert '--interval: expected an integer above 0, got 0' in refuse(config, checkpoint, '--interval', '0', status=2)


def test_configs_without_a_test(trained, refuse):
    _, checkpoint, _ = trained
    Path('bare.py').write_text("model = dict(type='X')\n")
    assert 'bare.py has no test_dataloader, test_cfg, test_evaluator' in refuse('bare.py', checkpoint)


def test_validation_of_a_config_without_a_test(trained):
    config, checkpoint, validated = trained
    nothing = ', '.join(f'test_{part}=None' for part in ('dataloader', 'evaluator', 'cfg'))
    Path('no_test.py').write_text(f"_base_ = '{config}'\n" + nothing.replace(', ', '\n') + '\n')
    out = ['--out', 'metrics.json', '--out-item', 'metrics']
    assert main(['no_test.py', checkpoint, '--split', 'val', *out]) == 0
    assert json.loads(Path('metrics.json').read_text()) == validated


def test_drawing(trained, refuse):
    config, checkpoint, _ = trained
    if 'detection' in config:
        assert 'need default_hooks.visualization' in refuse(config, checkpoint, '--show-dir', 'drawn')
        hook = ['default_hooks.visualization.type=DetVisualizationHook']
        said = refuse(config, checkpoint, '--show-dir', 'drawn', '--cfg-options', *hook)
        assert said.startswith('--show and --show-dir draw detections on image files')
    else:
        assert main([config, checkpoint, '--show-dir', 'drawn', '--interval', '4']) == 0
        assert len(list(Path('drawn').iterdir())) == 4


OWN = """
steps = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
test_dataloader = dict(val_dataloader, dataset=dict(type='MultiLabelDataset', ann_file='labels.json', pipeline=steps))
"""


def test_drawings_of_one_name(trained, tmp_path, capsys):
    config, checkpoint, _ = trained
    if 'detection' in config:
        pytest.skip('the classifier says it')
    files = ['beach/001.jpg', 'city/001.jpg', 'city/002.jpg']
    for file in files:
        Path(file).parent.mkdir(exist_ok=True)
        Image.new('RGB', (48, 48)).save(file)
    entries = [{'img_path': file, 'gt_label': [0]} for file in files]
    Path('labels.json').write_text(json.dumps({'metainfo': {}, 'data_list': entries}))
    assert main([write_config(tmp_path, CLASSIFICATION, OWN), checkpoint, '--show-dir', 'drawn']) == 0
    assert len(list(Path('drawn').iterdir())) == 2
    assert (
        '--show-dir: 2 pictures have the name of another (such as 001.jpg), and only the last drawing of a name is '
        'kept; tools/infer.py --show-dir keeps all of them'
    ) in capsys.readouterr().out.splitlines()
