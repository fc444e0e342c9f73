"""The RandAugment of the authors' script, which comes from the package ``randaugment``."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, ImageEnhance, ImageOps

from mmasl.registry import TRANSFORMS

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
            image = apply(image, name, np.random.randint(1, 10))
        results['img'] = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_ops={self.num_ops}, prob={self.prob})'


def apply(image: Image.Image, name: str, level: int) -> Image.Image:
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
