"""Labels of every dtype: each loss, each backend and the metric agree on what is a label and what is none."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

import mmasl
from mmasl.evaluation import MultiLabelMetric, multilabel_metrics
from mmasl.evaluation.thresholds import choose_thresholds
from mmasl.functional.probability_sums import probability_sums
from mmasl.models.losses import AdaptiveAsymmetricLoss
from tests.test_ops.triton_device import DEVICE, gpu, quiet, use_triton

pytestmark = quiet
MULTI_LABEL = [mmasl.asymmetric_loss, mmasl.asymmetric_quality_loss]
LOSSES = [*MULTI_LABEL, mmasl.softmax_asymmetric_loss]
PRED = torch.full((1, 3), 0.5)
EXOTIC = ('uint16', 'uint32', 'uint64', 'float8_e4m3fn', 'float8_e5m2', 'float8_e8m0fnu')  # in newer torch

losses = pytest.mark.parametrize('loss', LOSSES, ids=lambda loss: loss.__name__)


@pytest.fixture(params=['reference', 'cpu', 'plain', pytest.param('triton', marks=gpu)])
def run(request, monkeypatch):
    """A loss by one backend."""
    backend = request.param
    if backend == 'triton':
        use_triton()
    device = DEVICE if backend == 'triton' else 'cpu'

    def run(loss, pred, target, **options):
        return loss(pred.to(device), target.to(device), **options, backend=backend).cpu()

    return run


@losses
@pytest.mark.parametrize('target', [[[255, 0, 1]], [255]], ids=['dense', 'index'])
def test_255_in_uint8_is_refused(run, loss, target):
    target = torch.tensor(target, dtype=torch.uint8)
    for options in ({}, dict(gamma_neg=0)):
        with pytest.raises(ValueError, match='got 255 at row 0'):
            run(loss, PRED, target, check_target_range=True, **options)


def test_the_message_tells_how_to_ignore_such_labels():
    target = torch.tensor([[255, 0, 1]], dtype=torch.uint8)
    cure = r'to ignore such labels, pass target.long\(\).masked_fill\(target == 255, -1\)'
    with pytest.raises(ValueError, match=cure):
        mmasl.asymmetric_loss(PRED, target)
    cured = mmasl.asymmetric_loss(PRED, target.long().masked_fill(target == 255, -1), reduction='none')
    torch.testing.assert_close(cured, torch.tensor([[0.0, 0.0913, 0.4741]]), rtol=0, atol=1e-4)
    for target in (torch.tensor([-100]), torch.tensor([[-100, 0, 1]]), torch.tensor([[255.0, 0, 1]])):
        with pytest.raises(ValueError, match='to ignore such labels, pass target.*, -1'):
            mmasl.asymmetric_loss(PRED, target)


@pytest.mark.parametrize('loss', MULTI_LABEL, ids=lambda loss: loss.__name__)
def test_where_values_are_not_checked_an_integer_above_0_is_a_positive(run, loss):
    pred = torch.full((1, 3), 3.0)
    for number in (2, 255):
        target = torch.tensor([[number, 0, 1]], dtype=torch.uint8)
        options = dict(gamma_pos=0, gamma_neg=0, clip=0, reduction='none', check_target_range=False)
        expected = F.binary_cross_entropy_with_logits(pred, torch.tensor([[1.0, 0, 1]]), reduction='none')
        torch.testing.assert_close(run(loss, pred, target, **options), expected, rtol=1e-5, atol=1e-6)
        mean = run(loss, pred, target, **{**options, 'reduction': 'mean'})
        torch.testing.assert_close(mean, expected.mean(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('loss', MULTI_LABEL, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize('dtype', [torch.int8, torch.int16, torch.int32, torch.bfloat16], ids=str)
def test_minus_one_is_ignored_in_every_signed_dtype(run, loss, dtype):
    labels = torch.tensor([[-1, 0, 1]])
    ours = run(loss, PRED, labels.to(dtype), reduction='none')
    torch.testing.assert_close(ours, run(loss, PRED, labels, reduction='none'))
    assert ours[0, 0] == 0
    index = torch.tensor([-1])
    assert run(loss, PRED, index if dtype == torch.bfloat16 else index.to(dtype), reduction='sum') == 0


@losses
@pytest.mark.parametrize('dtype', [getattr(torch, name) for name in EXOTIC if hasattr(torch, name)], ids=str)
def test_dtypes_that_torch_itself_hardly_computes_with_are_refused(run, loss, dtype):
    target = torch.tensor([[0.0, 0.0, 1.0]]).to(dtype)
    with pytest.raises(TypeError, match=f'target: expected .* got a {dtype} tensor; convert it: target.long'):
        run(loss, PRED, target)
    if dtype.is_floating_point:
        with pytest.raises(TypeError, match=f'pred: expected .* of 16 bits or more, got a {dtype} tensor'):
            run(loss, PRED.to(dtype), torch.tensor([0]))


def test_the_sums_of_the_probability_gap_and_the_adaptive_loss_agree():
    wrong, right = torch.tensor([[255, 0, 1]], dtype=torch.uint8), torch.tensor([[1, 0, 1]], dtype=torch.uint8)
    torch.testing.assert_close(probability_sums(PRED, wrong), probability_sums(PRED, right))  # reads no value
    loss = AdaptiveAsymmetricLoss(total_steps=100)
    with pytest.raises(ValueError, match='got 255 at row 0, column 0; to ignore'):
        loss(PRED.clone().requires_grad_(), wrong)
    assert (loss.batch_sums == 0).all()


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.uint64])
def test_the_metric_and_the_thresholds_refuse_255(dtype):
    scores, targets = np.full((2, 3), 0.5), np.array([[255, 0, 1], [1, 0, 0]], dtype)
    for measure in (multilabel_metrics, choose_thresholds):
        with pytest.raises(ValueError, match=r'targets: expected 0, 1 or -1 \(ignored\), got 255'):
            measure(scores, targets)
    with pytest.raises(ValueError, match=r'gt_score: expected 0, 1 or -1 \(ignored\), got 255'):
        sample = dict(pred_score=torch.full((3,), 0.5), gt_score=torch.tensor([255, 0, 1], dtype=torch.uint8))
        MultiLabelMetric().process(None, [sample])
