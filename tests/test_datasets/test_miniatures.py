import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmasl.datasets.miniatures import NAMES, Size, make_miniature
from mmasl.datasets.miniatures.scenes import CLASSES, scenes
from tests.test_tools.tool_runs import Refusals, load_main

TINY = Size(train=3, val=2, test=2, side=48)


def content(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*') if path.is_file()}


@pytest.mark.parametrize('name', NAMES)
def test_same_size_and_seed_give_the_same_bytes(name, tmp_path):
    first, again = (content(make_miniature(name, tmp_path / folder, TINY)) for folder in 'ab')
    assert first == again
    other = content(make_miniature(name, tmp_path / 'c', TINY._replace(seed=1)))
    assert other.keys() == first.keys()
    images = [path for path in first if path.endswith('.jpg')]
    assert images and all(other[path] != first[path] for path in images)


def test_pictures_are_scenes_in_two_shapes():
    pictures = list(scenes('train', TINY, num_classes=7))
    assert [picture.image.shape for picture in pictures] == [(48, 64, 3), (64, 48, 3), (48, 64, 3)]
    for picture in pictures:
        assert picture.image.dtype == np.uint8 and len(picture.labels) == len(picture.boxes) >= 1
        assert set(picture.labels) <= set(range(7))
        assert all(0 <= x1 < x2 <= 48 and 0 <= y1 < y2 <= 48 for x1, y1, x2, y2 in picture.boxes)
    assert pictures[0].labels == [label % 7 for label in next(scenes('train', TINY)).labels]
    assert len(CLASSES) == 80


def test_coco_is_what_pycocotools_reads(tmp_path):
    coco_api = pytest.importorskip('pycocotools.coco')
    root = make_miniature('coco', tmp_path / 'coco', TINY)
    for split, num in (('train', 4), ('val', 3)):  # one more has no annotation
        for year, prefix in ((2014, f'COCO_{split}2014_'), (2017, '')):
            coco = coco_api.COCO(str(root / 'annotations' / f'instances_{split}{year}.json'))
            assert len(coco.getCatIds()) == 80 and coco.getCatIds()[-1] == 90
            assert coco.loadCats(18)[0]['name'] == 'dog'
            assert len(coco.getImgIds()) == num
            assert [len(coco.getAnnIds(i)) == 0 for i in coco.getImgIds()] == [False] * (num - 1) + [True]
            annotations = coco.loadAnns(coco.getAnnIds())
            assert sum(a['iscrowd'] for a in annotations) == 1
            assert all(coco.annToMask(a).sum() == a['area'] == a['bbox'][2] * a['bbox'][3] for a in annotations)
            for image in coco.loadImgs(coco.getImgIds()):
                assert image['file_name'] == f'{prefix}{image["id"]:012d}.jpg'
                with Image.open(root / f'{split}{year}' / image['file_name']) as jpeg:
                    assert (jpeg.format, jpeg.size) == ('JPEG', (image['width'], image['height']))


def test_coco_jpegs_are_the_scenes(tmp_path):
    root = make_miniature('coco', tmp_path / 'coco', TINY)
    written = np.asarray(Image.open(root / 'val2017' / '000000000025.jpg')).astype(int)
    drawn = [scene.image for scene in scenes('val', TINY)]
    assert np.abs(written - drawn[1]).mean() < 0.3 * np.abs(written - drawn[0].transpose(1, 0, 2)).mean()


@pytest.mark.parametrize(
    ('name', 'size', 'text'),
    [
        ('imagenet', TINY, "name: expected one of coco, .*got 'imagenet'"),
        ('coco', TINY._replace(val=0), 'size: expected at least 1 image in each split'),
        ('coco', TINY._replace(side=31), 'a side of 32 pixels'),
    ],
)
def test_wrong_arguments(name, size, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        make_miniature(name, tmp_path / 'out', size)
    assert not list(tmp_path.iterdir())


def test_only_a_miniature_is_replaced_and_only_when_told(tmp_path):
    out = make_miniature('coco', tmp_path / 'coco', TINY)
    before = content(out)
    with pytest.raises(ValueError, match='there is a miniature already; --overwrite replaces it'):
        make_miniature('coco', out, TINY)
    assert content(out) == before
    make_miniature('coco', out, TINY._replace(seed=1), overwrite=True)
    assert json.loads((out / 'miniature.json').read_text()) == {'name': 'coco', **TINY._replace(seed=1)._asdict()}
    (out / 'miniature.json').unlink()
    with pytest.raises(ValueError, match='it is not a miniature; choose another one'):
        make_miniature('coco', out, TINY, overwrite=True)


def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(*args):
        raise OSError('No space left on device')

    monkeypatch.setattr(json, 'dumps', full_disk)
    with pytest.raises(OSError, match='No space left'):
        make_miniature('coco', tmp_path / 'coco', TINY)
    assert not list(tmp_path.iterdir())


def test_tool(tmp_path, capsys):
    arguments = ['coco', '--out', str(tmp_path / 'coco'), '--train', '2', '--val', '1', '--side', '48']
    assert load_main('misc/make_miniature')(arguments) == 0
    assert capsys.readouterr().out == f'{tmp_path / "coco"}: 10 images in the format of coco\n'
    refusal = Refusals('misc/make_miniature', capsys)
    assert 'there is a miniature already' in refusal(*arguments)
    assert "invalid choice: 'cooc'" in refusal('cooc', '--out', str(tmp_path / 'b'), status=2)
    assert Path(tmp_path / 'coco').exists() and not (tmp_path / 'b').exists()
