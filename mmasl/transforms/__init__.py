"""The authors' image transforms, where upstream's are something else."""

from mmasl.transforms.cutout import Cutout
from mmasl.transforms.rand_augment import RandAugment
from mmasl.transforms.squish_resize import SquishResize

__all__ = ['Cutout', 'RandAugment', 'SquishResize']
