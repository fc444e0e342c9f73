"""Labels of files, folders, arrays and batches; thresholds and names; pictures that cannot be read."""

import json

import numpy as np
import pytest
import torch
from mmengine import Config
from mmengine.registry import DefaultScope
from PIL import Image

from mmasl.apis import MultiLabelInferencer
from mmasl.datasets import DigitScenes
from mmasl.evaluation.thresholds import read_thresholds
from tests.test_tools.tool_runs import CLASSIFICATION, write_config


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory):
    config = write_config(tmp_path_factory.mktemp('inferencer'), CLASSIFICATION)
    torch.manual_seed(0)
    return MultiLabelInferencer(Config.fromfile(config), pretrained=None, thr=0.5)


@pytest.fixture
def folder(tmp_path):
    """Three scenes, one of them in a subfolder, one broken picture, one file that is none."""
    (tmp_path / 'pictures' / 'more').mkdir(parents=True)
    for number, name in enumerate(('a.png', 'b.png', 'more/c.png')):
        scene = DigitScenes('test', 3)[number]['img']
        Image.fromarray(scene[..., ::-1]).save(tmp_path / 'pictures' / name)
    (tmp_path / 'pictures' / 'broken.png').write_bytes(b'\x89PNG broken')
    (tmp_path / 'pictures' / 'notes.txt').write_text('no picture')
    return tmp_path / 'pictures'


def scores(result):
    return result['pred_scores']


def test_every_kind_of_input_gives_the_same(inferencer, folder):
    array = DigitScenes('test', 1)[0]['img']
    (of_array,) = inferencer(array)
    (of_file,) = inferencer(str(folder / 'a.png'))
    of_folder = inferencer(str(folder))
    of_batch = inferencer(str(folder), batch_size=4)
    assert np.array_equal(scores(of_array), scores(of_file)) and np.array_equal(scores(of_file), scores(of_folder[0]))
    assert [list(result) == ['error'] for result in of_folder] == [False, False, True, False]  # sorted, c.png last
    for one, other in zip(of_folder, of_batch, strict=True):
        assert one.get('error') == other.get('error')
        if 'error' not in one:
            np.testing.assert_allclose(scores(one), scores(other), atol=1e-6)
            assert one['pred_label'] == other['pred_label']
    assert of_folder[2]['error'] == 'it is not a complete picture (11 bytes)'


def test_it_is_what_the_model_says_in_evaluation(inferencer):
    """The same picture by the config's own data set and pipeline."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        sample = DigitScenes('test', 1, pipeline=inferencer.config.test_dataloader.dataset.pipeline)[0]
    batch = dict(inputs=sample['inputs'][None], data_samples=[sample['data_samples']])
    with torch.no_grad():
        (expected,) = inferencer.model.test_step(batch)
    (result,) = inferencer(DigitScenes('test', 1)[0]['img'])
    assert np.array_equal(result['pred_scores'], expected.pred_score.numpy())


def test_thresholds_and_names(inferencer, tmp_path, monkeypatch):
    array = DigitScenes('test', 1)[0]['img']
    all_scores = scores(inferencer(array)[0])
    monkeypatch.setattr(inferencer, 'thr', float(np.median(all_scores)))
    result = inferencer(array)[0]
    expected = [i for i in np.argsort(-all_scores, kind='stable') if all_scores[i] >= inferencer.thr]
    assert result['pred_label'] == expected and len(expected) == 40
    assert result['pred_class'] == [DigitScenes.METAINFO['classes'][i] for i in expected]
    assert result['pred_score'] == [float(all_scores[i]) for i in expected]
    monkeypatch.setattr(inferencer, 'topk', 3)
    assert inferencer(array)[0]['pred_label'] == expected[:3]

    each = [1.0] * 80
    each[7] = 0.0
    (tmp_path / 'thr.json').write_text(json.dumps(dict(thr=each)))
    monkeypatch.setattr(inferencer, 'thr', read_thresholds(str(tmp_path / 'thr.json')))
    assert inferencer(array)[0]['pred_label'] == [7]
    assert inferencer(array, return_datasamples=True)[0].pred_label.tolist() == [7]


def test_pictures_are_drawn(inferencer, folder, tmp_path):
    inferencer(str(folder), show_dir=str(tmp_path / 'drawn'), resize=200)
    drawn = sorted((tmp_path / 'drawn').iterdir())
    assert [path.name for path in drawn] == ['a.png', 'b.png', 'c.png']
    assert Image.open(drawn[0]).size == (200, 200)
    array = DigitScenes('test', 1)[0]['img']
    inferencer([array, array, folder / 'a.png'], show_dir=tmp_path / 'arrays')  # paths of pathlib too
    assert len(list((tmp_path / 'arrays').rglob('*.png'))) == 3


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        (dict(classes=['a', 'b']), 'classes: expected 80 names, got 2'),
        (dict(topk=0), 'topk: expected an integer above 0'),
        (dict(thr=1.5), r'thr: expected numbers in \[0, 1\], got \[1.5\]'),
        (dict(thr=[0.1, 0.2]), 'expected one number or 80, one for each class, got 2'),
        (dict(thr='absent.json'), 'thr absent.json: expected a number or a file of tools/analysis_tools'),
    ],
)
def test_bad_arguments(inferencer, changes, text):
    with pytest.raises(ValueError, match=text):
        MultiLabelInferencer(inferencer.config, pretrained=None, **changes)(np.zeros((48, 48, 3), np.uint8))


def test_arrays_that_are_no_pictures(inferencer):
    (result,) = inferencer(np.zeros((48, 48), np.float32))
    assert result['error'] == 'expected an array (H, W, 3) of uint8, BGR, got (48, 48) of float32'
    with pytest.raises(ValueError, match='expected a folder with pictures'):
        inferencer('tests/test_apis')
