import pickle
from pathlib import Path

import numpy as np
import pytest

from mmasl.datasets import OpenImages

ANN_FILE = 'test-annotations-human-imagelabels.csv'


def build(root, **options):
    return OpenImages(ANN_FILE, data_root=str(root), data_prefix='test', **options)


def verified(root):
    """What the CSV file says: {image: {LabelName: bool}}."""
    found = {}
    for line in Path(root, ANN_FILE).read_text().splitlines()[1:]:
        image, _, name, confidence = line.split(',')
        found.setdefault(image, {})[name] = confidence == '1'
    return found


def test_labels_are_those_of_the_file(miniature):
    root = miniature('open_images')
    trainable = Path(root, 'oidv6-classes-trainable.txt').read_text().split()
    dataset, ignoring = build(root), build(root, unverified='ignored')
    found = verified(root)
    assert len(dataset) == len(found) == 6 and len(dataset.CLASSES) == 40
    num = dict.fromkeys((-1, 0, 1), 0)
    for plain, sample in zip(dataset, ignoring, strict=True):
        of_image = found[sample['img_path'].split('/')[-1].removesuffix('.jpg')]
        expected = [int(of_image[name]) if name in of_image else -1 for name in trainable]
        assert sample['gt_score'].dtype == np.float32 and sample['gt_score'].tolist() == expected
        assert plain['gt_label'] == sample['gt_label'] == [c for c, value in enumerate(expected) if value == 1]
        assert plain['gt_label_negative'] == [c for c, value in enumerate(expected) if value == 0]
        assert 'gt_score' not in plain
        for value in num:
            num[value] += expected.count(value)
    assert min(num.values()) > 10


def test_all_described_classes_and_chosen_ones(miniature):
    everything = build(miniature('open_images'), trainable_file=None)
    assert len(everything.CLASSES) == 48
    chosen = build(miniature('open_images'), classes=['red 5', 'red 0'])
    assert chosen.CLASSES == ('red 5', 'red 0')
    labels = {sample['img_path']: sample['gt_label'] for sample in build(miniature('open_images'))}
    for sample in chosen:
        assert sample['gt_label'] == [new for new, old in enumerate((5, 0)) if old in labels[sample['img_path']]]
    assert any(sample['gt_label'] for sample in chosen)


def test_lines_in_any_order_and_contradictions(miniature_copy):
    root = miniature_copy('open_images')
    before = list(build(root))
    header, *lines = (root / ANN_FILE).read_text().splitlines()
    name = (root / 'oidv6-classes-trainable.txt').read_text().split()[before[0]['gt_label'][0]]
    image = lines[0].split(',')[0]
    lines.append(f'{image},crowdsource-verification,{name},0')  # verified as both: positive
    lines.append(f'{image},verification,/m/unknown,1')
    lines.append(lines[0])
    np.random.default_rng(0).shuffle(lines)
    (root / ANN_FILE).write_text('\n'.join([header, *lines]))
    assert list(build(root)) == before


def test_subsets_and_worker_copies(miniature):
    dataset = build(miniature('open_images'), indices=4)
    assert len(dataset) == 4 and dataset[-1]['sample_idx'] == 3
    full = build(miniature('open_images'))
    assert [full[i]['gt_label'] for i in range(4)] == [sample['gt_label'] for sample in dataset]
    assert full.get_subset([5, 1])[0]['img_path'] == full[5]['img_path']
    assert len(full.get_subset(-2)) == 2
    assert list(pickle.loads(pickle.dumps(full))) == list(full)


def test_classes_with_one_name_are_told_apart(miniature_copy):
    root = miniature_copy('open_images')
    names = root / 'oidv6-class-descriptions.csv'
    lines = names.read_text().splitlines()
    key, name = lines[1].split(',')
    other = lines[2].split(',')[0]
    names.write_text('\n'.join([*lines[:2], f'{other},{name}', *lines[3:]]))
    classes = build(root, trainable_file=None).metainfo['classes']
    assert {f'{name} ({key})', f'{name} ({other})'} < set(classes) and len(set(classes)) == len(classes) == 48
    assert build(root, trainable_file=None, classes=[f'{name} ({other})']).metainfo['classes'] == (f'{name} ({other})',)


def test_what_is_wrong_is_said(miniature_copy):
    root = miniature_copy('open_images')
    with pytest.raises(ValueError, match="unverified: expected 'negative' or 'ignored', got 'positive'"):
        build(root, unverified='positive')
    with pytest.raises(
        FileNotFoundError, match='names.csv does not exist; get it from https://storage.googleapis.com/op'
    ):
        build(root, classes_file='names.csv')
    with pytest.raises(ValueError, match="classes: 'red 99' is no class of .*; did you mean 'red 9'"):
        build(root, classes=['red 99'])
    trainable = root / 'oidv6-classes-trainable.txt'
    trainable.write_text(trainable.read_text() + '/m/nothing\n')
    with pytest.raises(ValueError, match='trainable.txt: /m/nothing is no class of .*oidv6-class-descriptions.csv'):
        build(root)


def test_line_that_is_none(miniature_copy):
    root = miniature_copy('open_images')
    path = root / ANN_FILE
    text = path.read_text().splitlines()
    path.write_text('\n'.join([*text[:3], 'xyz,verification,/m/00000,1']))
    with pytest.raises(ValueError, match='imagelabels.csv, line 4: cannot read xyz,verification,/m/00000,1'):
        build(root)
    path.write_text('a,b\n')
    with pytest.raises(ValueError, match='labels.csv: expected ImageID,Source,LabelName,Confidence in its first line'):
        build(root)
    (root / 'oidv6-class-descriptions.csv').write_text('/m/00000,red 0\n')
    with pytest.raises(ValueError, match='class-descriptions.csv: expected LabelName,DisplayName in its first line'):
        build(root)
