"""Complete models for inputs that MMPretrain's classifiers do not take."""

from mmasl.models.classifiers.feature_classifier import FeatureClassifier

__all__ = ['FeatureClassifier']
