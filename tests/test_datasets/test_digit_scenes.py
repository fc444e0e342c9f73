import hashlib
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from torch.utils.data import DataLoader

from mmasl.datasets import DigitScenes
from mmasl.datasets.digit_scenes.composer import (
    COLOURS,
    MAX_COVERED,
    SPLITS,
    SceneSpec,
    class_weights,
    label_count_cdf,
    load_glyphs,
    sample_layout,
)
from mmasl.datasets.digit_scenes.renderer import glyph_opacity, render_scene
from mmasl.registry import DATASETS

# sha256 of pixels, labels and boxes of the first five scenes; a change of these numbers is a change of the data set
PINNED = {
    SceneSpec(): '8fa41a52886c4afe',
    SceneSpec(split='test', image_size=64, seed=7): 'bc56f024ec17c56a',
    SceneSpec(split='val', single=True): 'cb2cc92a4edf105a',
    SceneSpec(classes='digit', missing_rate=0.5): 'af8225d46cbc5532',
}
SMALL = {'num_scenes': 40, 'cache': False}


def digest(spec, indices):
    total = hashlib.sha256()
    for index in indices:
        layout = sample_layout(spec, index)
        total.update(render_scene(spec, index).tobytes())
        total.update(json.dumps([layout.labels, layout.missing, [digit.box for digit in layout.digits]]).encode())
    return total.hexdigest()[:16]


def same(one, other):
    return (
        np.array_equal(one['img'], other['img'])
        and one['gt_label'] == other['gt_label']
        and np.array_equal(one['gt_bboxes'], other['gt_bboxes'])
    )


@pytest.fixture(scope='module')
def many():
    """4,000 training scenes without pixels."""
    return DigitScenes(num_scenes=4000)


class TestDeterminism:
    @pytest.mark.parametrize('spec', PINNED, ids=lambda spec: f'{spec.split}-{spec.image_size}-{spec.classes}')
    def test_pinned(self, spec):
        assert digest(spec, range(5)) == PINNED[spec]

    def test_another_process(self):
        code = 'from tests.test_datasets.test_digit_scenes import *; print(digest(SceneSpec(seed=3), [4, 2, 9]))'
        found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split()
        assert found[-1] == digest(SceneSpec(seed=3), [4, 2, 9])

    def test_order_and_number_do_not_matter(self):
        forward, backward = DigitScenes(**SMALL), DigitScenes(num_scenes=50)
        backward = {index: backward[index] for index in reversed(range(50))}
        assert all(same(forward[index], backward[index]) for index in range(40))

    @pytest.mark.parametrize('workers', [0, 2])
    def test_workers(self, workers):
        dataset = DigitScenes(num_scenes=12)
        loader = DataLoader(dataset, batch_size=3, num_workers=workers, collate_fn=list)
        for _ in range(2):
            found = [sample for batch in loader for sample in batch]
            assert all(same(sample, dataset[index]) for index, sample in enumerate(found))

    def test_seeds_and_splits_differ(self):
        images = [DigitScenes(split, 1, seed=seed)[0]['img'] for split in SPLITS for seed in (0, 1)]
        assert len({image.tobytes() for image in images}) == 6


class TestHandwriting:
    def test_pools_are_disjoint_and_complete(self):
        indices = [{glyph.index for pool in load_glyphs(split) for glyph in pool} for split in SPLITS]
        assert sum(map(len, indices)) == len(set.union(*indices)) == 1797

    def test_pools_are_stratified(self):
        from sklearn.datasets import load_digits

        target = load_digits().target
        for split, share in zip(SPLITS, (0.6, 0.15, 0.25), strict=True):
            for digit, pool in enumerate(load_glyphs(split)):
                assert {target[glyph.index] for glyph in pool} == {digit}
                assert abs(len(pool) - share * (target == digit).sum()) <= 1


class TestStatistics:
    def test_label_counts(self, many):
        counts = [len(many.get_cat_ids(index)) for index in range(len(many))]
        assert np.mean(counts) == pytest.approx(2.9, rel=0.02)
        assert min(counts) == 1 and max(counts) <= 8

    @pytest.mark.parametrize('mean', [1, 2.0, 4.5, 6])
    def test_mean_labels(self, mean):
        dataset = DigitScenes(num_scenes=2000, mean_labels=mean)
        counts = [len(dataset.get_cat_ids(index)) for index in range(2000)]
        assert np.mean(counts) == pytest.approx(mean, rel=0.05)
        assert 8 - sum(label_count_cdf(mean)[:-1]) == pytest.approx(mean)

    def test_long_tail(self, many):
        counts = np.zeros(80, dtype=int)
        for index in range(len(many)):
            counts[many.get_cat_ids(index)] += 1
        assert counts.max() > 0.4 * len(many)
        assert counts.min() >= 15
        weights = np.array(class_weights('digit_colour', 1.0))
        assert np.corrcoef(np.log(weights), np.log(counts))[0, 1] > 0.98
        assert weights.max() / weights.min() == pytest.approx(80)

    def test_no_tail(self):
        dataset = DigitScenes(num_scenes=3000, tail_exponent=0, classes='digit')
        counts = np.bincount(sum((dataset.get_cat_ids(index) for index in range(3000)), []), minlength=10)
        assert counts.max() / counts.min() < 1.15

    def test_single(self):
        layouts = [sample_layout(SceneSpec(single=True), index) for index in range(2000)]
        assert all(len(layout.labels) == len(layout.digits) == 1 for layout in layouts)
        counts = np.bincount([layout.labels[0] for layout in layouts], minlength=80)
        assert counts.min() >= 8 and counts.max() <= 50

    def test_digit_classes_ignore_colour(self):
        layouts = [sample_layout(SceneSpec(classes='digit'), index) for index in range(200)]
        digits = [digit for layout in layouts for digit in layout.digits]
        assert {digit.colour for digit in digits if digit.label == 1} == set(range(len(COLOURS)))
        assert DigitScenes(classes='digit', **SMALL).metainfo['classes'] == tuple('0123456789')


class TestMissing:
    def test_rate(self, many):
        dataset = DigitScenes(num_scenes=4000, missing_rate=0.4)
        kept = sum(len(dataset.get_cat_ids(index)) for index in range(4000))
        total = sum(len(many.get_cat_ids(index)) for index in range(4000))
        assert abs(kept - 0.6 * total) < 5 * np.sqrt(0.24 * total)

    def test_rates_are_nested_and_pixels_stay(self):
        none, some, more = (DigitScenes(num_scenes=200, missing_rate=rate) for rate in (0.0, 0.2, 0.4))
        for index in range(200):
            labels = [set(dataset.get_cat_ids(index)) for dataset in (more, some, none)]
            assert labels[0] <= labels[1] <= labels[2]
        assert all(np.array_equal(none[index]['img'], more[index]['img']) for index in range(20))

    def test_boxes_agree_with_labels(self):
        for sample in DigitScenes(num_scenes=300, missing_rate=0.5, cache=False):
            assert sorted(set(sample['gt_bboxes_labels'].tolist())) == sample['gt_label']
            assert [i['bbox_label'] for i in sample['instances']] == sample['gt_bboxes_labels'].tolist()

    def test_boxes_go_one_by_one(self):
        rates = (0.0, 0.2, 0.4)
        splits = [DigitScenes(num_scenes=1000, missing_rate=rate, missing_unit='box') for rate in rates]
        kept = [sum(len(info['instances']) for info in split.load_data_list()) for split in splits]
        assert np.array(kept) / kept[0] == pytest.approx([1.0, 0.8, 0.6], abs=0.03)
        parted = 0  # scenes where a class has lost some of its boxes, not all of them
        for infos in zip(*(split.load_data_list() for split in splits), strict=True):
            none, some, more = ({(*i['bbox'], i['bbox_label']) for i in info['instances']} for info in infos)
            assert more <= some <= none
            assert infos[2]['gt_label'] == sorted({label for *_, label in more})
            parted += bool({label for *_, label in none - more} & {label for *_, label in more})
        assert parted > 50
        assert np.array_equal(splits[0][0]['img'], splits[2][0]['img'])

    def test_empty_scenes(self):
        dataset = DigitScenes(num_scenes=300, missing_rate=0.9)
        empty = next(sample for sample in dataset if not sample['gt_label'])
        assert empty['gt_bboxes'].shape == (0, 4) and empty['gt_bboxes_labels'].dtype == np.int64
        full = DigitScenes(num_scenes=300, missing_rate=0.9, filter_cfg={'filter_empty_gt': True})
        assert 0 < len(full) < 300
        assert all(same(full[k], dataset[full[k]['img_id']]) and full[k]['gt_label'] for k in range(0, len(full), 9))


class TestBoxes:
    @pytest.mark.parametrize('size', [32, 48, 100])
    def test_inside_image_and_enclose_ink(self, size):
        for index in range(60):
            for digit in sample_layout(SceneSpec(image_size=size), index).digits:
                x1, y1, x2, y2 = digit.box
                assert 0 <= x1 < x2 <= size and 0 <= y1 < y2 <= size
                everywhere = glyph_opacity(digit.glyph, digit.affine, (0, 0, size, size))
                inside = everywhere[y1:y2, x1:x2].copy()
                assert np.array_equal(inside, glyph_opacity(digit.glyph, digit.affine, digit.box))
                everywhere[y1:y2, x1:x2] = 0
                assert everywhere.max() < 0.1 and inside.max() > 0.5

    def test_tight(self):
        """A box is no more than two pixels wider or higher than the visible ink."""
        for index in range(100):
            for digit in sample_layout(SceneSpec(), index).digits:
                ink = glyph_opacity(digit.glyph, digit.affine, digit.box) > 0
                rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
                assert np.ptp(rows) + 3 >= ink.shape[0] and np.ptp(columns) + 3 >= ink.shape[1]

    def test_digits_stay_visible(self):
        for index in range(300):
            boxes = np.array([digit.box for digit in sample_layout(SceneSpec(mean_labels=6), index).digits])
            for k, (x1, y1, x2, y2) in enumerate(boxes):
                later = boxes[k + 1 :]
                width = (np.minimum(x2, later[:, 2]) - np.maximum(x1, later[:, 0])).clip(0)
                height = (np.minimum(y2, later[:, 3]) - np.maximum(y1, later[:, 1])).clip(0)
                assert (width * height).sum() <= MAX_COVERED * (x2 - x1) * (y2 - y1) + 1e-9

    def test_colour_is_visible(self):
        """The opaque pixels of a lone digit are nearest to the hue of its own colour, but for a few dark ones."""
        rgb = np.array(list(COLOURS.values()), dtype=float)
        rgb /= np.linalg.norm(rgb, axis=1, keepdims=True)
        right = total = 0
        for index in range(200):
            spec = SceneSpec(single=True)
            (digit,) = sample_layout(spec, index).digits
            x1, y1, x2, y2 = digit.box
            alpha = glyph_opacity(digit.glyph, digit.affine, digit.box)
            pixel = np.median(render_scene(spec, index)[y1:y2, x1:x2][alpha > 0.9].astype(float), axis=0)
            right += int((rgb @ pixel).argmax()) == digit.colour
            total += 1
        assert right / total > 0.85


class TestDataset:
    def test_sample(self):
        dataset = DATASETS.build({'type': 'mmasl.DigitScenes', **SMALL})
        sample = dataset[3]
        assert sample['img'].shape == (48, 48, 3) and sample['img'].dtype == np.uint8
        assert sample['img_shape'] == sample['ori_shape'] == (48, 48)
        assert sample['img_id'] == sample['sample_idx'] == 3
        assert sample['img_path'] == 'digit_scenes/train/000003.png'
        assert sample['gt_bboxes'].dtype == np.float32 and sample['gt_ignore_flags'].dtype == bool
        assert sample['gt_label'] == dataset.get_cat_ids(3) == sorted(set(sample['gt_bboxes_labels'].tolist()))
        assert np.array_equal(sample['img'][..., ::-1], render_scene(dataset.spec, 3))
        assert len(DigitScenes(lazy_init=True)) == 4000

    def test_a_grid_renders_its_scenes_once(self, monkeypatch):
        first = DigitScenes(num_scenes=2, seed=7)[0]['img']
        monkeypatch.setattr('mmasl.datasets.digit_scenes.dataset.render_scene', None)
        assert np.array_equal(DigitScenes(num_scenes=2, seed=7, missing_rate=0.9)[0]['img'], first)

    @pytest.mark.parametrize('cache', [True, False])
    def test_samples_are_copies(self, cache):
        dataset = DigitScenes(num_scenes=2, cache=cache)
        before = dataset[0]['img'].copy()
        dataset[0]['img'][:] = 0
        sample = dataset[0]
        assert np.array_equal(sample['img'], before)
        sample['img'][:] = 0
        assert np.array_equal(dataset[0]['img'], before)

    def test_base_class_mechanisms(self):
        dataset = DigitScenes(num_scenes=20, indices=[5, 2, 7])
        assert [sample['img_id'] for sample in dataset] == [5, 2, 7]
        subset = dataset.get_subset([2, 0])
        assert same(subset[0], dataset[2])
        assert dataset._images and not pickle.loads(pickle.dumps(dataset))._images
        assert same(pickle.loads(pickle.dumps(dataset))[1], dataset[1])
        plain = DigitScenes(num_scenes=20, serialize_data=False)
        assert same(plain[5], dataset[0])
        plain[5]['instances'].clear()
        assert len(plain[5]['instances']) == len(plain[5]['gt_bboxes'])
        assert DigitScenes(num_scenes=2, metainfo={'note': 1}).metainfo['note'] == 1

    @pytest.mark.parametrize(
        ('options', 'text'),
        [
            ({'split': 'dev'}, r"split must be one of \('train', 'val', 'test'\), got 'dev'"),
            ({'classes': 'colour'}, r"classes must be one of \('digit_colour', 'digit'\), got 'colour'"),
            ({'missing_unit': 'boxes'}, r"missing_unit must be one of \('label', 'box'\), got 'boxes'"),
            ({'num_scenes': 0}, 'num_scenes must be an integer from 1 to 4294967295, got 0'),
            ({'num_scenes': 2.5}, 'num_scenes must be an integer from 1 to 4294967295, got 2.5'),
            ({'image_size': 16}, 'image_size must be an integer from 32 to 1024, got 16'),
            ({'image_size': '48'}, "image_size must be an integer from 32 to 1024, got '48'"),
            ({'mean_labels': 0.5}, 'mean_labels must be a number from 1 to 6, got 0.5'),
            ({'mean_labels': float('nan')}, 'mean_labels must be a number from 1 to 6, got nan'),
            ({'tail_exponent': -1}, 'tail_exponent must be a number from 0 to 2, got -1'),
            ({'seed': -1}, 'seed must be an integer from 0 to 4294967295, got -1'),
            ({'seed': True}, 'seed must be an integer from 0 to 4294967295, got True'),
            ({'missing_rate': 1.5}, 'missing_rate must be a number from 0 to less than 1, got 1.5'),
            ({'missing_rate': 1.0}, 'missing_rate must be a number from 0 to less than 1, got 1.0'),
            ({'missing_rate': 0.2, 'split': 'val'}, "missing_rate is for split='train' only, got 0.2 with split='val'"),
            ({'missing_rate': 0.2, 'split': 'test'}, "missing_rate is for split='train' only"),
            ({'missing_rate': 0.2, 'single': True}, 'missing_rate must be 0 with single=True, got 0.2'),
        ],
    )
    def test_bad_arguments(self, options, text):
        with pytest.raises(ValueError, match=text):
            DigitScenes(**options)


class TestPipelines:
    def test_mmpretrain(self):
        pytest.importorskip('mmpretrain').utils.register_all_modules()
        pipeline = [
            {'type': 'mmpretrain.Resize', 'scale': 56},
            {'type': 'mmpretrain.RandomFlip', 'prob': 1.0},
            {'type': 'mmpretrain.PackInputs'},
        ]
        dataset = DigitScenes(num_scenes=60, missing_rate=0.8, pipeline=pipeline)
        for index, packed in enumerate(dataset):
            assert packed['inputs'].shape == (3, 56, 56)
            assert packed['data_samples'].gt_label.tolist() == dataset.get_cat_ids(index)
            assert not packed['data_samples'].gt_label.is_floating_point()

    def test_mmdet(self):
        pytest.importorskip('mmdet').utils.register_all_modules()
        pipeline = [
            {'type': 'mmdet.Resize', 'scale': (96, 96)},
            {'type': 'mmdet.RandomFlip', 'prob': 1.0},
            {'type': 'mmdet.PackDetInputs'},
        ]
        dataset = DigitScenes(num_scenes=30, missing_rate=0.5, pipeline=pipeline)
        for index, packed in enumerate(dataset):
            raw, instances = dataset.get_data_info(index), packed['data_samples'].gt_instances
            assert packed['inputs'].shape == (3, 96, 96)
            assert instances.labels.tolist() == raw['gt_bboxes_labels'].tolist()
            expected = 2 * raw['gt_bboxes']
            expected[:, [0, 2]] = 96 - expected[:, [2, 0]]
            assert np.array_equal(instances.bboxes.numpy(), expected)

    def test_mmdet_load_annotations(self):
        pytest.importorskip('mmdet').utils.register_all_modules()
        pipeline = [{'type': 'mmdet.LoadAnnotations', 'with_bbox': True}, {'type': 'mmdet.PackDetInputs'}]
        dataset = DigitScenes(num_scenes=10, pipeline=pipeline)
        for index, packed in enumerate(dataset):
            instances = packed['data_samples'].gt_instances
            assert np.array_equal(instances.bboxes.tensor.numpy(), dataset.get_data_info(index)['gt_bboxes'])
