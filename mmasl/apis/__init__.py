"""The Python interface to inference; classification needs MMPretrain, and detection needs MMDetection."""

from importlib import import_module

_HOMES = {
    'MultiLabelInferencer': 'mmasl.apis.multilabel_inferencer',
    'detect': 'mmasl.apis.detection',
    'register_models': 'mmasl.apis.model_hub',
}
__all__ = [*_HOMES]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_HOMES[name]), name)
