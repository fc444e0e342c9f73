"""Asymmetric Loss (ASL, ICCV 2021) for OpenMMLab: registered losses, configs and tools.

What is named here is imported on first use: the functions and losses need torch alone, ``mmasl.check_env`` not even
that, and the parts that register themselves with MMEngine are found by :mod:`mmasl.registry`.
"""

from importlib import import_module

__version__ = '0.1.0'

# MMEngine takes a type that no registry has for a Python path: so type='mmasl.AsymmetricQualityFocalLoss' imports
# MMDetection, and type='mmasl.OFA595' MMPretrain, when it is named, and not before. And MMPretrain's registry of batch
# augmentations has no MMEngine parent, so a node of ours could only hang on it after importing MMPretrain.
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
