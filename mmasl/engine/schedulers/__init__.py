"""Schedulers of the learning rate and the momentum."""

from mmasl.engine.schedulers.one_cycle import OneCycleLR, OneCycleMomentum

__all__ = ['OneCycleLR', 'OneCycleMomentum']
