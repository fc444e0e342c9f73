"""DigitScenes: the data set, the composer, which decides what a scene shows, and the renderer, which draws it."""

from mmasl.datasets.digit_scenes.dataset import DigitScenes

__all__ = ['DigitScenes']
