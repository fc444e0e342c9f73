"""Draws the scenes of :class:`mmasl.datasets.DigitScenes`: background, clutter and digits.

It keeps the rules of :mod:`mmasl.datasets.digit_scenes.composer`, so the pixels are the same on any machine.
"""

from math import ceil, floor, sqrt

import numpy as np

from mmasl.datasets.digit_scenes.composer import (
    COLOURS,
    DIGIT_HEIGHT,
    INK,
    PIXELS,
    Glyph,
    bilinear,
    load_glyphs,
    sample_layout,
    scene_rng,
)

_PALETTE = np.array(list(COLOURS.values()), dtype=np.float64).reshape(-1, 3, 1, 1)


def _paint(image, box, alpha, colour):
    """Blend ``colour`` (3, 1, 1) into the ``box`` of ``image`` (3, H, W) with opacity ``alpha`` (h, w)."""
    x1, y1, x2, y2 = box
    region = image[:, y1:y2, x1:x2]
    region += alpha * (colour - region)


def glyph_opacity(glyph, affine, box):
    """Return the opacity (h, w) in [0, 1] of a glyph in the pixels of ``box`` (x1, y1, x2, y2)."""
    cx, cy, a, b, c, d = affine
    det = a * d - b * c
    x = (np.arange(box[0], box[2]) + (0.5 - cx))[None, :]
    y = (np.arange(box[1], box[3]) + (0.5 - cy))[:, None]
    u = (d / det * x - b / det * y + 5.5).clip(0.0, 10.999)
    v = (a / det * y - c / det * x + 5.5).clip(0.0, 10.999)
    return ((bilinear(glyph.cells, u, v) - INK) * 2.2).clip(0.0, 1.0)


def _background(size, rng):
    """Return a gradient between two dark colours with noise of random strength."""
    first, second = 10.0 + 95.0 * rng.random((2, 3, 1, 1))
    dx, dy = rng.random(2) - 0.5
    axis = np.arange(size) / size - 0.5
    ramp = (0.5 + dx * axis[None, :]) + dy * axis[:, None]
    strength = 10.0 + 50.0 * rng.random()
    return rng.random((3, size, size)) * strength + (ramp * (second - first) + (first - strength / 2))


def _clip_box(cx, cy, rx, ry, size):
    return max(floor(cx - rx), 0), max(floor(cy - ry), 0), min(ceil(cx + rx), size), min(ceil(cy + ry), size)


def _draw_blob(image, size, uniform, colour):
    """Draw a soft ellipse, which is filled and therefore looks like no digit."""
    cx, cy, rx, ry = (
        uniform() * size,
        uniform() * size,
        (0.04 + 0.1 * uniform()) * size,
        (0.04 + 0.1 * uniform()) * size,
    )
    box = _clip_box(cx, cy, rx, ry, size)
    x = (np.arange(box[0], box[2]) + (0.5 - cx)) / rx
    y = (np.arange(box[1], box[3]) + (0.5 - cy)) / ry
    alpha = (2.0 * (1.0 - (x * x)[None, :] - (y * y)[:, None])).clip(0.0, 0.3 + 0.5 * uniform())
    _paint(image, box, alpha, colour)


def _draw_fragment(image, size, uniform, colour, pools):
    """Draw one quarter of a handwritten digit other than 1, because a quarter of a 1 still looks like a 1."""
    pool = pools[(0, 2, 3, 4, 5, 6, 8, 9)[int(8 * uniform())]]
    glyph = pool[int(uniform() * len(pool))]
    quarter = np.zeros_like(glyph.cells)
    row, column = 2 + 4 * int(2 * uniform()), 2 + 4 * int(2 * uniform())
    quarter[row : row + 4, column : column + 4] = glyph.cells[row : row + 4, column : column + 4]
    s = (DIGIT_HEIGHT[0] + uniform() * (DIGIT_HEIGHT[1] - DIGIT_HEIGHT[0])) * size / 8.0
    tilt = 0.6 * uniform() - 0.3
    cx, cy = uniform() * size, uniform() * size
    mx, my = cx + s * (column - 3.5), cy + s * (row - 3.5)  # middle of the quarter
    box = _clip_box(mx, my, 3.2 * s, 3.2 * s, size)
    if box[0] < box[2] and box[1] < box[3]:
        alpha = glyph_opacity(Glyph(-1, quarter, glyph.hull), (cx, cy, s, -tilt * s, tilt * s, s), box)
        _paint(image, box, alpha, colour)


def _draw_line(image, size, uniform, colour):
    """Draw a thin, faint, straight line across the image."""
    x1, y1, dx, dy = uniform() * size, uniform() * size, uniform() - 0.5, uniform() - 0.5
    length = sqrt(max(dx * dx + dy * dy, 1e-6))
    axis = np.arange(size) + 0.5
    distance = np.abs(((axis - x1) * (dy / length))[None, :] - ((axis - y1) * (dx / length))[:, None])
    alpha = (0.5 + size / 96.0 - distance).clip(0.0, 0.2 + 0.3 * uniform())
    _paint(image, (0, 0, size, size), alpha, colour)


def render_scene(spec, index, layout=None):
    """Return the pixels of scene ``index``, uint8 (image_size, image_size, 3) in **RGB**.

    Example:
        >>> from mmasl.datasets.digit_scenes.composer import SceneSpec
        >>> render_scene(SceneSpec(image_size=64), 3).shape
        (64, 64, 3)
    """
    layout = layout or sample_layout(spec, index)
    rng = scene_rng(spec, index, PIXELS)
    uniform, size, pools = rng.random, spec.image_size, load_glyphs(spec.split)

    def jittered(colour):
        return _PALETTE[colour] * (0.78 + 0.27 * uniform()) + (44.0 * rng.random((3, 1, 1)) - 22.0)

    image = _background(size, rng)
    for _ in range(int(4 * uniform())):
        _draw_blob(image, size, uniform, jittered(int(8 * uniform())))
    for _ in range(int(4 * uniform())):
        _draw_fragment(image, size, uniform, jittered(int(8 * uniform())), pools)
    for digit in layout.digits:
        alpha = glyph_opacity(digit.glyph, digit.affine, digit.box)
        _paint(image, digit.box, alpha * (0.75 + 0.25 * uniform()), jittered(digit.colour))
    for _ in range(int(3 * uniform())):
        _draw_line(image, size, uniform, 255.0 * rng.random((3, 1, 1)))
    return np.ascontiguousarray((image + 0.5).clip(0.0, 255.0).astype(np.uint8).transpose(1, 2, 0))
