"""Whole models, where MMPretrain's parts do not suffice."""

from mmasl.models.classifiers.feature_classifier import FeatureClassifier

__all__ = ['FeatureClassifier']
