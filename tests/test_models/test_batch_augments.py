import numpy as np
import pytest
import torch
from mmpretrain.models import CutMix, Mixup

from mmasl.models.batch_augments import IgnoreAwareCutMix, IgnoreAwareMixup

PAIRS = [(Mixup, IgnoreAwareMixup), (CutMix, IgnoreAwareCutMix)]


@pytest.fixture
def lam_03(monkeypatch):
    """Make the weight of the first source 0.3 and pair each sample of two with the other."""
    monkeypatch.setattr(np.random, 'beta', lambda a, b: 0.3)
    monkeypatch.setattr(torch, 'randperm', lambda n: torch.arange(n).flip(0))


def mix(augment, labels, seed=0, size=8):
    np.random.seed(seed)
    torch.manual_seed(seed)
    return augment(torch.rand(len(labels), 3, size, size), labels.clone())


def test_upstream_turns_an_ignored_label_into_a_soft_one(lam_03):
    labels = torch.tensor([[-1.0, 1.0], [1.0, 0.0]])

    assert torch.allclose(mix(Mixup(alpha=0.2), labels)[1][0], torch.tensor([0.4, 0.3]))  # 0.3 * -1 + 0.7 * 1
    assert torch.allclose(mix(CutMix(alpha=0.2, correct_lam=False), labels)[1][0], torch.tensor([0.4, 0.3]))

    expected = torch.tensor([[-1.0, 0.3], [-1.0, 0.7]])
    assert torch.allclose(mix(IgnoreAwareMixup(alpha=0.2), labels)[1], expected)
    assert torch.allclose(mix(IgnoreAwareCutMix(alpha=0.2, correct_lam=False), labels)[1], expected)


@pytest.mark.parametrize('upstream, ours', PAIRS)
def test_random_batches(upstream, ours):
    """Images and labels are upstream's, but -1 exactly where it is in either source."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.rand(7, 5, generator=generator)
        ignored = torch.rand(7, 5, generator=generator) < 0.3

        images, plain = mix(upstream(alpha=1.0), labels, seed)
        same_images, same = mix(ours(alpha=1.0), labels, seed)
        assert torch.equal(same_images, images) and torch.equal(same, plain)

        mixed_images, mixed = mix(ours(alpha=1.0), labels.masked_fill(ignored, -1), seed)
        torch.manual_seed(seed)
        torch.rand(7, 3, 8, 8)
        lost = ignored | ignored[torch.randperm(7)]
        assert torch.equal(mixed_images, images)
        assert torch.equal(mixed, plain.masked_fill(lost, -1))


@pytest.mark.parametrize('lam', [0.0, 1.0])
def test_a_source_of_weight_zero_still_ignores(lam_03, monkeypatch, lam):
    monkeypatch.setattr(np.random, 'beta', lambda a, b: lam)
    labels = torch.tensor([[-1.0, 1.0], [1.0, 0.0]])
    assert (mix(IgnoreAwareMixup(alpha=0.2), labels)[1][:, 0] == -1).all()
    assert (mix(IgnoreAwareCutMix(alpha=0.2), labels)[1][:, 0] == -1).all()


def test_integer_labels_and_nan():
    labels = torch.tensor([[1, -1], [1, 0]])
    assert mix(IgnoreAwareMixup(alpha=1.0), labels)[1][0, 1] == -1
    with pytest.raises(ValueError, match=r'batch_scores: expected labels in \[0, 1\] or -1 \(ignored\), got NaN'):
        mix(IgnoreAwareMixup(alpha=1.0), torch.tensor([[float('nan')]]))
