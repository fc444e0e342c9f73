"""``MissingLabels``: a data set from which some positive labels or boxes are removed."""

import numbers

import numpy as np
from mmengine.dataset import BaseDataset

from mmasl.registry import DATASETS

UNITS = ('label', 'box')


@DATASETS.register_module()
class MissingLabels:
    """Removes some of the positive labels of a training set, as in partially annotated data.

    It wraps any multi-label data set of MMPretrain and any data set of MMDetection; the arguments are those of
    :class:`mmasl.datasets.DigitScenes`. Other wrappers (``ConcatDataset``, ``RepeatDataset``, ...) go around it and not
    into it. The labels that a sample loses depend only on ``seed`` and its index, not on
    workers or access order. Labels that are missing at one rate are missing at every higher rate. All images stay, even
    those without any label left. A missing label becomes a negative: it is removed from ``gt_label`` and from the lists
    like it (``gt_label_small``, ...), is 0 in ``gt_score``, and all boxes of its class are removed from ``instances``.

    ::

        train_dataloader = dict(
            dataset=dict(type='mmasl.MissingLabels', missing_rate=0.4, dataset=dict(...))
        )

    Args:
        dataset (dict | BaseDataset): The training set; its ``test_mode`` must be False.
        missing_rate (float): Probability in [0, 1) that a positive label is missing, independently for each.
        missing_unit (str): 'label', or 'box' to remove each box independently of all others.
        seed (int): 0 to 2**32 − 1. Another seed removes other labels.

    Raises:
        ValueError: If an argument is out of range, the data set is in test mode or is itself a wrapper, or a sample has
            no labels to remove (with ``missing_unit='box'``, no boxes).

    Example:
        >>> import tempfile
        >>> from mmasl.datasets import CocoMultiLabel
        >>> from mmasl.datasets.miniatures import make_miniature
        >>> root = str(make_miniature('coco', tempfile.mkdtemp()))
        >>> file = 'annotations/instances_train2014.json'
        >>> complete = CocoMultiLabel(file, data_root=root, data_prefix='train2014')
        >>> complete.get_data_info(1)['gt_label']
        [1, 2, 56]
        >>> MissingLabels(complete, missing_rate=0.6).get_data_info(1)['gt_label']
        [1, 56]
    """

    def __init__(self, dataset, missing_rate: float = 0.0, missing_unit: str = 'label', seed: int = 0):
        check_missing(missing_rate, missing_unit)
        if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or not 0 <= seed < 2**32:
            raise ValueError(f'seed must be an integer from 0 to {2**32 - 1}, got {seed!r}')
        self.missing_rate, self.missing_unit, self.seed = missing_rate, missing_unit, int(seed)
        self.dataset: BaseDataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        if missing_rate and getattr(self.dataset, 'test_mode', False):
            raise ValueError(
                f'missing_rate is for training only, got {missing_rate} for a data set with test_mode=True'
            )
        if missing_rate and (hasattr(self.dataset, 'dataset') or hasattr(self.dataset, 'datasets')):
            raise ValueError(
                f'missing_rate: {self._name} is a wrapper and reads the samples of its own data sets: put '
                f'MissingLabels inside, around each of them, and {self._name} around it'
            )
        if missing_rate:
            self.dataset.get_data_info = self.get_data_info  # its pipeline and its get_cat_ids read this
            self.get_data_info(0)

    def get_data_info(self, idx: int) -> dict:
        """Return the sample ``idx`` as the pipeline receives it, without the missing labels.

        Raises:
            ValueError: If the sample has no labels or no boxes to remove.
        """
        info = type(self.dataset).get_data_info(self.dataset, idx)
        if not self.missing_rate:
            return info
        boxes, score, label = info.get('instances'), info.get('gt_score'), info.get('gt_label')
        if 'gt_bboxes' in info:
            raise ValueError(
                f'{self._name} has loaded its boxes before its pipeline: it needs a missing_rate of its own'
            )
        if self.missing_unit == 'box' and boxes is None:
            raise ValueError(f"missing_unit='box': {self._name} has no boxes to drop (no 'instances' in its samples)")
        if boxes is None and score is None and not isinstance(label, list | tuple | set | np.ndarray):
            raise ValueError(
                f"missing_rate: {self._name} has no labels to drop: expected a list of labels in 'gt_label', "
                f"'gt_score' or 'instances', got gt_label={label!r}"
            )
        key = [self.seed, idx % len(self.dataset), UNITS.index(self.missing_unit)]
        uniform = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key))).random
        if self.missing_unit == 'box':
            kept = [box for box in boxes if uniform() >= self.missing_rate]
            missing = {box['bbox_label'] for box in boxes} - {box['bbox_label'] for box in kept}
        else:
            labels = {box['bbox_label'] for box in boxes or ()}.union(() if label is None else label)
            labels.update(() if score is None else np.flatnonzero(score > 0).tolist())
            missing = {c for c in sorted(labels) if uniform() < self.missing_rate}
            kept = [box for box in boxes or () if box['bbox_label'] not in missing]
        if boxes is not None:
            info['instances'] = kept
        if score is not None:
            info['gt_score'] = score.copy()
            info['gt_score'][sorted(missing)] = 0
        for name, value in info.items():
            if name.startswith('gt_label') and value is not None:
                info[name] = [c for c in value if c not in missing]
        return info

    @property
    def _name(self) -> str:
        return type(self.dataset).__name__

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int):
        return self.dataset[idx]

    def __getattr__(self, name: str):
        """Return any other attribute of the data set: ``metainfo``, ``full_init``, ``get_cat_ids``, ..."""
        if name == 'dataset' or name.startswith('__'):  # during unpickling the wrapper has no data set yet
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value) -> None:
        """Set any other attribute of the data set: hooks of MMDetection exchange its ``pipeline``."""
        if 'dataset' in vars(self) and name not in vars(self):
            setattr(self.dataset, name, value)
        else:
            super().__setattr__(name, value)


def check_missing(missing_rate: float, missing_unit: str) -> None:
    """Raise ``ValueError`` unless these are valid arguments of :class:`MissingLabels`."""
    if missing_unit not in UNITS:
        raise ValueError(f'missing_unit must be one of {UNITS}, got {missing_unit!r}')
    number = isinstance(missing_rate, numbers.Real) and not isinstance(missing_rate, bool)
    if not number or not 0 <= missing_rate < 1:
        raise ValueError(f'missing_rate must be a number from 0 to less than 1, got {missing_rate!r}')
