import pytest
import torch

from tests.test_ops.triton_device import use_interpreter


@pytest.fixture(params=['reference', 'plain', 'cpu', 'triton'])
def backend(request):
    """Each backend; Triton's kernels in its interpreter, on the CPU."""
    if request.param == 'triton':
        use_interpreter()
    return request.param


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return (3 * torch.randn(16, 6)).requires_grad_()
