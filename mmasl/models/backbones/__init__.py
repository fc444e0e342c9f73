"""Backbones of this project; those that need MMPretrain (OFA-595, TIMMBackbone) are imported when they are named."""

from mmasl.models.backbones.digit_net import DigitNet

__all__ = ['DigitNet']
