"""How MMEngine's FlexibleRunner spreads a model over processes."""

from mmasl.engine.strategies.fsdp_strategy import FSDPStrategy

__all__ = ['FSDPStrategy']
