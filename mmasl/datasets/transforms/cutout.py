"""The Cutout of the authors' script."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmasl.registry import TRANSFORMS


@TRANSFORMS.register_module()
class Cutout(BaseTransform):
    """Fill a rectangle in every image with one random color.

    The sides of the rectangle are ``factor`` times those of the image. Its center is uniform over the image and the
    part outside is cut off, so ``factor`` 0.5 covers 19 % of the pixels on average. MMPretrain's ``Cutout`` has a fixed
    color and a size in pixels. The transform reads and writes ``img`` and uses NumPy's global random numbers, as
    MMPretrain's transforms do.

    Args:
        factor (float): Sides of the rectangle relative to the image's, above 0, at most 1.

    Raises:
        ValueError: If ``factor`` is outside its range.

    Example:
        >>> image = np.full((448, 448, 3), 255, np.uint8)
        >>> np.random.seed(0)
        >>> covered = (Cutout(factor=0.5)(dict(img=image))['img'] != 255).any(axis=-1)
        >>> covered.shape, round(float(covered.mean()), 2)
        ((448, 448), 0.18)
    """

    def __init__(self, factor: float = 0.5) -> None:
        if not 0 < factor <= 1:
            raise ValueError(f'factor: expected a number above 0, at most 1, got {factor}')
        self.factor = factor

    def transform(self, results: dict) -> dict:
        image = results['img'].copy()
        spans = []
        for side in image.shape[:2]:
            half = int(self.factor * side + 0.5) // 2
            center = np.random.randint(side)
            # Both ends are filled, because Pillow draws the authors' rectangle in this way.
            spans.append((max(center - half, 0), center + half))
        (top, bottom), (left, right) = spans
        color = np.random.randint(256, size=image.shape[2:]).tolist()
        # OpenCV is many times faster than NumPy at repeating three values.
        cv2.rectangle(image, (left, top), (right, bottom), color, cv2.FILLED)
        results['img'] = image
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(factor={self.factor})'
