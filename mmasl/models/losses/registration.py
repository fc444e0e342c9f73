"""Registers the losses, which need torch alone; the registry imports this module when a config names a loss."""

from mmasl.models import losses
from mmasl.registry import MODELS

for name in losses.__all__:
    MODELS.register_module(module=getattr(losses, name))
