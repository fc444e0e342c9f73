"""Asymmetric Loss (ASL, ICCV 2021) for OpenMMLab: registered losses, configs and tools.

Importing this package needs torch alone. The parts that register themselves with MMEngine are imported on first
use by :mod:`mmasl.registry`.
"""

from mmasl.functional import asymmetric_loss

__version__ = '0.1.0'
__all__ = ['__version__', 'asymmetric_loss']


def __getattr__(name: str):
    """Import MMPretrain's ignore-aware batch augmentations on first use.

    MMPretrain's registry of them has no MMEngine parent, so a node of ours could only hang on it after importing
    MMPretrain. MMEngine also takes a type for a Python path, which makes ``type='mmasl.IgnoreAwareMixup'`` work so.
    """
    if name in ('IgnoreAwareCutMix', 'IgnoreAwareMixup'):
        from mmasl import batch_augments

        return getattr(batch_augments, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
