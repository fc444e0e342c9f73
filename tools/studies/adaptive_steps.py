"""The step size of adaptive asymmetry against the batch size, with a linear classifier on frozen features.

On features an iteration costs milliseconds, so a batch of 1,024 gets as many of them as one of 16: what is measured is
how fast, how near and how calmly the exponent settles within the same number of iterations.
"""

from functools import lru_cache

import numpy as np
import torch
from adaptive_report import settling
from digit_scenes_ladder import STUDY
from mmengine import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mmasl.datasets import DigitScenes
from mmasl.evaluation.functional import average_precision
from mmasl.functional.probability_sums import probability_gap, probability_sums
from mmasl.models.losses import AdaptiveAsymmetricLoss, AsymmetricLoss

LEARNING_RATE = 1e-2
SCENES = {'train': 4000, 'val': 2000}


def steps_cell(spec: dict, scenes: dict[str, int] | None = None) -> dict:
    """Train a linear classifier on features; a ``step_size`` of 0 keeps the exponent.

    Args:
        spec: ``step_size``, ``batch_size``, ``iterations`` and ``delta_p_target``.
        scenes: Number of scenes of each split, for tests.

    Returns:
        ``mAP`` on validation scenes, in percent, and what :func:`adaptive_report.settling` returns.
    """
    torch.manual_seed(0)
    count, batch_size, target = spec['iterations'], spec['batch_size'], spec['delta_p_target']
    data = {split: features(split, number) for split, number in (scenes or SCENES).items()}
    (inputs, labels), (val_inputs, val_labels) = data['train'], data['val']
    layer = torch.nn.Linear(inputs.shape[1], labels.shape[1])
    step_size = spec['step_size']
    loss = AdaptiveAsymmetricLoss(delta_p_target=target, step_size=step_size) if step_size else AsymmetricLoss()
    optimizer = torch.optim.Adam(layer.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, count, cycle_momentum=False)
    epochs = -(-count * batch_size // len(inputs))
    order = torch.cat([torch.randperm(len(inputs)) for _ in range(epochs)])
    exponents, gaps = [], []
    for rows in order[: count * batch_size].view(count, batch_size):
        pred = layer(inputs[rows])
        optimizer.zero_grad()
        loss(pred, labels[rows], avg_factor=batch_size).backward()
        optimizer.step()
        schedule.step()
        exponents.append(float(loss.gamma_neg))
        gaps.append(probability_gap(probability_sums(pred, labels[rows]).sum(1)).item())
    with torch.no_grad():
        precision = average_precision(layer(val_inputs).numpy(), val_labels.numpy())
    return dict(mAP=round(100 * float(np.nanmean(precision)), 2), **settling(exponents, gaps, target))


@lru_cache(maxsize=3)
@torch.no_grad()
def features(split: str, scenes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised features (scenes, channels) of the single-digit weights, and labels (scenes, classes)."""
    config = Config.fromfile(STUDY.config_path('ft', 'ce'))
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model)
    model.init_weights()
    model.eval()
    dataset = DigitScenes(split=split, num_scenes=scenes, pipeline=[])
    labels = torch.zeros(scenes, len(dataset.metainfo['classes']), dtype=torch.long)
    found = []
    for index, sample in enumerate(dataset):
        labels[index, sample['gt_label']] = 1
        image = torch.from_numpy(sample['img']).permute(2, 0, 1)
        found.append(model.extract_feat(model.data_preprocessor(dict(inputs=[image]))['inputs'])[-1])
    found = torch.cat(found)
    return (found - found.mean(0)) / found.std(0), labels
