"""Losses, backbones, classifiers and batch augmentations, which MMPretrain and MMDetection call models."""
