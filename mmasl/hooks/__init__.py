"""Hooks for MMEngine's runners."""

from mmasl.hooks.check_model_hook import CheckModelHook

__all__ = ['CheckModelHook']
