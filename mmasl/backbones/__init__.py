"""Backbones that come with the project; OFA-595 is made of MMPretrain's parts, so it is there where MMPretrain is."""

from importlib.util import find_spec

from mmasl.backbones.digit_net import DigitNet

__all__ = ['DigitNet']

if find_spec('mmpretrain') is not None:
    from mmasl.backbones.ofa595 import OFA595

    __all__ += ['OFA595']
