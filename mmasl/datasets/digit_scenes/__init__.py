"""DigitScenes: the data set, the composer that decides what a scene shows, and the renderer that draws it."""

from mmasl.datasets.digit_scenes.dataset import DigitScenes

__all__ = ['DigitScenes']
