"""Backbones that come with the project."""

from mmasl.backbones.digit_net import DigitNet

__all__ = ['DigitNet']
