"""Hooks for MMEngine's runners."""

from mmasl.hooks.check_model_hook import CheckModelHook
from mmasl.hooks.exact_resume_hook import ExactResumeHook

__all__ = ['CheckModelHook', 'ExactResumeHook']
