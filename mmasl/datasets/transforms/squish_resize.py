"""Resizing to a fixed size that ignores the aspect ratio and gives the same pixels as Pillow."""

import torch
from mmcv.transforms import BaseTransform
from torch.nn.functional import interpolate

from mmasl.registry import TRANSFORMS


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
