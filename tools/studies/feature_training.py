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

POINTS = 10  # a course has about so many


def fixed(gamma_pos: float, gamma_neg: float, clip: float) -> dict:
    """Return the config of an asymmetric loss with these constants."""
    return dict(type='mmasl.AsymmetricLoss', gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip)


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

    A config has the arguments of the loss, and may have some more:

    - ``relative_step``: λ of gamma_neg times the number of steps.
    - ``warm_up``: the share of the steps before gamma_neg and clip move.
    - ``statistic``: ``'median'`` steers by the medians of p_t instead of their means, and ``'held-out'`` by their means
      on held-out samples.
    - ``course`` of a fixed loss: the first and the last gamma_neg of a straight line without feedback.
    """

    def __init__(self, configs: list[dict], total: int) -> None:
        own = ('relative_step', 'warm_up', 'statistic', 'course')
        losses = [MODELS.build({k: v for k, v in config.items() if k not in own}) for config in configs]
        self.gamma_pos = [loss.gamma_pos for loss in losses]
        self.gamma_neg, self.clip = (
            torch.tensor([float(getattr(loss, name)) for loss in losses]) for name in ('gamma_neg', 'clip')
        )
        self.courses = [(index, *config['course']) for index, config in enumerate(configs) if 'course' in config]
        self.total = total
        self.adaptive = [index for index, loss in enumerate(losses) if isinstance(loss, AdaptiveAsymmetricLoss)]
        losses, configs = ([items[index] for index in self.adaptive] for items in (losses, configs))
        self.target, self.momentum = (
            torch.tensor([getattr(loss, name) for loss in losses]) for name in ('delta_p_target', 'momentum')
        )
        self.warm_up = torch.tensor([config.get('warm_up', 0.0) for config in configs])
        self.statistics = [config.get('statistic', 'mean') for config in configs]
        self.sums = torch.zeros(4, len(losses), dtype=torch.float64)
        self.steps, self.bounds = {}, {}
        for name, size in RELATIVE_STEPS.items():
            sizes = [config.get('relative_step', size) if name == 'gamma_neg' else size for config in configs]
            sizes = [loss.steps.get(name, size / total) for loss, size in zip(losses, sizes, strict=True)]
            moves = torch.tensor([name in loss.adapted for loss in losses])
            self.steps[name] = torch.tensor(sizes) * moves
            self.bounds[name] = torch.tensor([loss.bounds[name] for loss in losses]).reshape(-1, 2).unbind(1)

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

    def step(self, logits: Tensor, targets: Tensor, number: int, held_out=None) -> None:
        """Move the constants after step ``number``. ``held_out()`` returns logits and targets of held-out samples."""
        for index, start, end in self.courses:
            self.gamma_neg[index] = start + (end - start) * number / self.total
        if not self.adaptive:
            return
        sums = gap_sums(logits[self.adaptive], targets)
        other = held_out() if 'held-out' in self.statistics else None
        for column, (index, statistic) in enumerate(zip(self.adaptive, self.statistics, strict=True)):
            if statistic == 'median':
                sums[:, column] = median_sums(logits[index], targets)
            elif statistic == 'held-out':
                sums[:, column] = gap_sums(other[0][index : index + 1], other[1])[:, 0]
        usable = (sums[1] > 0) & (sums[3] > 0)
        self.sums = torch.where(usable, self.momentum * self.sums + sums, self.sums)
        excess = (probability_gap(self.sums) - self.target).float()
        moves = usable & (number > self.warm_up * self.total)
        for name, sizes in self.steps.items():
            constants = getattr(self, name)
            old = constants[self.adaptive]
            constants[self.adaptive] = torch.where(
                moves & (sizes > 0), (old - sizes * excess).clamp(*self.bounds[name]), old
            )


def gap_sums(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the sums of Eq. 9 for each run, ``(4, runs)``."""
    runs, samples, classes = logits.shape
    sums = probability_sums(logits.transpose(0, 1).reshape(samples, -1), targets.repeat(1, runs))
    return sums.view(4, runs, classes).sum(2)


def median_sums(logits: Tensor, targets: Tensor) -> Tensor:
    """Return sums of one run as :func:`gap_sums` does, with each p_t replaced by their median."""
    p, is_positive, is_negative = logits.sigmoid(), targets == 1, targets == 0
    counts = is_positive.sum(), is_negative.sum()
    medians = p[is_positive].nanmedian(), 1 - p[is_negative].nanmedian()
    return torch.stack([medians[0] * counts[0], counts[0], medians[1] * counts[1], counts[1]]).nan_to_num().double()


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


def train(
    x: Tensor, y: Tensor, runs: list[tuple[dict, float]], spec: dict, held: tuple[Tensor, Tensor] | None = None
) -> tuple[Classifiers, dict]:
    """Train a classifier for each run, and return the classifiers with the courses of their trainings.

    Args:
        x: ``(N, D)``, or ``(views, N, D)``, of which every sample takes a random view each time.
        y: ``(N, C)``: 1, 0, and -1 for unknown.
        runs: The config of the loss (asymmetric, fixed or adaptive) and the learning rate of each.
        spec: ``seed``, ``hidden``, ``dropout``, ``weight_decay``, ``batch_size``, ``steps`` or ``epochs``, and ``ema``
            (None, or the share of the averaged weights that is kept from step to step).
        held: Held-out inputs and labels, for losses whose statistic is ``'held-out'``, and for the course.

    Returns:
        The classifiers in evaluation mode; and some steps (``step``), with ``gamma_neg``, ``pt_pos`` and ``pt_neg`` of
        each run on the training batches of these steps, and with ``held`` the ``held_pt_pos`` of the first 500
        held-out samples.
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
    fused = torch.__version__ >= (2, 4)  # torch 2.1 has it for GPUs only
    optimizer = torch.optim.AdamW(groups, weight_decay=spec['weight_decay'], fused=fused)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, model.rates, total, pct_start=0.25)
    averages = [parameter.detach().clone() for parameter in model.parameters()] if spec['ema'] else None
    generator = torch.Generator().manual_seed(spec['seed'])

    @torch.no_grad()
    def held_out(chosen=None):
        chosen = torch.randint(len(held[1]), (batch_size,), generator=generator) if chosen is None else chosen
        model.eval()
        logits = model(held[0][chosen])
        model.train()
        return logits, held[1][chosen]

    course = {name: [] for name in ('step', 'gamma_neg', 'pt_pos', 'pt_neg', *(['held_pt_pos'] if held else []))}
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
            found = [asymmetry.gamma_neg, positive / positives, negative / negatives]
            if held:
                positive, positives, *_ = gap_sums(*held_out(slice(500)))
                found.append(positive / positives)
            for name, value in zip(course, (torch.tensor(step), *found), strict=True):
                course[name].append(value.clone())
        asymmetry.step(logits, y[rows], step + 1, held_out)
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
