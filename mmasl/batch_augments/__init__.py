"""MMPretrain's batch augmentations that leave ignored labels ignored."""

from mmasl.batch_augments.ignore_aware import IgnoreAwareCutMix, IgnoreAwareMixup

__all__ = ['IgnoreAwareCutMix', 'IgnoreAwareMixup']
