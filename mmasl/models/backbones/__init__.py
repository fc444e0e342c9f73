"""Backbones that come with the project; OFA-595 is made of MMPretrain's parts and imported when it is named."""

from mmasl.models.backbones.digit_net import DigitNet

__all__ = ['DigitNet']
