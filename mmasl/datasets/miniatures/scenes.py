"""The pictures of the miniatures: scenes of :class:`mmasl.datasets.DigitScenes` with the shapes of photographs."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmasl.datasets.digit_scenes.composer import CLASS_NAMES, Layout, SceneSpec, sample_layout
from mmasl.datasets.digit_scenes.renderer import render_scene

SPLITS = ('train', 'val', 'test')
CLASSES = CLASS_NAMES['digit_colour']


class Size(NamedTuple):
    """The size of a miniature: images per split, the shorter side of an image in pixels, and the seed of the scenes."""

    train: int = 64
    val: int = 32
    test: int = 32
    side: int = 96
    seed: int = 0


class Scene(NamedTuple):
    """A picture: ``image`` (H, W, 3) uint8 RGB, and the class and the box (x1, y1, x2, y2) in pixels of each digit."""

    image: np.ndarray
    labels: list[int]
    boxes: list[tuple[int, int, int, int]]


def scenes(split: str, size: Size, num_classes: int = len(CLASSES), **spec) -> Iterator[Scene]:
    """Yield the scenes of ``split``, alternating between 4:3 and 3:4, with each class taken modulo ``num_classes``.

    Example:
        >>> shapes = [scene.image.shape for scene in scenes('val', Size(val=2))]
        >>> shapes
        [(96, 128, 3), (128, 96, 3)]
    """
    spec = SceneSpec(split=split, image_size=size.side, seed=size.seed, **spec)
    for index in range(getattr(size, split)):
        layout = sample_layout(spec, index)
        labels = [digit.label % num_classes for digit in layout.digits]
        yield Scene(_photo(spec, index, layout), labels, [digit.box for digit in layout.digits])


def unlabelled_scene(split: str, size: Size) -> Scene:
    """Return a picture without a digit."""
    spec = SceneSpec(split=split, image_size=size.side, seed=size.seed)
    return Scene(_photo(spec, getattr(size, split), Layout([], [], [], [])), [], [])


def write_jpeg(path: Path, scene: Scene) -> None:
    """Write the picture of ``scene``, and make its folder if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene.image).save(path, quality=95)


def _photo(spec: SceneSpec, index: int, layout: Layout) -> np.ndarray:
    """Return the square scene with its last row or column repeated, which does not move the boxes."""
    more = spec.image_size // 3
    margins = ((0, 0), (0, more), (0, 0)) if index % 2 == 0 else ((0, more), (0, 0), (0, 0))
    return np.pad(render_scene(spec, index, layout), margins, mode='edge')
