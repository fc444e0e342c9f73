import json

import numpy as np
import pytest
from PIL import Image

from mmasl.datasets import DigitScenes
from tests.test_tools.tool_runs import load_main

dump_tool, sheet_tool = load_main('misc/dump_digit_scenes'), load_main('misc/draw_contact_sheet')


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
    with pytest.raises(SystemExit, match='exists and is no empty folder'):
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


def test_contact_sheet(tmp_path):
    out = tmp_path / 'figures' / 'sheet.png'
    run(sheet_tool, out, '--rows', 2, '--columns', 3, '--zoom', 2, '--first', 4, '--boxes')
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (2 * (96 + 48 + 4), 3 * (96 + 4), 3)
    plain = tmp_path / 'plain.png'
    run(sheet_tool, plain, '--rows', 1, '--columns', 1, '--zoom', 1, '--first', 4, '--options', 'classes=digit')
    expected = DigitScenes(num_scenes=5, classes='digit')[4]['img'][..., ::-1]
    assert np.array_equal(np.asarray(Image.open(plain))[:48, :48], expected)
    assert sorted(path.name for path in tmp_path.rglob('*')) == ['figures', 'plain.png', 'sheet.png']


@pytest.mark.parametrize(
    ('argv', 'text'),
    [
        (['sheet.jpg'], 'out must end in .png, got sheet.jpg'),
        (['sheet.png', '--rows', '0'], '--rows must be at least 1, got 0'),
    ],
)
def test_contact_sheet_usage_errors(argv, text, capsys):
    with pytest.raises(SystemExit, match='2'):
        sheet_tool(argv)
    assert text in capsys.readouterr().err


def test_contact_sheet_needs_enough_scenes(tmp_path):
    with pytest.raises(SystemExit, match='error: the sheet needs 35 scenes, the dataset has 3'):
        run(sheet_tool, tmp_path / 'sheet.png', '--options', 'num_scenes=3')
    assert not list(tmp_path.iterdir())
