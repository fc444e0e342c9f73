"""What the Triton backends of both losses promise: the host reads nothing, graphs capture, the compiler agrees."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmasl import asymmetric_loss, softmax_asymmetric_loss
from mmasl.models.losses import AdaptiveAsymmetricLoss
from mmasl.ops.triton_support import common_kernels
from tests.test_ops.triton_device import GPU, needs_gpu, use_interpreter

COLUMNS = 80
ROOT = Path(__file__).parents[2]


def class_index(device, first=0):
    return torch.randint(first, COLUMNS, (100,), device=device)


def scores(device):
    return torch.rand(100, COLUMNS, device=device).softmax(1)


def constants(device, *shape):
    return dict(gamma_neg=torch.full(shape, 2.5, device=device), clip=torch.full(shape, 0.05, device=device))


# (function, target, arguments), the last two made by the device.
CASES = {
    'index': (asymmetric_loss, lambda d: class_index(d, -1), lambda d: {}),
    'dense': (
        asymmetric_loss,
        lambda d: (scores(d) > 0.012).byte(),
        lambda d: dict(avg_factor=torch.tensor(7.0, device=d)),
    ),
    'adapted': (asymmetric_loss, lambda d: class_index(d, -1), constants),
    'adapted by class': (asymmetric_loss, scores, lambda d: constants(d, COLUMNS)),
    'softmax index': (softmax_asymmetric_loss, class_index, lambda d: dict(ignore_index=3)),
    'softmax, no smoothing': (softmax_asymmetric_loss, class_index, lambda d: dict(label_smoothing=0, avg_factor=100)),
    'softmax dense': (softmax_asymmetric_loss, scores, lambda d: dict(class_weight=torch.rand(COLUMNS, device=d))),
}
cases = pytest.mark.parametrize('function, make_target, make_arguments', CASES.values(), ids=CASES)


class NoKernel:
    """Takes a launch in place of a kernel, and does nothing."""

    def __init__(self):
        self.launches = 0

    def __getitem__(self, grid):
        self.launches += 1
        return lambda *args, **kwargs: None


@pytest.fixture
def launches(monkeypatch):
    """Kernels that do nothing, so that tensors without values can be given to them."""
    use_interpreter()
    kernel = NoKernel()
    for name in (
        'triton_math.reduce_partials',
        'asymmetric_loss.triton_kernels.asymmetric_loss',
        'softmax_asymmetric_loss.triton_kernels.softmax_loss',
        'softmax_asymmetric_loss.triton_kernels.softmax_gradient',
    ):
        monkeypatch.setattr(f'mmasl.ops.{name}', kernel)
    return kernel


@cases
@pytest.mark.parametrize('reduction', ['none', 'mean'])
def test_the_host_reads_no_value(launches, function, make_target, make_arguments, reduction):
    """Meta tensors have no values: reading one raises, as it would wait for a GPU and could not be captured."""
    pred = torch.zeros(100, COLUMNS, device='meta', requires_grad=True)
    arguments = dict(weight=torch.ones(100, device='meta'), reduction=reduction, backend='triton')
    loss = function(pred, make_target('meta'), **arguments, **make_arguments('meta'))
    loss.backward(torch.empty_like(loss))
    assert launches.launches == (3 if reduction == 'mean' else 2)
    with pytest.raises(RuntimeError, match='meta'):
        function(pred, make_target('meta'), **arguments, **make_arguments('meta'), check_target_range=True)


def test_the_host_reads_no_value_while_the_asymmetry_adapts(launches):
    loss = AdaptiveAsymmetricLoss(adapt='both', total_steps=100, backend='triton').to('meta')
    for _ in range(3):
        loss(torch.zeros(100, COLUMNS, device='meta', requires_grad=True), class_index('meta')).backward()
    assert launches.launches == 9


@needs_gpu
@cases
def test_nothing_waits_for_the_gpu(function, make_target, make_arguments):
    pred = torch.randn(100, COLUMNS, device='cuda', requires_grad=True)
    target, arguments = make_target('cuda'), make_arguments('cuda')
    function(pred, target, **arguments, backend='triton').backward()  # compiles
    torch.cuda.set_sync_debug_mode('error')
    try:
        function(pred, target, **arguments, backend='triton').backward()
    finally:
        torch.cuda.set_sync_debug_mode('default')


@needs_gpu
@cases
def test_a_cuda_graph_captures_forward_and_backward(function, make_target, make_arguments):
    """Replayed with other logits, labels and constants it gives what eager mode does, to the last bit."""
    pred = torch.randn(100, COLUMNS, device='cuda', requires_grad=True)
    target, arguments = make_target('cuda'), make_arguments('cuda')

    def step():
        loss = function(pred, target, **arguments, backend='triton')
        return loss, *torch.autograd.grad(loss, pred)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        pred.copy_(torch.randn(100, COLUMNS))
        target.copy_(make_target('cuda'))
        for value in arguments.values():
            if torch.is_tensor(value):
                value.mul_(0.75)
    graph.replay()
    torch.testing.assert_close(captured, step(), rtol=0, atol=0)


@needs_gpu
@pytest.mark.parametrize('name', ['index', 'dense', 'softmax index'])
def test_more_than_two_to_the_31_logits(name):
    """Equal rows of one label before a hundred random ones: the last gradients, the first one and the sum are known."""
    function, make_target, _ = CASES[name]
    rows, tail = 2**31 // COLUMNS + 1000, 100
    if torch.cuda.mem_get_info()[0] < 16 * 2**30:
        pytest.skip('needs 16 GiB of free GPU memory')
    pred = torch.zeros(rows, COLUMNS, device='cuda', dtype=torch.bfloat16)
    pred[-tail:] = torch.randn(tail, COLUMNS)
    last = make_target('cuda')
    target = last.new_zeros(rows, *last.shape[1:])
    target[-tail:] = last
    results = []
    for start in (0, rows - tail - 1):  # all rows; one equal row and the random ones
        leaf = pred[start:].detach().requires_grad_()
        loss = function(leaf, target[start:], reduction='sum', backend='triton')
        results.append((loss.item(), torch.autograd.grad(loss, leaf)[0]))
    (total, gradient), (few, expected) = results
    torch.testing.assert_close(gradient[-tail:], expected[1:], rtol=0, atol=0)
    assert gradient[:-tail].eq(expected[0]).all()
    one = function(pred[:1], target[:1], reduction='sum', backend='triton').item()
    # every thread adds the same float32 again and again, so the rounding is systematic
    assert total == pytest.approx(one * (rows - tail - 1) + few, rel=1e-4)


@pytest.mark.skipif(GPU, reason='the other tests compile')
def test_the_kernels_compile_for_a_gpu_that_is_not_here(tmp_path):
    pytest.importorskip('triton', minversion='2.1')
    environment = {name: value for name, value in os.environ.items() if name != 'TRITON_INTERPRET'}
    environment['TRITON_CACHE_DIR'] = str(tmp_path)
    command = [sys.executable, '-m', 'tests.test_ops.compile_triton_kernels', '80', '90']
    result = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr[-2000:]


def test_an_old_triton_is_refused_with_its_version(monkeypatch):
    monkeypatch.setitem(sys.modules, 'triton', SimpleNamespace(__version__='2.0.0'))
    monkeypatch.setenv('TRITON_INTERPRET', '0')
    assert common_kernels.__wrapped__() == 'Triton 2.1 or later is needed and this is 2.0.0'
