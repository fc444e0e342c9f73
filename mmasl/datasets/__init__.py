"""Datasets, registered in :data:`mmasl.registry.DATASETS`.

The classes for published classification data extend those of MMPretrain, so they exist only if MMPretrain is installed.
"""

from importlib.util import find_spec

from mmasl.datasets.digit_scenes import DigitScenes
from mmasl.datasets.features import Features
from mmasl.datasets.missing_labels import MissingLabels

__all__ = ['DigitScenes', 'Features', 'MissingLabels']

if find_spec('mmpretrain') is not None:
    from mmasl.datasets.coco_multi_label import CocoMultiLabel
    from mmasl.datasets.csv_multi_label import CSVMultiLabel
    from mmasl.datasets.herbarium import Herbarium2020
    from mmasl.datasets.nus_wide import NUSWIDE
    from mmasl.datasets.open_images import OpenImages
    from mmasl.datasets.voc_multi_label import VOCMultiLabel

    __all__ += ['CSVMultiLabel', 'CocoMultiLabel', 'Herbarium2020', 'NUSWIDE', 'OpenImages', 'VOCMultiLabel']
