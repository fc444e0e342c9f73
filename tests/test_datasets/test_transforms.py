"""The authors' pixels: each transform against Pillow, as their script uses it, and against upstream's."""

import random
from collections import Counter

import cv2
import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageDraw
from randaugment import RandAugment as TheirRandAugment
from randaugment.randaugment import SubPolicy

from mmasl.datasets import transforms
from mmasl.datasets.digit_scenes import DigitScenes
from mmasl.datasets.transforms import Cutout, RandAugment, SquishResize


@pytest.fixture(scope='module')
def image():
    """A scene of 72 x 96 pixels, BGR."""
    scene = DigitScenes('train', num_scenes=1, image_size=96, pipeline=[])[0]['img']
    return np.ascontiguousarray(scene[:72])


def test_squish_resize_is_pillows(image):
    for scale in ((48, 48), (30, 200), 64):
        expected = Image.fromarray(image).resize(scale if isinstance(scale, tuple) else (scale, scale), 2)
        results = SquishResize(scale)(dict(img=image.copy()))
        assert np.abs(results['img'].astype(int) - np.asarray(expected)).max() <= 1
        assert results['img_shape'] == results['img'].shape[:2]


def test_squish_resize_is_upstreams_pillow_backend_and_not_its_default(image):
    def upstream(**backend):
        return TRANSFORMS.build(dict(type='Resize', scale=(32, 48), **backend))(dict(img=image.copy()))

    ours, pillow, default = SquishResize((32, 48))(dict(img=image.copy())), upstream(backend='pillow'), upstream()
    pixels = ours.pop('img').astype(int)
    assert np.abs(pixels - pillow.pop('img')).max() <= 1
    assert np.abs(pixels - default['img']).max() > 20
    assert ours == pillow


def test_cutout_is_pillows_rectangle(image):
    height, width = image.shape[:2]
    for seed in range(20):
        np.random.seed(seed)
        ours = Cutout(0.5)(dict(img=image))['img']
        np.random.seed(seed)
        y, x = np.random.randint(height), np.random.randint(width)
        color = tuple(np.random.randint(256, size=3).tolist())
        expected = Image.fromarray(image)
        half_h, half_w = int(0.5 * height + 0.5) // 2, int(0.5 * width + 0.5) // 2
        left, top = max(x - half_w, 0), max(y - half_h, 0)
        ImageDraw.Draw(expected).rectangle([left, top, x + half_w, y + half_h], fill=color)
        np.testing.assert_array_equal(ours, np.asarray(expected))


def test_cutout_covers_what_its_docstring_says():
    np.random.seed(0)
    blank = np.zeros((448, 448, 3), np.uint8)
    covered = [(Cutout(0.5)(dict(img=blank))['img'][::8, ::8] != 0).any(axis=-1).mean() for _ in range(1000)]
    assert np.mean(covered) == pytest.approx(0.19, abs=0.01)
    colors = {tuple(Cutout(1.0)(dict(img=blank))['img'].max(axis=(0, 1))) for _ in range(20)}
    assert len(colors) == 20


def test_the_input_image_is_left_alone(image):
    before = image.copy()
    np.random.seed(0)
    for transform in (SquishResize(40), Cutout(), RandAugment(prob=1.0)):
        transform(dict(img=image))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize('name', transforms.OPERATIONS)
def test_operations_are_the_packages(image, name, monkeypatch):
    """Bit for bit, at every level, whatever sign each draws."""
    monkeypatch.setattr(np, 'int', int, raising=False)  # which the package still asks for
    magnitudes, signed, operation = transforms.OPERATIONS[name]
    picture = Image.fromarray(image)
    for level in range(1, 10):
        ours, theirs = set(), set()
        for sign in (-1, 1) if signed else (1,):
            np.random.seed(3)
            ours.add(operation(picture, sign * magnitudes[level]).tobytes())
        for seed in range(10):
            random.seed(seed)
            np.random.seed(3)
            theirs.add(SubPolicy(1.0, name, level, 0.0, 'Invert', 1)(picture).tobytes())
        assert ours == theirs


def test_there_are_no_other_operations():
    assert set(transforms.OPERATIONS) == set(TheirRandAugment.get_trans_list())


# The largest mean difference to MMPretrain's operation, in gray values of 0 ... 255, at the same magnitude and sign.
# Rotate needs its gray spelled out there: pad_val=128, which RandAugment gives it, is (128, 0, 0) to OpenCV.
UPSTREAM = [
    ('Invert', dict(type='Invert'), 0, 0),
    ('AutoContrast', dict(type='AutoContrast'), 0, 0),
    ('Equalize', dict(type='Equalize'), 0, 0),
    ('Posterize', dict(type='Posterize', bits=5), 5, 0),
    ('Solarize', dict(type='Solarize', thr=100.0), 100.0, 0),
    ('Color', dict(type='ColorTransform', magnitude=0.6, random_negative_prob=0.0), 0.6, 1),
    ('Contrast', dict(type='Contrast', magnitude=0.6, random_negative_prob=0.0), 0.6, 1),
    ('Brightness', dict(type='Brightness', magnitude=0.6, random_negative_prob=0.0), 0.6, 1),
    ('Sharpness', dict(type='Sharpness', magnitude=0.6, random_negative_prob=0.0), 0.6, 1),
    ('Rotate', dict(type='Rotate', angle=20.0, random_negative_prob=1.0, pad_val=(128,) * 3), 20.0, 1),
    ('ShearX', dict(type='Shear', magnitude=0.2, random_negative_prob=1.0), 0.2, 1),
    ('TranslateY', dict(type='Translate', magnitude=0.25, direction='vertical', random_negative_prob=1.0), 0.25, 0),
]


@pytest.mark.parametrize(('name', 'upstream', 'magnitude', 'tolerance'), UPSTREAM)
def test_operations_are_upstreams(image, name, upstream, magnitude, tolerance):
    image = cv2.GaussianBlur(image, (0, 0), 2)
    ours = transforms.OPERATIONS[name][2](Image.fromarray(image[..., ::-1]), magnitude)
    theirs = TRANSFORMS.build(dict(upstream, prob=1.0))(dict(img=image.copy()))['img'][..., ::-1]
    difference = np.abs(np.asarray(ours).astype(int) - theirs).mean()
    assert difference <= tolerance, difference
    assert np.abs(np.asarray(ours).astype(int) - image[..., ::-1]).mean() > 2 * difference


def test_what_is_drawn(image, monkeypatch):
    """Fifteen operations, two draws with probability one half, levels 1 to 9, all uniform."""
    drawn = []
    monkeypatch.setattr(transforms, 'apply_operation', lambda image, name, level: drawn.append((name, level)) or image)
    np.random.seed(0)
    transform = RandAugment()
    for _ in range(3000):
        transform(dict(img=image))
    names, levels = (Counter(column) for column in zip(*drawn, strict=True))
    assert len(drawn) == pytest.approx(3000, rel=0.05)
    assert set(names) == set(transforms.OPERATIONS) and len(names) == 15
    assert all(count == pytest.approx(200, rel=0.25) for count in names.values())
    assert sorted(levels) == list(range(1, 10))
    assert all(count == pytest.approx(333, rel=0.2) for count in levels.values())


def test_signs_are_drawn_where_they_should_be(image):
    results = {}
    for name, (_, signed, _) in transforms.OPERATIONS.items():
        images = set()
        for seed in range(8):
            np.random.seed(seed)
            images.add(transforms.apply_operation(Image.fromarray(image), name, 5).tobytes())
        results[name] = len(images)
        assert len(images) == (2 if signed else 1) or name == 'Cutout', name
    assert results['Cutout'] > 2


@pytest.mark.parametrize(
    ('transform', 'arguments', 'message'),
    [
        (SquishResize, dict(scale=0), 'scale: expected a width and a height above 0, got 0'),
        (SquishResize, dict(scale=(4, 4, 3)), 'scale: expected a width and a height above 0'),
        (Cutout, dict(factor=0.0), 'factor: expected a number above 0, at most 1, got 0.0'),
        (RandAugment, dict(num_ops=0), 'num_ops: expected an integer of at least 1, got 0'),
        (RandAugment, dict(prob=2.0), r'prob: expected a number in \[0, 1\], got 2.0'),
    ],
)
def test_refusals(transform, arguments, message):
    with pytest.raises(ValueError, match=message):
        transform(**arguments)


def test_images_of_another_dtype_are_refused(image):
    with pytest.raises(ValueError, match="results\\['img'\\]: expected dtype uint8, got float32"):
        SquishResize(32)(dict(img=image.astype(np.float32)))
