"""Step sizes of adaptive asymmetry for several batch sizes, with a linear classifier on frozen features.

On features an iteration costs milliseconds, so every batch size can have the same number of iterations. The study
measures how fast and how near the gap comes to its target, and how much the exponent varies.
"""

from functools import lru_cache
from statistics import mean, pstdev

import numpy as np
import torch
from ladder_studies import DIGIT_SCENES
from mmengine import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from mmasl.datasets import DigitScenes
from mmasl.evaluation.functional import average_precision
from mmasl.functional.probability_sums import probability_gap, probability_sums
from mmasl.models.losses import AdaptiveAsymmetricLoss, AsymmetricLoss

WINDOW = 50  # the gap is averaged over so many iterations, because that of one small batch is noisy
NEAR = 0.03
POINTS = 125  # at most, in a course that is kept
LEARNING_RATE = 1e-2
START = 4.0  # of gamma_neg
SCENES = {'train': 4000, 'val': 2000}


def settling(gamma_neg: list[float], gaps: list[float], target: float) -> dict:
    """Return how a training settles, from the exponent and the gap of each iteration.

    Returns:
        ``settled`` is the iteration after which the gap, averaged over 50 iterations, is within 0.03 of the target in
        99 % of the iterations. It is None if this is in the last fifth or later. Over the last fifth, ``gamma_neg`` is
        the mean, ``wobble`` its standard deviation, and ``error`` the mean distance of the averaged gap from the
        target.

    Example:
        >>> settling([4.0] * 20 + [5.0] * 180, [-0.5] * 20 + [0.1] * 180, target=0.1)
        {'settled': 67, 'gamma_neg': 5.0, 'wobble': 0.0, 'error': 0.0}
    """
    window, fifth = min(WINDOW, len(gaps)), len(gaps) // 5 or 1
    errors = [abs(mean(gaps[end - window : end]) - target) for end in range(window, len(gaps) + 1)]
    settled, far = None, 0
    for later, error in enumerate(reversed(errors), start=1):
        far += error > NEAR
        if later > fifth and far <= 0.01 * later:
            settled = len(gaps) - later + 1
    return dict(
        settled=settled,
        gamma_neg=round(mean(gamma_neg[-fifth:]), 3),
        wobble=round(pstdev(gamma_neg[-fifth:]), 4),
        error=round(mean(errors[-fifth:]), 4),
    )


def thin(course: dict[str, list[float]]) -> dict[str, list]:
    """Keep at most 125 points of a course with their ``iteration``. The gap is averaged over 50 iterations.

    Example:
        >>> thin(dict(gamma_neg=[4.0, 4.5, 5.0], delta_p=[0.1, 0.2, 0.6]))
        {'iteration': [0, 1, 2], 'gamma_neg': [4.0, 4.5, 5.0], 'delta_p': [0.1, 0.15, 0.3]}
    """
    length = len(course['delta_p'])
    at = list(range(length - 1, -1, -max(1, -(-length // POINTS))))[::-1]  # including the last
    gaps = {i: round(mean(course['delta_p'][max(0, i + 1 - WINDOW) : i + 1]), 5) for i in at}
    kept = {name: [values[i] for i in at] for name, values in course.items()}
    return dict(iteration=at, **kept | dict(delta_p=list(gaps.values())))


def steps_cell(spec: dict, scenes: dict[str, int] | None = None) -> dict:
    """Train a linear classifier on features. A ``step_size`` of 0 keeps the exponent constant.

    Args:
        spec: ``step_size``, ``batch_size``, ``iterations`` and ``delta_p_target``.
        scenes: Number of scenes of each split, if it is not :data:`SCENES`.

    Returns:
        ``mAP`` on validation scenes, in percent, and the result of :func:`settling`.
    """
    torch.manual_seed(0)
    count, batch_size, target = spec['iterations'], spec['batch_size'], spec['delta_p_target']
    data = {split: features(split, number) for split, number in (scenes or SCENES).items()}
    (inputs, labels), (val_inputs, val_labels) = data['train'], data['val']
    layer = torch.nn.Linear(inputs.shape[1], labels.shape[1])
    step_size = spec['step_size']
    loss = AsymmetricLoss(gamma_neg=START)
    if step_size:
        loss = AdaptiveAsymmetricLoss(gamma_neg=START, delta_p_target=target, step_size=step_size)
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
    """Return standardised features (scenes, channels) of the single-digit weights, and labels (scenes, classes)."""
    config = Config.fromfile(DIGIT_SCENES.config_path('ft', 'ce'))
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
