"""Hooks for MMEngine's runners."""

from mmasl.hooks.asymmetry_hook import AsymmetryHook
from mmasl.hooks.check_classes_hook import CheckClassesHook
from mmasl.hooks.check_model_hook import CheckModelHook
from mmasl.hooks.exact_resume_hook import ExactResumeHook
from mmasl.hooks.last_and_best_hook import LastAndBestHook
from mmasl.hooks.probability_gap_hook import ProbabilityGapHook
from mmasl.hooks.safe_checkpoint_hook import SafeCheckpointHook
from mmasl.hooks.stop_at_nan_hook import StopAtNaNHook

__all__ = [
    'AsymmetryHook',
    'CheckClassesHook',
    'CheckModelHook',
    'ExactResumeHook',
    'LastAndBestHook',
    'ProbabilityGapHook',
    'SafeCheckpointHook',
    'StopAtNaNHook',
]
