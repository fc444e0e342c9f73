"""Asymmetric Loss (ASL, ICCV 2021) for OpenMMLab: registered losses, configs and tools.

The names of this package are imported on first use. The functions and losses need torch alone, and
``mmasl.check_env`` needs only the standard library. :mod:`mmasl.registry` finds the parts that register with MMEngine.
"""

from importlib import import_module

__version__ = '0.1.0'

# MMEngine reads a type that is in no registry as a Python path. So type='mmasl.AsymmetricQualityFocalLoss' imports
# MMDetection, and type='mmasl.OFA595' imports MMPretrain, only when a config names them. MMPretrain's registry of batch
# augmentations has no parent in MMEngine, so a child registry of ours would have to import MMPretrain.
_HOMES = {
    'asymmetric_loss': 'mmasl.functional',
    'asymmetric_quality_loss': 'mmasl.functional',
    'softmax_asymmetric_loss': 'mmasl.functional',
    'AdaptiveAsymmetricLoss': 'mmasl.models.losses',
    'AsymmetricLoss': 'mmasl.models.losses',
    'AsymmetricQualityLoss': 'mmasl.models.losses',
    'SoftmaxAsymmetricLoss': 'mmasl.models.losses',
    'AsymmetricQualityFocalLoss': 'mmasl.models.losses.asymmetric_quality_focal_loss',
    'IgnoreAwareCutMix': 'mmasl.models.batch_augments',
    'IgnoreAwareMixup': 'mmasl.models.batch_augments',
    'OFA595': 'mmasl.models.backbones.ofa595',
    'TIMMBackbone': 'mmasl.models.backbones.timm_backbone',
}
__all__ = ['__version__', *_HOMES]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
