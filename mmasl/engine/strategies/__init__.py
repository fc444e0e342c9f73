"""Strategies by which MMEngine's FlexibleRunner distributes a model over processes."""

from mmasl.engine.strategies.fsdp_strategy import FSDPStrategy

__all__ = ['FSDPStrategy']
