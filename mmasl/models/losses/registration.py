"""Registers the losses, which themselves need torch alone: what the registry imports when a config names one."""

from mmasl.models import losses
from mmasl.registry import MODELS

for name in losses.__all__:
    MODELS.register_module(module=getattr(losses, name))
