"""Evaluation: pure calculation of the multi-label measures in ``functional``, and the MMEngine metrics."""

from mmasl.evaluation.frequency_group_metric import FrequencyGroupMetric
from mmasl.evaluation.functional import (
    average_precision,
    label_counts,
    multilabel_metrics,
    precision_recall_f1,
    probability_gap,
)
from mmasl.evaluation.multilabel_metric import MultiLabelMetric

__all__ = [
    'FrequencyGroupMetric',
    'MultiLabelMetric',
    'average_precision',
    'label_counts',
    'multilabel_metrics',
    'precision_recall_f1',
    'probability_gap',
]
