"""Evaluation: the multi-label measures and the thresholds as pure functions, and the metrics of MMEngine.

The metrics are imported on first use; all else needs NumPy alone.
"""

from importlib import import_module

from mmasl.evaluation.functional import (
    average_precision,
    label_counts,
    multilabel_metrics,
    precision_recall_f1,
    probability_gap,
)
from mmasl.evaluation.thresholds import choose_thresholds, read_thresholds

_METRICS = {'FrequencyGroupMetric': 'frequency_group_metric', 'MultiLabelMetric': 'multilabel_metric'}

__all__ = [
    *_METRICS,
    'average_precision',
    'choose_thresholds',
    'label_counts',
    'multilabel_metrics',
    'precision_recall_f1',
    'probability_gap',
    'read_thresholds',
]


def __getattr__(name: str):
    if name not in _METRICS:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = globals()[name] = getattr(import_module(f'{__name__}.{_METRICS[name]}'), name)
    return value
