"""Datasets, registered in :data:`mmasl.registry.DATASETS`."""

from mmasl.datasets.digit_scenes import DigitScenes

__all__ = ['DigitScenes']
