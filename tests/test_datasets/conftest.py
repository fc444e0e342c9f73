import functools

import pytest

from mmasl.datasets.miniatures import Size, make_miniature


@pytest.fixture(scope='session')
def miniature(tmp_path_factory):
    """``miniature(name)``: the folder (str) of a small miniature, written once; tests do not change it."""
    folder = tmp_path_factory.mktemp('miniatures')

    @functools.cache
    def root(name):
        return str(make_miniature(name, folder / name, Size(train=12, val=6, test=6, side=48)))

    return root


@pytest.fixture
def miniature_copy(tmp_path):
    """``miniature_copy(name)``: a still smaller one that a test may break."""
    return lambda name: make_miniature(name, tmp_path / name, Size(train=4, val=2, test=2, side=32))
