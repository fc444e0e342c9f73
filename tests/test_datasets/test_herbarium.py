import json
from collections import Counter

import pytest

from mmasl.datasets import Herbarium2020
from mmasl.datasets.miniatures.scenes import Size, scenes


def build(root, split='train', **options):
    return Herbarium2020('metadata.json', split, data_root=f'{root}/nybg2020/train', **options)


def test_labels_are_those_of_the_scenes(miniature):
    dataset = build(miniature('herbarium'), 'trainval')
    size = Size(train=12, side=48)
    assert [sample['gt_label'] for sample in dataset] == [s.labels[0] for s in scenes('train', size, 10, single=True)]
    assert len(dataset.CLASSES) == 10 and dataset.CLASSES[9] == 'Digitus nonus'
    assert dataset.get_cat_ids(0) == [dataset[0]['gt_label']]


def test_every_species_with_two_images_is_validated(tmp_path):
    folder = tmp_path / 'nybg2020' / 'train'
    folder.mkdir(parents=True)
    numbers = {5: 1, 7: 2, 11: 30}  # category id: images
    categories = [c for c, number in numbers.items() for _ in range(number)]
    images = [dict(id=100 + i, file_name=f'{i}.jpg') for i in range(len(categories))]
    annotations = [dict(image_id=100 + i, category_id=c) for i, c in enumerate(categories)]
    names = [dict(id=c, name='same name') for c in (11, 7, 5)]
    text = json.dumps(dict(images=images, annotations=annotations, categories=names), ensure_ascii=False)
    (folder / 'metadata.json').write_bytes(text.replace('same', 'sàme').encode('latin-1'))  # as in the published file
    for image in images:
        (folder / image['file_name']).touch()
    train, val, everything = (build(tmp_path, split) for split in ('train', 'val', 'trainval'))
    assert Counter(sample['gt_label'] for sample in val) == {1: 1, 2: 3}
    assert Counter(sample['gt_label'] for sample in train) == {0: 1, 1: 1, 2: 27}
    paths = [{sample['img_path'] for sample in dataset} for dataset in (train, val, everything)]
    assert paths[0] | paths[1] == paths[2] and not paths[0] & paths[1]
    assert len(build(tmp_path, 'val', val_share=0.5)) == 16
    assert len(train.CLASSES) == 3


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        (lambda c: c['annotations'][0].update(category_id=4), 'no category has the id 4, which an annotation has'),
        (lambda c: c['annotations'].pop(), 'image 3 is not both in its images and in its annotations'),
        (lambda c: c['images'].pop(0), 'image 0 is not both in its images and in its annotations'),
    ],
)
def test_broken_annotations(change, text, miniature_copy):
    root = miniature_copy('herbarium')
    path = root / 'nybg2020' / 'train' / 'metadata.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=text):
        build(root)


def test_what_is_wrong_is_said(miniature):
    with pytest.raises(ValueError, match="split: expected 'train', 'val' or 'trainval', got 'test'"):
        build(miniature('herbarium'), 'test')
    with pytest.raises(ValueError, match='val_share: expected a number between 0 and 1, got 1'):
        build(miniature('herbarium'), val_share=1)
    with pytest.raises(FileNotFoundError, match='metadata.json does not exist; get it from https://www.kaggle.com'):
        build('/nowhere')
