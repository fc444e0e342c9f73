import pytest
import torch


@pytest.fixture(autouse=True)
def same_threads():
    """Give torch back the number of threads that it had: the benchmarks set it."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
