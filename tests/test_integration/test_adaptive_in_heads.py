"""Adaptive asymmetry in MMDetection's heads: one step an iteration, by the statistics of all levels."""

import pytest
import torch

from tests.test_integration.small_detectors import NUM_CLASSES, batch, build, losses, small_config

ADAPTIVE = dict(type='mmasl.AdaptiveAsymmetricLoss', use_sigmoid=True, gamma_neg=4.0, step_size=0.5)


@pytest.mark.parametrize('name', ['FCOS', 'RetinaNet', 'Deformable DETR'])
def test_it_moves_once_an_iteration_by_all_levels(name):
    cfg = small_config(name)
    weight = cfg.bbox_head.loss_cls.get('loss_weight', 1.0)
    cfg.bbox_head.loss_cls = dict(ADAPTIVE, loss_weight=weight)
    model = build(cfg)
    loss = model.bbox_head.loss_cls
    sizes = []
    loss.register_forward_hook(lambda module, inputs, output: sizes.append(inputs[0].shape[0]))
    gamma_neg, gaps = [], []
    for _ in range(3):
        sizes.clear()
        found = losses(model, batch())
        sum(value for key, value in found.items() if 'loss' in key).backward()
        assert (len(sizes) > 1) == (name != 'FCOS')
        positives, negatives = loss.batch_sums[1].item(), loss.batch_sums[3].item()
        assert 0 < positives < negatives <= sum(sizes) * NUM_CLASSES
        gamma_neg.append(loss.gamma_neg.item())
        gaps.append(loss.delta_p.item())
    assert gamma_neg[0] == 4 and gaps[0] < -0.5  # the prior of 0.01
    step = -0.5 * (gaps[0] - loss.delta_p_target)
    assert gamma_neg[1] == pytest.approx(4 + step) and gamma_neg[2] == pytest.approx(4 + 2 * step, rel=0.01)
    assert all(torch.isfinite(value).all() for value in found.values())
