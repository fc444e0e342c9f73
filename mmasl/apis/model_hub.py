"""The configs of this package in MMPretrain's model hub."""

from pathlib import Path

from mmpretrain.apis import ModelHub

import mmasl


def register_models() -> None:
    """Make MMPretrain's ``list_models``, ``get_model`` and inferencers know the configs of this package by their names.

    Calling it again changes nothing.

    Raises:
        FileNotFoundError: mmasl was put on the path without being installed, so that ``mmasl/.mim`` is not there.
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
