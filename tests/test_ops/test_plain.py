"""What the plain backend costs, counted without a GPU: kernels, bytes kept for backward, values read by the host."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mmasl.ops.asymmetric_loss import OP as SIGMOID
from mmasl.ops.asymmetric_loss import Asymmetry
from mmasl.ops.asymmetric_quality_loss import OP as QUALITY
from mmasl.ops.asymmetric_quality_loss import QualityAsymmetry
from mmasl.ops.softmax_asymmetric_loss import OP as SOFTMAX
from mmasl.ops.softmax_asymmetric_loss import SoftmaxAsymmetry
from mmasl.testing import count_kernels, kept_memory
from tests.test_ops.families import moved

ROWS, COLUMNS = 100, 80
ADAPTED = Asymmetry(1.0, torch.tensor(2.5), torch.tensor(0.05))
PER_CLASS = Asymmetry(0.0, torch.full((COLUMNS,), 2.5), torch.full((COLUMNS,), 0.05))


def dense(device):
    return torch.zeros(ROWS, COLUMNS, device=device)


def index(device):
    return torch.zeros(ROWS, dtype=torch.long, device=device)


def quality(device):
    return index(device), torch.ones(ROWS, device=device)


# (op, target by device, constants, most kernels of forward and backward, bytes kept as a multiple of the logits')
CASES = {
    'dense': (SIGMOID, dense, Asymmetry(), 25, 1.01),
    'index': (SIGMOID, index, Asymmetry(), 35, 1.03),
    'focal loss': (SIGMOID, dense, Asymmetry(2.0, 2.0, 0.0, 0.25), 32, 1.01),
    'small exponents': (SIGMOID, dense, Asymmetry(0.5, 0.5, 0.05), 46, 1.01),
    'adapted': (SIGMOID, index, ADAPTED, 90, 1.03),
    'adapted by class': (SIGMOID, dense, PER_CLASS, 90, 1.03),
    'softmax index': (SOFTMAX, index, SoftmaxAsymmetry(), 50, 1.03),
    'softmax without smoothing': (SOFTMAX, index, SoftmaxAsymmetry(1.0, 4.0, 0.0), 50, 1.03),
    'softmax dense': (SOFTMAX, dense, SoftmaxAsymmetry(1.0), 60, 1.03),
    'quality': (QUALITY, quality, QualityAsymmetry(), 85, 1.05),
    'quality dense': (QUALITY, dense, QualityAsymmetry(), 66, 1.05),
}
cases = pytest.mark.parametrize('op, make_target, asymmetry, kernels, kept', CASES.values(), ids=CASES)


def logits(device):
    return torch.zeros(ROWS, COLUMNS, device=device, requires_grad=True)


@cases
@pytest.mark.parametrize('reduce', [True, False])
def test_the_host_reads_no_value(op, make_target, asymmetry, kernels, kept, reduce):
    """Meta tensors have no values: reading one raises, as it would wait for a GPU and could not be captured."""
    weight = torch.ones(ROWS, device='meta')
    pred, column = logits('meta'), torch.ones(COLUMNS, device='meta')
    loss = op.plain(pred, make_target('meta'), weight, column, None, moved(asymmetry, 'meta'), reduce)
    loss.backward(torch.empty_like(loss))
    assert pred.grad.shape == pred.shape
    with pytest.raises(RuntimeError, match='(?i)meta'):
        op.plain(pred, make_target('meta'), None, None, None, moved(asymmetry, 'meta'), reduce, check=True)


@cases
def test_kernels_and_bytes_kept_for_backward(op, make_target, asymmetry, kernels, kept):
    """On the meta device the way is that of a GPU."""
    pred, target, constants = logits('meta'), make_target('meta'), moved(asymmetry, 'meta')
    assert count_kernels(lambda: op.plain(pred, target, None, None, 0.01, constants, True).backward()) <= kernels
    pred, target = logits('cpu'), make_target('cpu')
    bytes_kept = kept_memory(lambda: op.plain(pred, target, None, None, 0.01, asymmetry, True))
    assert bytes_kept <= kept * pred.numel() * 4


def peers() -> dict:
    """``{name: its loss of logits and dense labels}``"""
    from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
    from mmpretrain.models.losses import AsymmetricLoss
    from torchvision.ops import sigmoid_focal_loss

    mmpretrain = AsymmetricLoss(gamma_pos=0.0, gamma_neg=4.0, clip=0.05)
    return {
        'MMPretrain AsymmetricLoss': lambda z, y: mmpretrain(z, y, avg_factor=ROWS),
        'MMDetection focal loss in Python': lambda z, y: py_sigmoid_focal_loss(z, y, avg_factor=ROWS),
        'torchvision sigmoid_focal_loss': lambda z, y: sigmoid_focal_loss(z, y, reduction='sum'),
        'torch BCE': lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction='sum'),
    }


def test_against_the_peers():
    """At most half of what MMPretrain keeps for backward, and fewer kernels than it and the focal losses launch."""
    pytest.importorskip('mmpretrain')
    pytest.importorskip('mmdet')
    ours = lambda z, y: SIGMOID.plain(z, y, None, None, 1 / ROWS, Asymmetry(), True)  # noqa: E731
    kernels, kept = {}, {}
    for name, loss in {'ours': ours, **peers()}.items():
        pred, target = logits('meta'), dense('meta')
        kernels[name] = count_kernels(lambda: loss(pred, target).backward())  # noqa: B023
        pred, target = logits('cpu'), dense('cpu')
        kept[name] = kept_memory(lambda: loss(pred, target)) / (4 * pred.numel())  # noqa: B023
    mmpretrain = 'MMPretrain AsymmetricLoss'
    assert kept['ours'] <= kept[mmpretrain] / 2, kept
    assert kernels['ours'] <= 0.6 * kernels[mmpretrain], kernels
    for name in ('MMDetection focal loss in Python', 'torchvision sigmoid_focal_loss'):
        assert kernels['ours'] < kernels[name] and kept['ours'] < kept[name]
