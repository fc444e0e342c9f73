"""The sums of Eq. 9 against the means taken one label at a time."""

import pytest
import torch

from mmasl.functional.probability_sums import probability_gap, probability_sums


def by_hand(pred, dense, kept):
    """One label at a time, in float64."""
    sums = torch.zeros(4, pred.shape[1], dtype=torch.float64)
    for row, column in kept.nonzero().tolist():
        p, y = torch.sigmoid(pred[row, column].double()), float(dense[row, column])
        sums[:, column] += torch.stack([y * p, torch.tensor(y), (1 - y) * (1 - p), torch.tensor(1 - y)])
    return sums


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize('weight', [None, 'row', 'element'])
@pytest.mark.parametrize('kind', ['hard', 'bool', 'soft', 'index'])
def test_sums(kind, weight, dtype):
    torch.manual_seed(0)
    rows, classes = 13, 5
    pred = (3 * torch.randn(rows, classes)).to(dtype)
    label = torch.randint(-1, classes + 1, (rows,))
    target = {
        'hard': torch.randint(-1, 2, (rows, classes)),
        'bool': torch.rand(rows, classes) < 0.3,
        'soft': torch.where(torch.rand(rows, classes) < 0.2, -1.0, torch.rand(rows, classes)),
        'index': label,
    }[kind]
    dense = target.float() if kind != 'index' else (label.unsqueeze(1) == torch.arange(classes)).float()
    kept = (dense != -1) if kind != 'index' else (label != -1).unsqueeze(1).expand(rows, classes)
    if weight is not None:
        weight = torch.randint(0, 3, (rows,) if weight == 'row' else (rows, classes)).float()
        kept = kept & (weight if weight.dim() == 2 else weight.unsqueeze(1)).bool()
    torch.testing.assert_close(probability_sums(pred, target, weight), by_hand(pred, dense, kept), rtol=1e-6, atol=1e-6)


def test_batches_and_dimensions_add_up():
    pred, target = torch.randn(2, 3, 4), torch.randint(0, 2, (2, 3, 4))
    whole = probability_sums(pred, target)
    torch.testing.assert_close(whole, sum(probability_sums(*pair) for pair in zip(pred, target, strict=True)))


@pytest.mark.parametrize('target', [torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)])
def test_an_empty_batch_has_no_gap(target):
    sums = probability_sums(torch.zeros(0, 3), target)
    assert (sums == 0).all() and probability_gap(sums).isnan().all()


def test_what_is_ignored_may_be_infinite():
    pred = torch.tensor([[float('nan'), 0.0]])
    assert probability_sums(pred, torch.tensor([[-1, 0]])).isfinite().all()
    assert probability_sums(pred, torch.tensor([0]), torch.tensor([[0.0, 1.0]])).isfinite().all()


def test_shapes_are_checked_as_the_loss_does():
    with pytest.raises(ValueError, match='target: expected dense labels of shape'):
        probability_sums(torch.zeros(2, 3), torch.zeros(2, 4))
