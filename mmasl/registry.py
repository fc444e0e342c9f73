"""The registries of this project, which are children of MMEngine's with the scope ``mmasl``.

``Registry.get('mmasl.X')`` of any OpenMMLab package imports this module by its scope and then the ``locations`` of the
registry that it searches. So ``type='mmasl.AsymmetricLoss'`` works from every default scope without ``custom_imports``.
"""

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry

MODELS = Registry(
    'model',
    parent=mmengine_registry.MODELS,
    scope='mmasl',
    locations=['mmasl.models.losses.registration', 'mmasl.models.backbones', 'mmasl.models.classifiers'],
)
DATASETS = Registry('dataset', parent=mmengine_registry.DATASETS, scope='mmasl', locations=['mmasl.datasets'])
METRICS = Registry(
    'metric',
    parent=mmengine_registry.METRICS,
    scope='mmasl',
    locations=['mmasl.evaluation.multilabel_metric', 'mmasl.evaluation.frequency_group_metric'],
)
HOOKS = Registry('hook', parent=mmengine_registry.HOOKS, scope='mmasl', locations=['mmasl.engine.hooks'])
TRANSFORMS = Registry(
    'transform',
    parent=mmengine_registry.TRANSFORMS,
    scope='mmasl',
    locations=['mmasl.datasets.transforms'],
)
PARAM_SCHEDULERS = Registry(
    'parameter scheduler',
    parent=mmengine_registry.PARAM_SCHEDULERS,
    scope='mmasl',
    locations=['mmasl.engine.schedulers'],
)
STRATEGIES = Registry(
    'strategy',
    parent=mmengine_registry.STRATEGIES,
    scope='mmasl',
    locations=['mmasl.engine.strategies'],
)
WEIGHT_INITIALIZERS = Registry(
    'weight initializer',
    parent=mmengine_registry.WEIGHT_INITIALIZERS,
    scope='mmasl',
    locations=['mmasl.models.packaged_pretrained'],
)
