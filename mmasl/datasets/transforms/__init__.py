"""The image transforms of the authors that differ from those of MMPretrain and MMCV."""

from mmasl.datasets.transforms.cutout import Cutout
from mmasl.datasets.transforms.rand_augment import RandAugment
from mmasl.datasets.transforms.squish_resize import SquishResize

__all__ = ['Cutout', 'RandAugment', 'SquishResize']
