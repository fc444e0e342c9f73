"""The Python interface to inference; classification needs MMPretrain, and detection needs MMDetection."""

from functools import cache
from importlib import import_module
from pathlib import Path

_HOMES = {'MultiLabelInferencer': 'mmasl.apis.multilabel_inferencer', 'detect': 'mmasl.apis.detection'}
__all__ = [*_HOMES, 'register_models']


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_HOMES[name]), name)


@cache
def register_models() -> None:
    """Make the configs of this package known by name to MMPretrain's ``list_models``, ``get_model`` and inferencers.

    Further calls have no effect.

    Raises:
        FileNotFoundError: If ``mmasl/.mim`` does not exist, because mmasl is on the path but not installed.
    """
    from mmpretrain.apis import ModelHub

    mim = Path(__file__).parents[1] / '.mim'
    if not (mim / 'model-index.yml').is_file():
        raise FileNotFoundError(f'{mim}/model-index.yml is missing: install mmasl (pip install --no-build-isolation .)')
    ModelHub.register_model_index(mim / 'model-index.yml', config_prefix=mim)
