"""The authors' image transforms, where upstream's are something else."""

from mmasl.datasets.transforms.cutout import Cutout
from mmasl.datasets.transforms.rand_augment import RandAugment
from mmasl.datasets.transforms.squish_resize import SquishResize

__all__ = ['Cutout', 'RandAugment', 'SquishResize']
