import os

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

# The suite runs in as many processes as there are cores. And some tests fork, which OpenMP's threads do not survive.
os.environ.setdefault('OMP_NUM_THREADS', '1')
torch.set_num_threads(1)
# Triton reads this when it is imported: kernels run in its interpreter, unless there is a GPU.
os.environ.setdefault('TRITON_INTERPRET', '0' if torch.cuda.is_available() else '1')


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


@pytest.fixture(autouse=True)
def same_threads():
    """Give torch back the number of threads that it had: the benchmarks set it."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """Run a test in a folder of its own, where what it writes does no harm: ``usefixtures('empty_folder')``."""
    monkeypatch.chdir(tmp_path)
