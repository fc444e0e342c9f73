import pytest

from mmasl.datasets import NUSWIDE
from mmasl.datasets.miniatures.scenes import Size, scenes

FOLDER = 'Groundtruth/TrainTestLabels'


def truth(split):
    return [sorted(set(scene.labels)) for scene in scenes(split, Size(train=12, test=6, side=48))]


@pytest.mark.parametrize('split', ['train', 'test'])
@pytest.mark.parametrize(('ann_file', 'prefix'), [('nus_wid_data.csv', ''), (FOLDER, 'Flickr')])
def test_labels_are_those_of_the_scenes(split, ann_file, prefix, miniature):
    dataset = NUSWIDE(ann_file, split, data_root=miniature('nus_wide'), data_prefix=prefix)
    assert [sample['gt_label'] for sample in dataset] == truth(split)
    assert dataset[0]['img_path'].endswith(f'images/0001_{split}.jpg' if not prefix else f'digits/0001_{split}.jpg')
    assert len(dataset.CLASSES) == 81


def test_unlabelled_images_on_request(miniature):
    options = dict(data_root=miniature('nus_wide'), data_prefix='Flickr', drop_unlabelled=False)
    assert NUSWIDE(FOLDER, 'train', **options)[12]['gt_label'] == []


@pytest.mark.parametrize('ann_file', ['nus_wid_data.csv', FOLDER])
def test_chosen_classes_are_numbered_as_they_are_named(ann_file, miniature):
    prefix = '' if ann_file.endswith('csv') else 'Flickr'
    dataset = NUSWIDE(ann_file, data_root=miniature('nus_wide'), data_prefix=prefix, classes=['cow', 'cat', 'bear'])
    new = {16: 0, 11: 1, 3: 2}
    expected = [sorted(new[label] for label in labels if label in new) for labels in truth('train')]
    assert [sample['gt_label'] for sample in dataset] == [labels for labels in expected if labels]


def test_what_is_wrong_is_said(miniature_copy):
    root = miniature_copy('nus_wide')
    csv = root / 'nus_wid_data.csv'
    with pytest.raises(ValueError, match="split: expected 'train' or 'test', got 'val'"):
        NUSWIDE(csv.name, 'val', data_root=str(root))
    with pytest.raises(FileNotFoundError, match='nus.csv does not exist; get it from https://lms.comp.nus.edu.sg'):
        NUSWIDE('nus.csv', data_root=str(root))
    with pytest.raises(FileNotFoundError, match='Imagelist.txt does not exist'):
        (root / 'ImageList' / 'TestImagelist.txt').unlink()
        NUSWIDE(FOLDER, 'test', data_root=str(root))
    with pytest.raises(ValueError, match="classes: 'skies' is no class of .*nus_wid_data.csv"):
        NUSWIDE(csv.name, data_root=str(root), classes=['skies'])
    labels = root / FOLDER / 'Labels_sky_Train.txt'
    labels.write_text('0\n1\n')
    with pytest.raises(ValueError, match='Labels_sky_Train.txt: expected 0 or 1 for each of 5 images, got 2'):
        NUSWIDE(FOLDER, data_root=str(root), data_prefix='Flickr')
    csv.write_text(csv.read_text().replace("['", "['ufo', '", 1))
    with pytest.raises(ValueError, match="'ufo' .images/0001_train.jpg. is none of the 81 concepts"):
        NUSWIDE(csv.name, data_root=str(root))
    csv.write_text(csv.read_text().replace('split_name', 'split'))
    with pytest.raises(ValueError, match='expected the column split_name, got'):
        NUSWIDE(csv.name, data_root=str(root))
