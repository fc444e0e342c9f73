from pathlib import Path
from xml.etree import ElementTree

import pytest
from mmpretrain.datasets import VOC

from mmasl.datasets import VOCMultiLabel


def objects(root, sample):
    """The (class, difficult) pairs of a sample's XML file."""
    path = sample['img_path'].replace('JPEGImages', 'Annotations').replace('.jpg', '.xml')
    found = ElementTree.parse(path).findall('object')
    return {(item.find('name').text, item.find('difficult').text == '1') for item in found}


@pytest.mark.parametrize('year', [2007, 2012])
def test_difficult_objects(year, miniature):
    root = f'{miniature("voc")}/VOC{year}'
    negative, ignored, positive = (
        VOCMultiLabel(root, difficult=choice) for choice in ('negative', 'ignored', 'positive')
    )
    upstream = VOC(root)
    assert len(negative) == len(ignored) == len(positive) == len(upstream) == 18
    only_difficult = 0
    for index, sample in enumerate(upstream):
        found = objects(root, sample)
        certain = {negative.class_to_idx[name] for name, difficult in found if not difficult}
        difficult = {negative.class_to_idx[name] for name, difficult in found if difficult} - certain
        only_difficult += len(difficult)
        assert negative[index] == sample and set(sample['gt_label']) == certain
        assert positive[index]['gt_label'] == sorted(certain | difficult)
        expected = [1 if c in certain else -1 if c in difficult else 0 for c in range(20)]
        assert ignored[index]['gt_score'].tolist() == expected
    assert only_difficult > 3


def test_splits(miniature):
    root = f'{miniature("voc")}/VOC2007'
    sizes = [len(VOCMultiLabel(root, split=split)) for split in ('train', 'val', 'trainval')]
    assert sizes == [12, 6, 18] and len(VOCMultiLabel(root, split='test', test_mode=True)) == 6


def test_what_is_wrong_is_said(miniature_copy):
    root = miniature_copy('voc')
    with pytest.raises(ValueError, match=r"difficult: expected one of .*, got 'hard'"):
        VOCMultiLabel(f'{root}/VOC2007', difficult='hard')
    with pytest.raises(FileNotFoundError, match='VOC2008/ImageSets/Main/trainval.txt does not exist; get it from http'):
        VOCMultiLabel(f'{root}/VOC2008')
    with pytest.raises(FileNotFoundError, match='Annotations/2008_000007.xml does not exist; get it from http'):
        VOCMultiLabel(f'{root}/VOC2012', split='test')  # as published
    with pytest.raises(FileNotFoundError, match='JPG/000001.jpg is listed, but does not exist: data_prefix names its'):
        VOCMultiLabel(f'{root}/VOC2007', data_prefix=dict(img_path='JPG', ann_path='Annotations'))


def test_annotations_of_other_tools(miniature_copy):
    root = f'{miniature_copy("voc")}/VOC2007'
    expected = [sample['gt_label'] for sample in VOCMultiLabel(root)]
    for path in Path(root, 'Annotations').glob('*.xml'):
        path.write_text(path.read_text().replace('<difficult>0</difficult>', ''))
    assert [sample['gt_label'] for sample in VOCMultiLabel(root)] == expected
    path = Path(root, 'Annotations', '000002.xml')
    for text, said in (('<annotation>', 'no element found'), (path.read_text().replace('>1<', '>yes<'), "'yes'")):
        path.write_text(text)
        with pytest.raises(ValueError, match=f'000002.xml.*{said}'):
            VOCMultiLabel(root)


def test_names_that_are_no_class(miniature_copy, caplog):
    root = f'{miniature_copy("voc")}/VOC2007'
    path, image_set = Path(root, 'Annotations', '000002.xml'), Path(root, 'ImageSets', 'Main', 'trainval.txt')
    text = path.read_text()
    (first, *_), expected = VOCMultiLabel(root)[1]['gt_label'], len(VOCMultiLabel(root))
    name = VOCMultiLabel.METAINFO['classes'][first]
    image_set.write_text(image_set.read_text() + '\n')
    path.write_text(text.replace(f'>{name}<', f'> {name} <').replace('<difficult>0</difficult>', '<difficult/>'))
    dataset = VOCMultiLabel(root)
    assert len(dataset) == expected and first in dataset[1]['gt_label']
    path.write_text(text.replace(f'>{name}<', f'>{name.title()}<'))
    with pytest.raises(ValueError, match=f"trainval.txt: '{name.title()}' is no class, but '{name}' is"):
        VOCMultiLabel(root)
    path.write_text(text.replace(f'>{name}<', '>yak<'))
    with caplog.at_level('WARNING'):
        assert first not in VOCMultiLabel(root)[1]['gt_label']
    with pytest.raises(ValueError, match=r'none of its names is one of the 1 classes \(gnu\); to take its own: meta'):
        VOCMultiLabel(root, metainfo=dict(classes=('gnu',)))
    with pytest.raises(ValueError, match='000002.xml: object 0 has no name'):
        path.write_text('<annotation><object></object></annotation>')
        VOCMultiLabel(root)
