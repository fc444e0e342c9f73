"""Hooks for MMEngine's runners."""

from mmasl.hooks.asymmetry_hook import AsymmetryHook
from mmasl.hooks.check_model_hook import CheckModelHook
from mmasl.hooks.exact_resume_hook import ExactResumeHook
from mmasl.hooks.probability_gap_hook import ProbabilityGapHook

__all__ = ['AsymmetryHook', 'CheckModelHook', 'ExactResumeHook', 'ProbabilityGapHook']
