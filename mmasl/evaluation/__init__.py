"""Multi-label evaluation: pure calculation in ``functional`` and the MMEngine metric that reports it."""

from mmasl.evaluation.functional import (
    average_precision,
    label_counts,
    multilabel_metrics,
    precision_recall_f1,
    probability_gap,
)
from mmasl.evaluation.multilabel_metric import MultiLabelMetric

__all__ = [
    'MultiLabelMetric',
    'average_precision',
    'label_counts',
    'multilabel_metrics',
    'precision_recall_f1',
    'probability_gap',
]
