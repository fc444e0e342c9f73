"""Losses, backbones, classifiers and batch augmentations: what MMPretrain and MMDetection call models."""
