import os

import pytest
import torch

from tests.test_tools.tool_runs import forget_runs

# The suite runs in as many processes as there are cores. And some tests fork, which OpenMP's threads do not survive.
os.environ.setdefault('OMP_NUM_THREADS', '1')
torch.set_num_threads(1)
# Triton reads this when it is imported: kernels run in its interpreter, unless there is a GPU.
os.environ.setdefault('TRITON_INTERPRET', '0' if torch.cuda.is_available() else '1')


@pytest.fixture(autouse=True)
def fresh_process():
    """Run each test as in a new process. Before it too: doctests, which run among the tests, are out of reach here."""
    forget_runs()
    yield
    forget_runs()


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
