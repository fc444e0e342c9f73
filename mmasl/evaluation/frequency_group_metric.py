"""The MMEngine metric ``mmasl.FrequencyGroupMetric`` for long-tailed single-label data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import DATASETS

from mmasl.registry import METRICS


@METRICS.register_module()
class FrequencyGroupMetric(BaseMetric):
    r"""Accuracy and macro-F1 of single-label classification, overall and by each class's frequency in training.

    .. math:: F1 = \frac{1}{C} \sum_c \frac{2 TP_c}{M_c + P_c}

    Here :math:`M_c` counts the predicted and :math:`P_c` the true labels of class c. Herbarium 2020 uses this measure.
    The means leave out classes that do not occur in the evaluated data, and the metric leaves out a group without
    classes.

    The keys, in percent, are ``accuracy``, ``macro_f1``, and ``f1_few``, ``f1_medium`` and ``f1_many``, which are the
    same mean over the classes of a group.

    Args:
        train_dataset: Config of the training set. The metric counts its labels and reads no image.
        bounds: A class with fewer training images than the first bound belongs to the group "few", and a class with at
            least as many as the second bound to the group "many". The default is the project's choice.
        collect_device, prefix, collect_dir: See :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        ValueError: If ``bounds`` do not rise, or a sample does not have exactly one true and one predicted label.

    Example:
        >>> from mmengine.evaluator import Evaluator
        >>> data = dict(type='mmasl.DigitScenes', single=True, num_scenes=1000)
        >>> metric = Evaluator(dict(type='mmasl.FrequencyGroupMetric', train_dataset=data, bounds=(5, 10)))
        >>> metric.process([dict(pred_label=0, gt_label=0), dict(pred_label=1, gt_label=0)])
        >>> round(metric.evaluate(2)['frequency/macro_f1'], 1)
        66.7
    """

    default_prefix = 'frequency'

    def __init__(
        self,
        train_dataset: dict,
        bounds: Sequence[int] = (20, 100),
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ):
        if len(bounds) != 2 or not 0 < bounds[0] < bounds[1]:
            raise ValueError(f'bounds: expected two rising numbers of images above 0, got {bounds!r}')
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        dataset = DATASETS.build({**train_dataset, 'pipeline': []})
        labels = [label for index in range(len(dataset)) for label in dataset.get_cat_ids(index)]
        images = np.bincount(labels, minlength=len(dataset.metainfo['classes']))
        few, many = images < bounds[0], images >= bounds[1]
        self.groups = dict(few=few, medium=~few & ~many, many=many)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the true and the predicted class of each sample of ``data_samples``."""
        for sample in data_samples:
            labels = [np.asarray(sample[key]).reshape(-1) for key in ('gt_label', 'pred_label')]
            if any(len(label) != 1 for label in labels):
                raise ValueError(
                    f'gt_label and pred_label: expected one label in each, got {labels[0]} and {labels[1]}'
                )
            self.results.append(tuple(int(label[0]) for label in labels))

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Compute the measures from the pairs of true and predicted class of all processes."""
        truth, predicted = np.array(results).T
        classes = len(self.groups['few'])
        hits, true, called = (np.bincount(x, minlength=classes) for x in (truth[truth == predicted], truth, predicted))
        f1 = 100 * 2 * hits / np.maximum(true + called, 1)
        there = true > 0
        measures = dict(accuracy=100 * float(np.mean(truth == predicted)), macro_f1=float(f1[there].mean()))
        for name, group in self.groups.items():
            if (group & there).any():
                measures[f'f1_{name}'] = float(f1[group & there].mean())
        return measures
