import json

import numpy as np
import pytest
from PIL import Image

from mmasl.datasets import DigitScenes
from tests.test_tools.tool_runs import load_main

dump_tool = load_main('misc/dump_digit_scenes')


def run(tool, *argv):
    tool([str(argument) for argument in argv])


def test_dump_is_read_back_by_pycocotools(tmp_path, capsys):
    coco_api = pytest.importorskip('pycocotools.coco')
    out = tmp_path / 'deep' / 'scenes'
    run(dump_tool, out, '--splits', 'train', 'test', '--options', 'num_scenes=12', 'missing_rate=0.4', 'seed=5')
    assert sorted(path.name for path in out.iterdir()) == ['annotations', 'test', 'train']
    assert list(out.parent.iterdir()) == [out]
    assert f'{out / "train"}: 12 scenes' in capsys.readouterr().out
    for split, rate in (('train', 0.4), ('test', 0.0)):
        dataset = DigitScenes(split, 12, missing_rate=rate, seed=5)
        coco = coco_api.COCO(str(out / 'annotations' / f'instances_{split}.json'))
        assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(dataset.metainfo['classes'])
        assert sorted(coco.getImgIds()) == list(range(12))
        for index, sample in enumerate(dataset):
            name = coco.loadImgs(index)[0]['file_name']
            assert np.array_equal(np.asarray(Image.open(out / split / name)), sample['img'][..., ::-1])
            annotations = coco.loadAnns(coco.getAnnIds(index))
            boxes = np.array([a['bbox'] for a in annotations]).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            assert np.array_equal(boxes, sample['gt_bboxes'])
            assert [a['category_id'] - 1 for a in annotations] == sample['gt_bboxes_labels'].tolist()
            assert sorted({a['category_id'] - 1 for a in annotations}) == sample['gt_label']


def test_empty_folder_is_filled_and_a_full_one_refused(tmp_path):
    run(dump_tool, tmp_path, '--splits', 'val', '--options', 'num_scenes=1')
    written = (tmp_path / 'annotations' / 'instances_val.json').read_text()
    assert len(json.loads(written)['images']) == 1
    with pytest.raises(SystemExit, match='exists and is not an empty folder'):
        run(dump_tool, tmp_path, '--splits', 'val', '--options', 'num_scenes=2')
    assert (tmp_path / 'annotations' / 'instances_val.json').read_text() == written


@pytest.mark.parametrize(
    ('option', 'text'),
    [
        ('num_scenes=0', 'error: num_scenes must be an integer'),
        ('nun_scenes=3', "error: .*unexpected keyword argument 'nun_scenes'"),
        ('split=val', 'error: --options may not set split; choose splits with --splits'),
    ],
)
def test_bad_options_write_nothing(tmp_path, option, text):
    with pytest.raises(SystemExit, match=text):
        run(dump_tool, tmp_path / 'scenes', '--options', option)
    assert not list(tmp_path.iterdir())


def test_interrupted_dump_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(*args, **kwargs):
        raise OSError('No space left on device')

    monkeypatch.setattr(json, 'dumps', full_disk)
    with pytest.raises(SystemExit, match='error: No space left on device'):
        run(dump_tool, tmp_path / 'scenes', '--splits', 'val', '--options', 'num_scenes=2')
    assert not list(tmp_path.iterdir())
