"""Hooks for MMEngine's runners."""

from mmasl.engine.hooks.asymmetry_hook import AsymmetryHook
from mmasl.engine.hooks.check_model_hook import CheckModelHook
from mmasl.engine.hooks.exact_resume_hook import ExactResumeHook
from mmasl.engine.hooks.last_and_best_hook import LastAndBestHook
from mmasl.engine.hooks.probability_gap_hook import ProbabilityGapHook
from mmasl.engine.hooks.safe_checkpoint_hook import SafeCheckpointHook
from mmasl.engine.hooks.stop_at_nan_hook import StopAtNaNHook

__all__ = [
    'AsymmetryHook',
    'CheckModelHook',
    'ExactResumeHook',
    'LastAndBestHook',
    'ProbabilityGapHook',
    'SafeCheckpointHook',
    'StopAtNaNHook',
]
