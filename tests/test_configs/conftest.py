import functools

import pytest

from mmasl.datasets.miniatures import Size, make_miniature
from tests.test_configs.recipes import FOLDERS


@pytest.fixture(scope='session')
def small_data(tmp_path_factory):
    """``small_data(folder)``: the root of the miniature that belongs to a folder of configs, written once."""
    root = tmp_path_factory.mktemp('recipes')

    @functools.cache
    def get(folder):
        name = FOLDERS[folder][0]
        return str(make_miniature(name, root / name, Size(train=24, val=4, test=4, side=48)))

    return get
