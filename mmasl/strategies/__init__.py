"""How MMEngine's FlexibleRunner spreads a model over processes."""

from mmasl.strategies.fsdp_strategy import FSDPStrategy

__all__ = ['FSDPStrategy']
