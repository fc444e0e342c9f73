"""What a user calls from Python."""

from mmasl.apis.model_hub import register_models

__all__ = ['register_models']
