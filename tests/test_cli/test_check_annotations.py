"""COCO and VOC files of MMDetection's data sets: what its readers drop in silence, or die of, is one line before."""

import json
from pathlib import Path

import pytest
from mmdet.datasets import CocoDataset, VOCDataset
from mmpretrain.datasets import MultiLabelDataset
from PIL import Image

from mmasl.cli.check_annotations import check_annotations, check_evaluator
from mmasl.errors import UserError
from tests.test_tools.tool_runs import DETECTION, Refusals, load_main, write_config

pytestmark = pytest.mark.usefixtures('empty_folder')

BOX = {'bbox': [9, 9, 20, 20], 'area': 400, 'iscrowd': 0}
CLASSES = ('circle', 'square', 'triangle')


def coco() -> dict:
    """Three pictures of 64 x 64 with one object of each class."""
    return {
        'categories': [{'id': number, 'name': name} for number, name in enumerate(CLASSES, start=1)],
        'images': [{'id': i, 'file_name': f'{i}.png', 'height': 64, 'width': 64} for i in range(3)],
        'annotations': [
            {
                'id': 3 * image + number,
                'image_id': image,
                'category_id': number,
                **BOX,
            }
            for image in range(3)
            for number in (1, 2, 3)
        ],
    }


def write(content) -> None:
    Path('images').mkdir(exist_ok=True)
    for number in range(3):
        Image.new('RGB', (64, 64), (80 * number, 0, 0)).save(f'images/{number}.png')
    Path('train.json').write_text(content if isinstance(content, str) else json.dumps(content))


def check(content, **node):
    write(content)
    node = {'ann_file': 'train.json', 'data_prefix': {'img': 'images'}, 'metainfo': {'classes': CLASSES}} | node
    return check_annotations(CocoDataset, node, 'train')


CLASSES_WRONG = {
    ('circle', 'sqare', 'triangle'): "train: class 'sqare' is none of the categories of train.json (circle, square, "
    "triangle); did you mean 'square'?",
    'red circle': "train.metainfo.classes is the string 'red circle'; write a tuple: ('red circle',)",
    ('square', 'circle', 'triangle'): 'numbers the classes as train.json lists its categories (circle, square, tri',
    None: 'train.json: none of its names is one of the 80 classes (person, bicycle, car, motorcycle, airplane, ...); '
    "to take its own: metainfo=dict(classes=('circle', 'square', 'triangle',))",
    ('circle', 'Square', 'triangle'): "train.json: 'square' is no class, but 'Square' is; they need the same spelling",
}


@pytest.mark.parametrize('classes', CLASSES_WRONG)
def test_classes_that_are_not_those_of_the_file(classes):
    with pytest.raises(UserError) as caught:
        check(coco(), metainfo={'classes': classes} if classes else None)
    assert CLASSES_WRONG[classes] in str(caught.value)


def changed(section, number, **values):
    content = coco()
    for key, value in values.items():
        if value is None:
            del content[section][number][key]
        else:
            content[section][number][key] = value
    return content


FILES = {
    'no JSON': ('{', 'train.json is not a JSON file: '),
    'other JSON': ('[]', 'train.json is not a COCO file: expected a dict with images, annotations and categories'),
    'no area': (
        changed('annotations', 4, area=None),
        '(id 5, image_id 1, category_id 2, iscrowd 0) has no area',
    ),
    'null': (json.dumps(coco()).replace('"area": 400', '"area": null', 1), 'category_id 1, iscrowd 0) has no area'),
    'a box of three': (changed('annotations', 4, bbox=[1, 2, 3]), 'has [1, 2, 3] as bbox; expected 4 numbers'),
    'a box of text': (changed('annotations', 4, bbox=['1'] * 4), "has ['1', '1', '1', '1'] as bbox; expected 4 num"),
    'a width of text': (changed('images', 1, width='64'), "has '64' as width; expected a number"),
    'an id twice': (changed('annotations', 4, id=1), '2 annotations have the id 1; each needs its own'),
    'a picture twice': (changed('images', 1, id=0), '2 images have the id 0; each needs its own'),
    'no pictures': (coco() | {'images': [], 'annotations': []}, 'train.json: it has no picture'),
    'no height': (changed('images', 1, height=None), "images[1] (id 1, file_name '1.png', width 64) has no height"),
    'two of a name': (changed('categories', 2, name='square'), "the categories [2, 3] have one name, 'square'"),
    'no such image': (changed('annotations', 3, image_id='1'), "has the image_id '1', which is not the id of one of"),
    'no such category': (changed('annotations', 3, category_id=9), 'has the category_id 9, which is not the id of'),
    'backslash': (changed('images', 2, file_name='a\\2.png'), 'images[2] has a backslash in its file_name, a\\2.png'),
    'no picture': (
        changed('images', 0, file_name='no.png'),
        'the first picture, images/no.png, does not exist; tr',
    ),
}


@pytest.mark.parametrize('what', FILES)
def test_a_file_that_cannot_be_read(what):
    content, message = FILES[what]
    with pytest.raises(UserError) as caught:
        check(content)
    assert message in str(caught.value)


def test_what_is_left_out_is_said():
    assert check(coco()) is None
    assert check(coco(), metainfo={'classes': CLASSES[:2]}) == (
        "train.json: names that are not classes are left out: 'triangle' (3)"
    )
    content = coco()
    for image in content['images']:
        image['id'] = f'picture {image["id"]}'
    for annotation in content['annotations']:
        annotation['image_id'] = f'picture {annotation["image_id"]}'
    assert check(content) is None  # strings are ids as well


OWN_FILES = {
    'order': (
        ('square', 'circle'),
        'indices of its own metainfo.classes (circle, square), but the config has the class',
    ),
    'number': (('circle', 'square', 'star'), 'has the classes circle, square, star; leave them out of the config, or'),
    'a string': ('circle', "train.classes is the string 'circle'; write a tuple: ('circle',)"),
}


@pytest.mark.parametrize('what', OWN_FILES)
def test_a_file_of_openmmlab(what):
    classes, message = OWN_FILES[what]
    labels = Path('labels.json')
    labels.write_text(json.dumps({'metainfo': {'classes': ['circle', 'square']}, 'data_list': []}))
    node = {'ann_file': 'labels.json'}
    assert check_annotations(MultiLabelDataset, node, 'train') is None
    assert check_annotations(MultiLabelDataset, {**node, 'classes': ('round', 'square')}, 'train') is None
    with pytest.raises(UserError) as caught:
        check_annotations(MultiLabelDataset, {**node, 'classes': classes}, 'train')
    assert message in str(caught.value)
    for text, said in (('{', 'labels.json cannot be read: '), ('{}', 'labels.json is not a file of OpenMMLab: expe')):
        labels.write_text(text)
        with pytest.raises(UserError, match=said):
            check_annotations(MultiLabelDataset, node, 'train')


LABELLED, UNLABELLED = {'img_path': 'a.jpg', 'gt_label': []}, {'img_path': 'sea/b.jpg', 'width': 9}


def test_pictures_of_openmmlab_without_labels():
    def check(*pictures, key='train_dataloader.dataset'):
        content = {'metainfo': {}, 'data_list': pictures}
        Path('labels.json').write_text(json.dumps(content))
        assert check_annotations(MultiLabelDataset, {'ann_file': 'labels.json'}, key) is None

    check(LABELLED, {**UNLABELLED, 'gt_score': [1, -1]})
    check(UNLABELLED, UNLABELLED, key='test_dataloader.dataset')  # to be predicted
    for key in ('train_dataloader.dataset', 'test_dataloader.dataset'):
        for picture in (UNLABELLED, {**UNLABELLED, 'gt_label': None}):
            with pytest.raises(UserError) as caught:
                check(LABELLED, picture, key=key)
            assert str(caught.value) == (
                "labels.json: data_list[1] (img_path 'sea/b.jpg', width 9) has no gt_label; write the indices of its "
                'classes there, [] if it has none'
            )


OBJECT = '<object><name>{}</name>{}<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>'


def check_voc(*objects, lines='1\n', **node):
    for folder in ('Annotations', 'JPEGImages'):
        Path(folder).mkdir(exist_ok=True)
    text = ''.join(OBJECT.format(*o) if isinstance(o, tuple) else o for o in objects)
    Path('Annotations/1.xml').write_text(f'<annotation>{text}</annotation>')
    Path('JPEGImages/1.jpg').touch()
    Path('train.txt').write_text(lines)
    return check_annotations(VOCDataset, {'ann_file': 'train.txt', **node}, 'train')


VOC = {
    'case': ([('Dog', '')], "train.txt: 'Dog' is no class, but 'dog' is"),
    'blanks': ([(' dog ', '')], "train.txt: ' dog ' is no class, but 'dog' is"),
    'own': (
        [('zebra', '')],
        'none of its names is one of the 20 classes (aeroplane, bicycle, bird, boat, bottle,',
    ),
    'difficult': ([('dog', '<difficult/>')], "1.xml: object 'dog' has '' as <difficult>; expected 0 or 1"),
    'no box': (
        ['<object><name>dog</name></object>'],
        "1.xml: object 'dog' has None as <xmin>; expected a number",
    ),
    'an empty edge': (
        [OBJECT.format('dog', '').replace('<ymax>9', '<ymax>')],
        "1.xml: object 'dog' has '' as <ymax>; expected a number",
    ),
    'no width': ([('dog', ''), '<size><height>9</height></size>'], '1.xml: it has None as <width>; expected a number'),
}


@pytest.mark.parametrize('what', VOC)
def test_voc(what):
    objects, message = VOC[what]
    with pytest.raises(UserError) as caught:
        check_voc(*objects)
    assert message in str(caught.value)


def test_voc_image_sets():
    with pytest.raises(UserError, match='train.txt, line 2: it is blank; take it out'):
        check_voc(('dog', ''), lines='1\n\n')
    for line, file in (('2', 'Annotations/2.xml'), ('1 ', 'Annotations/1 .xml')):
        with pytest.raises(UserError, match=f'train.txt, line 2: {file} does not exist; data_prefix.sub_data_root'):
            check_voc(('dog', ''), lines=f'1\n{line}\n')
    with pytest.raises(UserError, match='train.txt: it has no picture'):
        check_voc(lines='')
    Path('train.txt').write_text('1\n')
    Path('JPEGImages/1.jpg').rename('JPEGImages/1.png')
    with pytest.raises(UserError, match='train.txt, line 1: JPEGImages/1.jpg does not exist'):
        check_annotations(VOCDataset, {'ann_file': 'train.txt'}, 'train')


def test_voc_says_what_is_left_out():
    left_out = check_voc(('dog', '<difficult>1</difficult>'), ('zebra', ''))
    assert left_out == "train.txt: names that are not classes are left out: 'zebra' (1)"
    left_out = check_voc(('dog', ''), ('square', ''), metainfo={'classes': ('dog', 'sqare')})
    assert left_out == "train.txt: names that are not classes are left out: 'square' (1); did you mean 'sqare'?"


OTHER_FILES = {
    'order': (
        coco() | {'categories': coco()['categories'][::-1]},
        'val_evaluator: MMDetection numbers the classes as other.json lists its categories (triangle, square, circle)',
    ),
    'class': (
        changed('categories', 1, name='sqare'),
        "val_evaluator: class 'square' is none of the categories of other.json (circle, sqare, triangle); did you mean",
    ),
    'pictures': (
        {**coco(), 'images': coco()['images'][:2], 'annotations': []},
        "val_evaluator: other.json has no picture with the id 2, which train.json has; write ann_file='train.json' the",
    ),
    'no iscrowd': (changed('annotations', 0, iscrowd=None), 'annotations[0] (id 1, image_id 0, category_id 1, area 4'),
}


@pytest.mark.parametrize('what', OTHER_FILES)
def test_a_file_of_the_metric_that_is_not_that_of_the_data(what):
    content, message = OTHER_FILES[what]
    write(coco())
    Path('other.json').write_text(json.dumps(content))
    data = [(CocoDataset, {'ann_file': 'train.json', 'metainfo': {'classes': CLASSES}}, 'val_dataloader.dataset')]
    check_evaluator('train.json', 'val_evaluator', data)
    with pytest.raises(UserError) as caught:
        check_evaluator('other.json', 'val_evaluator', data)
    assert message in str(caught.value)


OWN = """
scenes = None
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64)),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
data = dict(type='CocoDataset', ann_file='train.json', data_prefix=dict(img='images'), pipeline=pipeline)
data.update(metainfo=dict(classes=('circle', 'square', 'triangle')))
train_dataloader.update(dataset=data)
val_dataloader.update(dataset=dict(data, test_mode=True))
val_evaluator.update(ann_file='train.json')
model['bbox_head']['num_classes'] = 3
"""


def test_train_and_test(tmp_path, capsys):
    write(coco())
    config = write_config(tmp_path, DETECTION, OWN)
    assert load_main('train')([config, '--work-dir', 'wd']) == 0
    assert load_main('test')([config, 'wd/epoch_1.pth']) == 0
    wrong = ['--cfg-options', "train_dataloader.dataset.metainfo.classes=('circle','sqare','triangle')"]
    assert "class 'sqare' is none of the categories" in Refusals('train', capsys)(config, *wrong)
    wrong[1] = wrong[1].replace('train_', 'test_')
    assert "class 'sqare' is none of the categories" in Refusals('test', capsys)(config, 'wd/epoch_1.pth', *wrong)
    write(changed('annotations', 0, iscrowd=None))
    assert 'annotations[0] (id 1, image_id 0, category_id 1, area 400) has no iscrowd' in Refusals('train', capsys)(
        config
    )
    write(coco())
    said = Refusals('train', capsys)(config, '--cfg-options', 'model.bbox_head.num_classes=2')
    assert said.startswith('model.bbox_head.num_classes is 2, but train_dataloader.dataset has 3 classes (circle, squ')
