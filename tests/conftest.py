import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer


@pytest.fixture(autouse=True)
def forget_runs():
    """MMEngine keeps what a runner made for the whole process: loggers on closed streams, the last default scope.

    Before a test too: doctests, which run among the tests, are out of reach of this file.
    """
    managers = (MMLogger, MessageHub, Visualizer, DefaultScope)
    for manager in managers:
        manager._instance_dict.clear()
    yield
    for manager in managers:
        manager._instance_dict.clear()
