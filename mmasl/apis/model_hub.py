"""The configs of this package in MMPretrain's model hub."""

from pathlib import Path

from mmpretrain.apis import ModelHub

import mmasl


def register_models() -> None:
    """Make the configs of this package known by name to MMPretrain's ``list_models``, ``get_model`` and inferencers.

    Further calls have no effect.

    Raises:
        FileNotFoundError: If ``mmasl/.mim`` does not exist, because mmasl is on the path but not installed.
    """
    mim = Path(mmasl.__file__).parent / '.mim'
    index = mim / 'model-index.yml'
    if not index.is_file():
        raise FileNotFoundError(f'{index} is missing: install mmasl (pip install --no-build-isolation .)')
    global _registered
    if not _registered:
        ModelHub.register_model_index(index, config_prefix=mim)
        _registered = True


_registered = False
