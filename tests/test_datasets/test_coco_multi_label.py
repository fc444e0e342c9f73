import json

import pytest
from mmpretrain.registry import DATASETS

from mmasl.datasets import CocoMultiLabel
from mmasl.datasets.miniatures.scenes import Size, scenes


def instances(root, split='train', year=2014):
    return root / 'annotations' / f'instances_{split}{year}.json'


def build(root, split='train', year=2014, **options):
    return CocoMultiLabel(
        f'annotations/instances_{split}{year}.json', data_root=str(root), data_prefix=f'{split}{year}', **options
    )


@pytest.fixture
def edited(miniature_copy):
    """``edited(change)``: a miniature whose training annotations ``change`` has changed."""

    def edit(change):
        root = miniature_copy('coco')
        content = json.loads(instances(root).read_text())
        change(content)
        instances(root).write_text(json.dumps(content))
        return root

    return edit


@pytest.mark.parametrize('year', [2014, 2017])
def test_labels_are_those_of_the_scenes(year, miniature):
    dataset = build(miniature('coco'), 'val', year)
    truth = [sorted(set(scene.labels)) for scene in scenes('val', Size(val=6, side=48))]
    assert [sample['gt_label'] for sample in dataset] == truth  # the image without annotations is left out
    assert [dataset.get_cat_ids(i) for i in range(len(dataset))] == truth
    assert dataset.CLASSES[:2] == ('person', 'bicycle') and dataset.CLASSES[79] == 'toothbrush'
    assert [sample['img_id'] for sample in dataset] == [9, 25, 41, 57, 73, 89]


def test_unlabelled_images_on_request(miniature):
    dataset = build(miniature('coco'), drop_unlabelled=False)
    assert len(dataset) == 13 and dataset[12]['gt_label'] == []


def test_labels_by_size_and_a_crowd(edited):
    def change(content):
        content['annotations'] = [
            dict(image_id=9, category_id=1, area=32**2 - 1, iscrowd=0),
            dict(image_id=9, category_id=1, area=32**2, iscrowd=0),
            dict(image_id=9, category_id=90, area=96**2, iscrowd=1),  # a crowd is an object as any other
            dict(image_id=9, category_id=13, area=96**2 - 1, iscrowd=0),
        ]

    (sample,) = build(edited(change))
    assert sample['gt_label'] == [0, 11, 79]  # category 13 is the 12th one
    assert (sample['gt_label_small'], sample['gt_label_medium'], sample['gt_label_large']) == ([0], [0, 11], [79])


def test_labels_go_by_category_id_not_by_their_order_in_the_file(edited, miniature):
    plain = build(miniature('coco'))
    turned = build(edited(lambda content: content['categories'].reverse()))
    assert turned.CLASSES == plain.CLASSES
    assert turned[0]['gt_label'] == sorted(set(next(scenes('train', Size(side=32))).labels))


def test_chosen_classes_are_numbered_as_they_are_named(miniature):
    everything = build(miniature('coco'))
    names = [everything.CLASSES[i] for i in (29, 16)]
    dataset = build(miniature('coco'), classes=names)
    expected = [[names.index(everything.CLASSES[c]) for c in s['gt_label'] if c in (16, 29)] for s in everything]
    assert [sample['gt_label'] for sample in dataset] == [sorted(labels) for labels in expected if labels]


def test_config_with_a_pipeline(miniature):
    cfg = dict(
        type='mmasl.CocoMultiLabel',
        ann_file='annotations/instances_train2017.json',
        data_root=miniature('coco'),
        data_prefix='train2017/',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs', algorithm_keys=('gt_label_small',))],
    )
    sample = DATASETS.build(cfg)[1]
    assert sample['inputs'].shape == (3, 64, 48)
    assert sample['data_samples'].gt_label.tolist() == build(miniature('coco'))[1]['gt_label']
    assert sample['data_samples'].gt_label_small == build(miniature('coco'))[1]['gt_label_small']


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        (lambda c: c['annotations'][0].update(category_id=12), 'has the category_id 12, which is not the id of one'),
        (lambda c: c['annotations'][0].update(image_id=7), 'has the image_id 7, which is not the id of one'),
        (lambda c: c['annotations'][2].pop('image_id'), r'annotations\[2\] .* has no image_id'),
        (lambda c: c['categories'][4].update(name='bicycle'), "the categories .* have one name, 'bicycle'; each needs"),
        (
            lambda c: [c['annotations'][1].pop(key) for key in ('area', 'bbox')],
            r'annotations\[1\] has neither area nor b',
        ),
        (lambda c: c.update(annotations=[]), 'CocoMultiLabel: no image with a label in .*instances_train2014.json'),
    ],
)
def test_broken_annotations(change, text, edited):
    with pytest.raises(ValueError, match=text):
        build(edited(change))


def test_what_other_tools_write(miniature_copy):
    root = miniature_copy('coco')
    expected, content = list(build(root)), json.loads(instances(root).read_text())
    for image in content['images']:
        image.update(id=str(image['id']), file_name='.\\' + image['file_name'])
    for annotation in content['annotations']:
        annotation['image_id'] = str(annotation['image_id'])
        annotation['bbox'] = [0, 0, annotation.pop('area'), 1]  # of the same area
    instances(root).write_text(json.dumps(content))
    dataset = build(root)
    assert [sample['gt_label_small'] for sample in dataset] == [sample['gt_label_small'] for sample in expected]
    assert [sample['img_id'] for sample in dataset] == [str(sample['img_id']) for sample in expected]
    assert dataset[0]['img_path'].endswith('train2014/./COCO_train2014_000000000009.jpg')


def test_unknown_class(miniature):
    with pytest.raises(ValueError, match="classes: 'zebre' is no class of .*2014.json; did you mean 'zebra'"):
        build(miniature('coco'), classes=['dog', 'zebre'])


def test_missing_files_and_where_to_get_them(miniature_copy):
    root = miniature_copy('coco')
    with pytest.raises(FileNotFoundError, match='train2015.json does not exist; get it from https://cocodataset.org'):
        build(root, year=2015)
    with pytest.raises(
        FileNotFoundError, match='val2014/COCO_train2014_0.*9.jpg is listed, but does not exist: data_p'
    ):
        CocoMultiLabel('annotations/instances_train2014.json', data_root=str(root), data_prefix='val2014')
    dataset = build(root, pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')])
    assert len(list(dataset)) == 4
    (root / 'train2014' / 'COCO_train2014_000000000041.jpg').unlink()
    with pytest.raises(FileNotFoundError, match='COCO_train2014_0.*41.jpg is listed, but does not exist; get it'):
        dataset[2]


def test_outlines_are_not_parsed_and_nothing_else_is_lost(miniature_copy, monkeypatch):
    root = miniature_copy('coco')
    whole, parsed = json.loads(instances(root).read_text()), []

    def loads(text):
        parsed.append(json.JSONDecoder().decode(text.decode()))
        return parsed[0]

    monkeypatch.setattr('mmasl.datasets.annotation_files.json.loads', loads)
    build(root)
    assert {annotation['iscrowd'] for annotation in whole['annotations']} == {0, 1}  # lists and run lengths
    for annotation in whole['annotations']:
        annotation['segmentation'] = 0
    assert parsed == [whole]
