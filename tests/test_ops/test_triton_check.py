"""The first call with the Triton kernels checks them; faults are injected, on a GPU or in Triton's interpreter."""

import warnings

import pytest
import torch

from mmasl.functional import _run
from mmasl.functional._run import choose_backend
from mmasl.ops import triton_check
from mmasl.ops.asymmetric_loss import OP, Asymmetry
from mmasl.ops.asymmetric_quality_loss import OP as QUALITY_OP
from mmasl.ops.asymmetric_quality_loss import QualityAsymmetry
from mmasl.ops.softmax_asymmetric_loss import OP as SOFTMAX_OP
from mmasl.ops.softmax_asymmetric_loss import SoftmaxAsymmetry
from mmasl.ops.triton_check import checked_triton, find_fault
from tests.test_ops.triton_device import DEVICE, GPU, gpu, quiet, use_triton

pytestmark = [gpu, quiet]


@pytest.fixture(autouse=True)
def triton():
    use_triton()
    checked_triton.cache_clear()
    yield
    checked_triton.cache_clear()


def arguments(dtype=torch.float32):
    pred = torch.tensor([[0.3, -2.0, 1.0], [2.0, 0.1, -1.0]], device=DEVICE, dtype=dtype)
    return pred, torch.tensor([0, 3], device=DEVICE), None, None, 0.5, Asymmetry(), True, False


def raises(pred, *constants):
    raise RuntimeError('no kernel image\nis available')


def wrong_loss(*arguments):
    return 1.01 * OP.triton(*arguments)


def wrong_gradient(*arguments):
    loss = OP.triton(*arguments)
    return loss.detach() + 1.01 * (loss - loss.detach())


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_kernels_that_agree_are_used_and_compared_once(monkeypatch, dtype):
    found = []
    monkeypatch.setattr(triton_check, 'find_fault', lambda *a: found.append(find_fault(*a)))
    run = checked_triton(OP)
    for _ in range(3):
        torch.testing.assert_close(run(*arguments(dtype)), OP.triton(*arguments(dtype)), rtol=0, atol=0)
    assert found == [None]
    dense = torch.zeros(2, 3, device=DEVICE)
    run(arguments(dtype)[0], dense, *arguments(dtype)[2:])  # another kind of target is another kernel
    assert found == [None, None]


@pytest.mark.parametrize(
    'broken, reason',
    [
        (raises, 'RuntimeError: no kernel image is available'),
        (wrong_loss, 'loss: Scalars are not close!'),
        (wrong_gradient, 'gradient: Tensor-likes are not close!'),
    ],
)
def test_kernels_that_fail_are_warned_of_once_and_replaced(broken, reason):
    run = checked_triton(OP._replace(triton=broken))
    with pytest.warns(UserWarning, match=f'kernels are not used for torch.float32 on {DEVICE}.*: {reason}'):
        loss = run(*arguments())
    torch.testing.assert_close(loss, OP.reference(*arguments()[:-1]))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        run(*arguments())


@pytest.mark.parametrize('scale', [1e-6, torch.tensor(1e-6)], ids=['number', 'tensor'])
def test_a_large_avg_factor_hides_no_wrong_gradient(scale):
    pred, target, weight, class_weight, _, *rest = arguments()
    scale = scale.to(DEVICE) if isinstance(scale, torch.Tensor) else scale
    fault = find_fault(OP._replace(triton=wrong_gradient), pred, target, weight, class_weight, scale, *rest[:-1])
    assert fault.startswith('gradient: Tensor-likes are not close!')


def test_auto_takes_checked_kernels_and_a_named_backend_the_kernels_themselves(monkeypatch):
    pred = torch.zeros(1, 2, device='cuda' if GPU else 'meta')
    monkeypatch.setattr(_run, 'fastest', lambda pred: 'triton')
    assert choose_backend(OP, 'auto', pred, pred) is checked_triton(OP)
    assert choose_backend(OP, 'triton', pred, pred) is OP.triton


def test_a_kernel_that_does_not_compile_is_found(monkeypatch):
    class Kernel:
        def __getitem__(self, grid):
            raise SyntaxError('at 3:4: unknown name')

    monkeypatch.setattr('mmasl.ops.asymmetric_loss.triton_kernels.asymmetric_loss', Kernel())
    assert find_fault(OP, *arguments()) == 'SyntaxError: at 3:4: unknown name'


def test_nothing_is_compared_while_a_graph_is_captured(monkeypatch):
    monkeypatch.setattr(triton_check, '_is_captured', lambda pred: True)
    monkeypatch.setattr(triton_check, 'find_fault', raises)
    checked_triton(OP)(*arguments())


def test_every_kind_of_argument_is_compared():
    pred, rows, columns = torch.zeros(5, 4, device=DEVICE), torch.ones(5, device=DEVICE), torch.ones(4, device=DEVICE)
    index, dense = torch.zeros(5, dtype=torch.long, device=DEVICE), torch.zeros(5, 4, device=DEVICE)
    per_class = Asymmetry(1.0, columns, torch.tensor(0.05, device=DEVICE))
    softmax, quality = SoftmaxAsymmetry(1.0), QualityAsymmetry()
    with torch.inference_mode():
        scale = torch.tensor(0.5, device=DEVICE)
        for op, target, weight, asymmetry in [
            (OP, index, rows, Asymmetry()),
            (OP, dense, dense, per_class),
            (OP, dense.bool(), None, per_class),
            (SOFTMAX_OP, index, rows, softmax),
            (SOFTMAX_OP, dense, None, softmax),
            (QUALITY_OP, dense, None, quality),
            (QUALITY_OP, (index, rows), None, quality),
        ]:
            for reduce in (True, False):
                assert find_fault(op, pred, target, weight, columns, scale, asymmetry, reduce) is None


@pytest.mark.parametrize('columns', [1, 80, 1000])
def test_any_number_of_classes_is_compared(columns):
    pred, *constants = arguments()
    assert find_fault(OP, pred.new_zeros(2, columns), *constants) is None
