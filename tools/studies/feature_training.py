"""Many small classifiers that are trained side by side on vectors in memory, in seconds on one core.

All classifiers take the same batches in the same order from the same start, so their losses are compared in pairs.
Except for rounding, the training is that of ``configs/features``: standardised inputs, optional hidden layers with ReLU
and dropout, AdamW, and one cycle of the learning rate.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from mmasl import asymmetric_loss
from mmasl.evaluation import multilabel_metrics
from mmasl.functional.probability_sums import probability_gap, probability_sums
from mmasl.models.losses.adaptive_asymmetric_loss import RELATIVE_STEPS, AdaptiveAsymmetricLoss
from mmasl.registry import MODELS

POINTS = 20  # a course has about so many


class Stack(nn.Module):
    """Several classifiers (``runs``) of one shape and one start, on the same inputs."""

    def __init__(self, runs: int, widths: list[int]) -> None:
        super().__init__()
        layers = [nn.Linear(*pair) for pair in pairwise(widths)]
        self.weights = nn.ParameterList(layer.weight.detach().repeat(runs, 1, 1) for layer in layers)
        self.biases = nn.ParameterList(layer.bias.detach().repeat(runs, 1, 1) for layer in layers)

    def forward(self, x: Tensor, masks: list[Tensor] | None = None) -> Tensor:
        """Return logits ``(runs, N, C)`` of inputs ``(N, D)``. Masks drop units, one mask for each hidden layer."""
        first = self.weights[0]
        x = nn.functional.linear(x, first.flatten(0, 1)).view(len(x), *first.shape[:2]).transpose(0, 1)
        x = x + self.biases[0]
        for index, (weight, bias) in enumerate(zip(self.weights[1:], self.biases[1:], strict=True)):
            x = x.relu() if masks is None else x.relu() * masks[index]
            x = torch.baddbmm(bias.to(x.dtype), x, weight.to(x.dtype).transpose(1, 2))
        return x.float()


class Asymmetry:
    """The constants of every run. Eq. 11 changes those of ``mmasl.AdaptiveAsymmetricLoss``.

    A config has the arguments of the loss. It may also have ``relative_step``, which is λ times the number of steps. A
    fixed loss may have ``course``, the first and the last gamma_neg of a straight line without feedback.
    """

    def __init__(self, configs: list[dict], total: int) -> None:
        own = ('relative_step', 'course')
        losses = [MODELS.build({k: v for k, v in config.items() if k not in own}) for config in configs]
        self.gamma_pos = [loss.gamma_pos for loss in losses]
        self.gamma_neg, self.clip = (
            torch.tensor([float(getattr(loss, name)) for loss in losses]) for name in ('gamma_neg', 'clip')
        )
        adaptive = [index for index, loss in enumerate(losses) if isinstance(loss, AdaptiveAsymmetricLoss)]
        steps = [self._step_size(losses[index], configs[index], total) for index in adaptive]
        self.adaptive, self.step_size = torch.tensor(adaptive, dtype=torch.long), torch.tensor(steps)
        self.target, self.momentum = (
            torch.tensor([getattr(losses[index], name) for index in adaptive])
            for name in ('delta_p_target', 'momentum')
        )
        bounds = [losses[index].bounds['gamma_neg'] for index in adaptive]
        self.bounds = torch.tensor(bounds).reshape(-1, 2).unbind(1)
        self.sums = torch.zeros(4, len(adaptive), dtype=torch.float64)
        self.courses = [(index, *config['course']) for index, config in enumerate(configs) if 'course' in config]
        self.total = total

    @staticmethod
    def _step_size(loss: AdaptiveAsymmetricLoss, config: dict, total: int) -> float:
        relative = config.get('relative_step', RELATIVE_STEPS['gamma_neg'])
        return loss.steps.get('gamma_neg', relative / total)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the losses of all runs for logits ``(runs, N, C)``. A loss is the mean over the samples."""
        value, (_, samples, classes) = 0.0, logits.shape
        for gamma_pos in sorted(set(self.gamma_pos)):
            rows = [index for index, gamma in enumerate(self.gamma_pos) if gamma == gamma_pos]
            constants = (values[rows].repeat_interleave(classes) for values in (self.gamma_neg, self.clip))
            pred = logits[rows].transpose(0, 1).reshape(samples, -1)
            loss = asymmetric_loss(pred, targets.repeat(1, len(rows)), None, gamma_pos, *constants, 'sum')
            value = value + loss / samples
        return value

    def step(self, logits: Tensor, targets: Tensor, number: int) -> None:
        for index, start, end in self.courses:
            self.gamma_neg[index] = start + (end - start) * number / self.total
        if len(self.adaptive):
            sums = gap_sums(logits[self.adaptive], targets)
            usable = (sums[1] > 0) & (sums[3] > 0)
            self.sums = torch.where(usable, self.momentum * self.sums + sums, self.sums)
            excess = (probability_gap(self.sums) - self.target).float()
            old = self.gamma_neg[self.adaptive]
            moved = (old - self.step_size * excess).clamp(*self.bounds)
            self.gamma_neg[self.adaptive] = torch.where(usable, moved, old)


def gap_sums(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the sums of Eq. 9 for each run, ``(4, runs)``."""
    runs, samples, classes = logits.shape
    sums = probability_sums(logits.transpose(0, 1).reshape(samples, -1), targets.repeat(1, runs))
    return sums.view(4, runs, classes).sum(2)


class Classifiers(nn.Module):
    """Standardisation and a stack for each learning rate. ``rates`` has the rate of each run."""

    def __init__(self, widths: list[int], rates: list[float]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(widths[0], momentum=None, affine=False)
        self.rates = sorted(set(rates))
        start = torch.get_rng_state()
        stacks = []
        for rate in self.rates:
            torch.set_rng_state(start)
            stacks.append(Stack(rates.count(rate), widths))
        self.stacks = nn.ModuleList(stacks)
        self.order = sorted(range(len(rates)), key=sorted(range(len(rates)), key=rates.__getitem__).__getitem__)

    def forward(self, x: Tensor, masks: list[Tensor] | None = None) -> Tensor:
        x = self.norm(x)
        x = x * masks[0] if masks is not None and len(self.stacks[0].weights) == 1 else x
        return torch.cat([stack(x, masks) for stack in self.stacks])[self.order]

    @torch.no_grad()
    def scores(self, x: Tensor) -> Tensor:
        """Return probabilities ``(runs, N, C)``."""
        return torch.cat([self(part).sigmoid() for part in x.split(500)], 1)


def train(x: Tensor, y: Tensor, runs: list[tuple[dict, float]], spec: dict) -> tuple[Classifiers, dict]:
    """Train a classifier for each run, and return the classifiers with the courses of their trainings.

    Args:
        x: ``(N, D)``, or ``(views, N, D)``, of which every sample takes a random view each time.
        y: ``(N, C)``: 1, 0, and -1 for unknown.
        runs: The config of the loss (asymmetric, fixed or adaptive) and the learning rate of each.
        spec: ``seed``, ``hidden``, ``dropout``, ``weight_decay``, ``batch_size``, ``steps`` or ``epochs``, and ``ema``
            (None, or the share of the averaged weights that is kept from step to step).

    Returns:
        The classifiers in evaluation mode; and some steps (``step``), with ``gamma_neg``, ``pt_pos`` and ``pt_neg`` of
        each run on the training batches of these steps.
    """
    torch.manual_seed(spec['seed'])
    views = x if x.dim() == 3 else x.unsqueeze(0)
    widths = [x.shape[-1], *spec['hidden'], y.shape[1]]
    batch_size = min(spec['batch_size'], len(y))
    per_epoch = len(y) // batch_size
    total = spec.get('steps') or spec['epochs'] * per_epoch
    model = Classifiers(widths, [rate for _, rate in runs])
    asymmetry = Asymmetry([loss for loss, _ in runs], total)
    groups = [dict(params=stack.parameters(), lr=rate) for stack, rate in zip(model.stacks, model.rates, strict=True)]
    optimizer = torch.optim.AdamW(groups, weight_decay=spec['weight_decay'], fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, model.rates, total, pct_start=0.25)
    averages = [parameter.detach().clone() for parameter in model.parameters()] if spec['ema'] else None
    course = {'step': [], 'gamma_neg': [], 'pt_pos': [], 'pt_neg': []}
    for step in range(total):
        if step % per_epoch == 0:
            order = torch.randperm(len(y))
        rows = order[step % per_epoch * batch_size :][:batch_size]
        inputs = views[torch.randint(len(views), rows.shape), rows] if len(views) > 1 else views[0, rows]
        masks = None
        if spec['dropout']:
            kept = 1 - spec['dropout']
            masks = [torch.rand(len(rows), width).lt(kept) / kept for width in (spec['hidden'] or widths[:1])]
        with torch.autocast('cpu', torch.bfloat16, enabled=bool(spec['hidden'])):
            logits = model(inputs, masks)
        optimizer.zero_grad()
        asymmetry.loss(logits, y[rows]).backward()
        optimizer.step()
        cycle.step()
        logits = logits.detach()
        if averages:
            torch._foreach_lerp_(averages, list(model.parameters()), 1 - spec['ema'])
        if step % -(-total // POINTS) == 0 or step == total - 1:
            positive, positives, negative, negatives = gap_sums(logits, y[rows])
            found = asymmetry.gamma_neg, positive / positives, negative / negatives
            for name, value in zip(course, (torch.tensor(step), *found), strict=True):
                course[name].append(value.clone())
        asymmetry.step(logits, y[rows], step + 1)
    if averages:
        for parameter, average in zip(model.parameters(), averages, strict=True):
            parameter.data.copy_(average)
    return model.eval(), {name: torch.stack(values, -1).tolist() for name, values in course.items()}


def measure(scores: Tensor, y: Tensor) -> dict[str, float | np.ndarray]:
    """Return :func:`mmasl.evaluation.multilabel_metrics` of the probabilities of one run."""
    return multilabel_metrics(scores.numpy(), y.numpy(), topk=None)


def drop_positives(y: Tensor, share: float, seed: int) -> Tensor:
    """Return labels in which a ``share`` of the positives, chosen by ``seed``, has become negative."""
    generator = torch.Generator().manual_seed(seed)
    return y.masked_fill((torch.rand(y.shape, generator=generator) < share) & (y == 1), 0)
