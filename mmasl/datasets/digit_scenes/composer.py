"""Layouts of :class:`mmasl.datasets.DigitScenes`: which digits a scene shows and where. This module needs numpy alone.

A scene is a pure function of (seed, split, index). The code uses only uniform random numbers, element-wise float64
arithmetic and operations that IEEE 754 rounds exactly (no BLAS, no sine, no resizing library), so every machine gets
the same pixels. A layout has no pixels: :mod:`mmasl.datasets.digit_scenes.renderer` draws them on demand, so the labels
and boxes of an entire split are cheap.
"""

import functools
from bisect import bisect_right
from itertools import accumulate
from math import ceil, floor, fsum
from typing import NamedTuple

import numpy as np

SPLITS = ('train', 'val', 'test')
POOL_SHARES = (0.6, 0.15, 0.25)  # of the handwritten digits of each class
COLOURS = {  # RGB
    'red': (225, 35, 35),
    'orange': (245, 135, 20),
    'yellow': (240, 230, 50),
    'green': (45, 190, 55),
    'cyan': (50, 215, 225),
    'blue': (70, 95, 245),
    'pink': (245, 95, 200),
    'white': (242, 242, 242),
}
CLASS_NAMES = {
    'digit_colour': tuple(f'{colour} {digit}' for colour in COLOURS for digit in range(10)),
    'digit': tuple(str(digit) for digit in range(10)),
}
MAX_LABELS = 8  # distinct labels of one scene
DIGIT_HEIGHT = (0.21, 0.42)  # of a digit, as a share of the image
MIN_HEIGHT = 0.14  # in a crowded scene digits shrink down to this
MAX_COVERED = 0.3  # share of a digit's box that later digits may cover
INK = 0.25  # grey level (of 1) from which handwriting is drawn
LAYOUT, PIXELS, MISSING_BOXES = 0, 1, 2  # random streams of a scene


class Glyph(NamedTuple):
    """A handwritten digit: its ``cells`` (12, 12) in [0, 1], zero-padded by 2, and the ``hull`` (k, 2) of its ink."""

    index: int
    cells: np.ndarray
    hull: np.ndarray


class Digit(NamedTuple):
    """A digit of a layout: its class, glyph and colour, and its position in the image.

    Glyph coordinates (gx, gy) have the pixel position ``x = cx + a·gx + b·gy``, ``y = cy + c·gx + d·gy``. ``box`` is
    (x1, y1, x2, y2) in integer pixels and encloses the ink.
    """

    label: int
    glyph: Glyph
    colour: int
    affine: tuple
    box: tuple


class Layout(NamedTuple):
    """The digits of a scene in drawing order, its distinct labels (sorted), missing labels and annotated digits."""

    digits: list
    labels: list
    missing: list
    annotated: list


class SceneSpec(NamedTuple):
    """The constants that determine the scenes of a split; :class:`mmasl.datasets.DigitScenes` explains the fields."""

    split: str = 'train'
    image_size: int = 48
    mean_labels: float = 2.9
    tail_exponent: float = 1.0
    missing_rate: float = 0.0
    seed: int = 0
    classes: str = 'digit_colour'
    single: bool = False
    missing_unit: str = 'label'


def scene_rng(spec, index, stream):
    """Return the random generator of one ``stream`` (layout, pixels or missing boxes) of scene ``index``."""
    key = [spec.seed, SPLITS.index(spec.split), int(spec.single), index, stream]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def bilinear(cells, u, v):
    """Sample ``cells`` at column ``u`` and row ``v`` (same shape, at least 0 and less than size − 1)."""
    iu, iv = u.astype(np.intp), v.astype(np.intp)
    fu, fv = u - iu, v - iv
    at, width, flat = iv * cells.shape[1] + iu, cells.shape[1], cells.ravel()
    top, bottom = flat.take(at), flat.take(at + width)
    top = top + fu * (flat.take(at + 1) - top)
    bottom = bottom + fu * (flat.take(at + width + 1) - bottom)
    return top + fv * (bottom - top)


def _hull(cells):
    """Return the outermost points (k, 2) of the ink on a grid of 1/8 cell, in glyph coordinates (centre 0, cell 1)."""
    axis = np.arange(0.0, 11.0, 0.125)
    u, v = np.meshgrid(axis, axis)
    ink = bilinear(cells, u, v) > INK
    x, y = u[ink] - 5.5, v[ink] - 5.5
    slopes = (-0.3, -0.15, 0.0, 0.15, 0.3)
    support = [x + s * y for s in slopes] + [y + s * x for s in slopes]
    picks = {int(f(values)) for values in support for f in (np.argmin, np.argmax)}
    return np.array([(x[i], y[i]) for i in sorted(picks)])


@functools.cache
def load_glyphs(split):
    """Return the handwritten digits of a split as ten lists of :class:`Glyph`; no digit is in two splits.

    Each class of scikit-learn's ``load_digits`` is divided in a fixed random order that depends on no argument.

    Example:
        >>> [sum(map(len, load_glyphs(split))) for split in SPLITS]
        [1078, 269, 450]
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.argsort(np.random.Generator(np.random.PCG64(2021)).random(len(data.target)), kind='stable')
    which = SPLITS.index(split)
    pools = []
    for digit in range(10):
        members = order[data.target[order] == digit]
        first, last = (round(sum(POOL_SHARES[:k]) * len(members)) for k in (which, which + 1))
        cells = [np.pad(data.images[i] / 16.0, 2) for i in members[first:last]]
        pools.append([Glyph(int(i), c, _hull(c)) for i, c in zip(members[first:last], cells, strict=True)])
    return pools


@functools.lru_cache(maxsize=64)
def class_weights(classes, tail_exponent):
    """Return Zipf weights ``rank^-tail_exponent`` (sum 1) over a fixed random order of the classes, as a tuple."""
    count = len(CLASS_NAMES[classes])
    order = np.argsort(np.random.Generator(np.random.PCG64(80)).random(count), kind='stable')
    weights = [0.0] * count
    for rank, label in enumerate(order.tolist(), start=1):
        weights[label] = rank**-tail_exponent
    total = fsum(weights)
    return tuple(w / total for w in weights)


@functools.lru_cache(maxsize=64)
def label_count_cdf(mean_labels):
    """Return the cumulative probabilities of 1 … ``MAX_LABELS`` labels.

    The number of labels is 1 plus a truncated Poisson number, and its mean is ``mean_labels``.

    Example:
        >>> cdf = label_count_cdf(2.9)
        >>> round(MAX_LABELS - sum(cdf[:-1]), 9)
        2.9
    """

    def pmf(rate):
        terms = list(accumulate(range(1, MAX_LABELS), lambda term, k: term * rate / k, initial=1.0))
        return [term / fsum(terms) for term in terms]

    low, high = 0.0, 100.0
    for _ in range(80):
        middle = (low + high) / 2
        if 1 + sum(k * p for k, p in enumerate(pmf(middle))) < mean_labels:
            low = middle
        else:
            high = middle
    return tuple(accumulate(pmf(low)))


@functools.lru_cache(maxsize=64)
def _class_cdf(classes, tail_exponent):
    return tuple(accumulate(class_weights(classes, tail_exponent)))


def _distinct_labels(spec, uniform):
    """Return the labels of a scene in random order, drawn without replacement by the class weights."""
    count = len(CLASS_NAMES[spec.classes])
    if spec.single:  # balanced, as ImageNet is
        return [int(uniform() * count)]
    number = min(bisect_right(label_count_cdf(spec.mean_labels), uniform()), MAX_LABELS - 1) + 1
    cdf = _class_cdf(spec.classes, spec.tail_exponent)
    labels = []
    while len(labels) < number:
        label = min(bisect_right(cdf, uniform()), count - 1)
        if label not in labels:
            labels.append(label)
    return labels


def _covered(box, other):
    """Return the share of ``other`` that ``box`` covers."""
    x1, y1, x2, y2 = box
    u1, v1, u2, v2 = other
    if x1 >= u2 or u1 >= x2 or y1 >= v2 or v1 >= y2:
        return 0.0
    return (min(x2, u2) - max(x1, u1)) * (min(y2, v2) - max(y1, v1)) / ((u2 - u1) * (v2 - v1))


def _random_position(glyph, size, digits, covered, uniform):
    """Return a random affine map and box for ``glyph`` that leave the ``digits`` visible, or None if none is found."""
    height = size * (DIGIT_HEIGHT[0] + uniform() * (DIGIT_HEIGHT[1] - DIGIT_HEIGHT[0]))
    wide, slant, tilt = 0.9 + 0.4 * uniform(), 0.5 * uniform() - 0.25, 0.24 * uniform() - 0.12
    hull_x, hull_y = glyph.hull[:, 0], glyph.hull[:, 1]
    xs, ys = wide * hull_x + slant * hull_y, tilt * hull_x + hull_y
    left, right, top, bottom = float(xs.min()), float(xs.max()), float(ys.min()), float(ys.max())
    while True:
        s = height / 8.0
        for _ in range(12):
            cx = 1 - s * left + uniform() * (size - 2 - s * (right - left))
            cy = 1 - s * top + uniform() * (size - 2 - s * (bottom - top))
            box = (floor(cx + s * left), floor(cy + s * top), ceil(cx + s * right), ceil(cy + s * bottom))
            shares = []
            for other, old in zip(digits, covered, strict=True):
                shares.append(old + _covered(box, other.box))
                if shares[-1] > MAX_COVERED:
                    break
            else:
                covered[:] = [*shares, 0.0]
                return (cx, cy, s * wide, s * slant, s * tilt, s), box
        if height <= size * MIN_HEIGHT:
            return None
        height = max(0.85 * height, size * MIN_HEIGHT)


def sample_layout(spec, index):
    """Return the labels and digits of scene ``index`` without its pixels.

    Example:
        >>> layout = sample_layout(SceneSpec(), 0)
        >>> sorted({digit.label for digit in layout.digits}) == layout.labels
        True
    """
    uniform = scene_rng(spec, index, LAYOUT).random
    pools = load_glyphs(spec.split)
    labels = _distinct_labels(spec, uniform)
    missing = sorted(label for label in labels if uniform() < spec.missing_rate)
    repeated = [] if spec.single else [label for label in labels if uniform() < 0.15]
    while True:  # repeats only if the scene is so full that a label finds no place
        digits, covered = [], []
        for label in labels + repeated:
            pool = pools[label % 10]
            glyph = pool[int(uniform() * len(pool))]
            colour = label // 10 if spec.classes == 'digit_colour' else int(uniform() * len(COLOURS))
            position = _random_position(glyph, spec.image_size, digits, covered, uniform)
            if position is not None:
                digits.append(Digit(label, glyph, colour, *position))
        if len({digit.label for digit in digits}) == len(labels):
            annotated = [digit for digit in digits if digit.label not in missing]
            if spec.missing_unit == 'box':
                uniform = scene_rng(spec, index, MISSING_BOXES).random
                annotated = [digit for digit in digits if uniform() >= spec.missing_rate]
                missing = sorted(set(labels) - {digit.label for digit in annotated})
            return Layout(digits, sorted(labels), missing, annotated)
