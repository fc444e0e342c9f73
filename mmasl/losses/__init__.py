"""Registered losses: modules that hold parameters and forward to :mod:`mmasl.functional`."""

from mmasl.losses.asymmetric_loss import AsymmetricLoss

__all__ = ['AsymmetricLoss']
