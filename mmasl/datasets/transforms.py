"""The image transforms of the authors that differ from those of MMPretrain and MMCV.

``RandAugment`` is that of the package ``randaugment``, which the authors use.
"""

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from PIL import Image, ImageEnhance, ImageOps
from torch.nn.functional import interpolate

from mmasl.registry import TRANSFORMS

__all__ = ['Cutout', 'RandAugment', 'SquishResize']


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


GRAY = (128, 128, 128)


def _affine(image, matrix, resample=Image.Resampling.NEAREST):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample, fillcolor=GRAY)


def _enhance(kind):
    return lambda image, change: kind(image).enhance(1 + change)


def _cutout(image, size):
    """Draw a square of a fixed color, at most 20 pixels wide, around a random point."""
    (width, height), half = image.size, int(size) // 2
    x, y = np.random.randint(width), np.random.randint(height)
    image = image.copy()
    image.paste((125, 122, 113), (max(x - half, 0), max(y - half, 0), min(x + half, width), min(y + half, height)))
    return image


# Each operation has its magnitudes at levels 0 ... 9, a flag for a random sign, and a function of an RGB image.
OPERATIONS = {
    'Invert': (np.zeros(10), False, lambda image, _: ImageOps.invert(image)),
    'Cutout': (np.linspace(0, 20, 10).round(), False, _cutout),
    'Sharpness': (np.linspace(0, 0.9, 10), True, _enhance(ImageEnhance.Sharpness)),
    'AutoContrast': (np.zeros(10), False, lambda image, _: ImageOps.autocontrast(image)),
    'Posterize': (np.linspace(8, 4, 10).round(), False, lambda image, bits: ImageOps.posterize(image, int(bits))),
    'ShearX': (np.linspace(0, 0.3, 10), True, lambda im, s: _affine(im, (1, s, 0, 0, 1, 0), Image.Resampling.BICUBIC)),
    'TranslateX': (np.linspace(0, 150 / 331, 10), True, lambda im, s: _affine(im, (1, 0, s * im.width, 0, 1, 0))),
    'TranslateY': (np.linspace(0, 150 / 331, 10), True, lambda im, s: _affine(im, (1, 0, 0, 0, 1, s * im.height))),
    'ShearY': (np.linspace(0, 0.3, 10), True, lambda im, s: _affine(im, (1, 0, 0, s, 1, 0), Image.Resampling.BICUBIC)),
    # always counterclockwise, as in the package
    'Rotate': (np.linspace(0, 30, 10), False, lambda image, angle: image.rotate(angle, fillcolor=GRAY)),
    'Equalize': (np.zeros(10), False, lambda image, _: ImageOps.equalize(image)),
    'Contrast': (np.linspace(0, 0.9, 10), True, _enhance(ImageEnhance.Contrast)),
    'Color': (np.linspace(0, 0.9, 10), True, _enhance(ImageEnhance.Color)),
    'Solarize': (np.linspace(256, 0, 10), False, lambda image, threshold: ImageOps.solarize(image, threshold)),
    'Brightness': (np.linspace(0, 0.9, 10), True, _enhance(ImageEnhance.Brightness)),
}


@TRANSFORMS.register_module()
class RandAugment(BaseTransform):
    """Apply ``num_ops`` random operations, each with probability ``prob`` and at its own random level from 1 to 9.

    The fifteen operations, their magnitudes and their pixels are bit by bit those of the package ``randaugment`` 1.0.2,
    which the authors' script imports. MMPretrain's ``RandAugment`` draws other operations: it has one level for all
    operations (or a continuous one), SolarizeAdd in place of Cutout, both directions of rotation, posterizing down to 0
    bits, and rotations with a blue border (its 128 reaches OpenCV as (128, 0, 0)). At equal magnitudes, its operations
    agree with these up to one gray value on average; its Equalize and AutoContrast take over thirty times as long. The
    transform reads and writes ``img`` in BGR, as MMCV loads it, and uses NumPy's global random numbers, as MMPretrain's
    transforms do.

    Args:
        num_ops (int): Number of operations, drawn with repetition, at least 1.
        prob (float): Probability in [0, 1] that a drawn operation is applied.

    Raises:
        ValueError: If an argument is outside its range.

    Example:
        >>> np.random.seed(0)
        >>> image = np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 64, 3))
        >>> augmented = RandAugment(num_ops=4, prob=1.0)(dict(img=image))['img']
        >>> augmented.shape, augmented.dtype, bool((augmented != image).any())
        ((64, 64, 3), dtype('uint8'), True)
    """

    def __init__(self, num_ops: int = 2, prob: float = 0.5) -> None:
        if num_ops < 1:
            raise ValueError(f'num_ops: expected an integer of at least 1, got {num_ops}')
        if not 0 <= prob <= 1:
            raise ValueError(f'prob: expected a number in [0, 1], got {prob}')
        self.num_ops = num_ops
        self.prob = prob

    def transform(self, results: dict) -> dict:
        names = [str(name) for name in np.random.choice(list(OPERATIONS), self.num_ops)]
        chosen = [name for name in names if np.random.rand() < self.prob]
        if not chosen:
            return results
        image = Image.fromarray(cv2.cvtColor(results['img'], cv2.COLOR_BGR2RGB))
        for name in chosen:
            image = apply_operation(image, name, np.random.randint(1, 10))
        results['img'] = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_ops={self.num_ops}, prob={self.prob})'


def apply_operation(image: Image.Image, name: str, level: int) -> Image.Image:
    """Apply one operation to an RGB image.

    Args:
        image: RGB image of any size.
        name: Key of ``OPERATIONS``.
        level: Integer from 0 to 9.

    Returns:
        A new image of the same size.
    """
    magnitudes, signed, operation = OPERATIONS[name]
    sign = np.random.choice((-1, 1)) if signed else 1
    return operation(image, sign * magnitudes[level])


@TRANSFORMS.register_module()
class SquishResize(BaseTransform):
    """Resize an image to ``scale`` without crop or padding, as torchvision's ``Resize(scale)`` of a Pillow image does.

    The filter is bilinear with antialiasing. MMCV's ``Resize(scale, backend='pillow')`` agrees up to one gray value of
    rounding and takes several times as long. MMCV's default backend has no antialiasing, so a network that was trained
    with antialiasing would see different images. The transform reads ``img`` and writes ``img``, ``img_shape``,
    ``scale``, ``scale_factor`` and ``keep_ratio``.

    Args:
        scale (int | tuple[int, int]): Width and height above 0, or one number for both.

    Raises:
        ValueError: If a side is below 1, or when called with an image that is not 8-bit.

    Example:
        >>> import numpy as np
        >>> results = SquishResize(448)(dict(img=np.zeros((480, 640, 3), np.uint8)))
        >>> results['img'].shape, results['scale_factor']
        ((448, 448, 3), (0.7, 0.9333333333333333))
    """

    def __init__(self, scale: int | tuple[int, int]) -> None:
        self.scale = (scale, scale) if isinstance(scale, int) else tuple(scale)
        if len(self.scale) != 2 or min(self.scale) < 1:
            raise ValueError(f'scale: expected a width and a height above 0, got {scale}')

    def transform(self, results: dict) -> dict:
        image = results['img']
        if image.dtype != 'uint8':
            raise ValueError(f"results['img']: expected dtype uint8, got {image.dtype}")
        (width, height), (old_height, old_width) = self.scale, image.shape[:2]
        # The batch dimension is added first and so gets the stride of an image. Otherwise torch writes the result in
        # planes, and writing and reordering these takes longer than the resizing.
        pixels = torch.from_numpy(image)[None].permute(0, 3, 1, 2)
        pixels = interpolate(pixels, (height, width), mode='bilinear', antialias=True)
        results.update(
            img=pixels[0].permute(1, 2, 0).contiguous().numpy(),
            img_shape=(height, width),
            scale=self.scale,
            scale_factor=(width / old_width, height / old_height),
            keep_ratio=False,
        )
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(scale={self.scale})'
