"""Inputs, contenders and the correctness gate of the loss benchmark."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mmasl import asymmetric_loss
from mmasl.ops.asymmetric_loss import compiled
from mmasl.ops.cpu_support import LEVELS
from mmasl.testing import TOLERANCE, largest_error

BCE, FLOOR = 'torch BCE-with-logits', 'copy of the same bytes'
GATED_ROWS_OF = 1 << 20  # logits that the gate computes in float64
# rows, classes, class-index targets (dense otherwise)
WORKLOADS = {
    '128x80': (128, 80, False),
    '128x9605': (128, 9605, False),  # Open Images
    '44800x80': (44_800, 80, True),  # FCOS, 2 images
    '358400x80': (358_400, 80, True),  # FCOS, 16 images
    '1024x32000': (1024, 32_000, False),  # extreme classification
    '12500x80': (12_500, 80, True),
    '1250000x80': (1_250_000, 80, True),
}
SCALING = ('12500x80', '1250000x80')  # 10^6 and 10^8 logits: measured when asked for
# Mean of the logits, of standard deviation 1.5, in units of it from logit(0.05): the share of negatives above m=0.05.
REGIMES = {'initial': 0.0, 'trained': -1.645}  # half, 5 %
POSITIVES = 0.036  # share of positive labels (dense) or foreground rows


@dataclass
class Case:
    """Inputs of one workload and the functions that compute a scalar loss from them."""

    workload: str
    regime: str
    pred: Tensor
    target: Tensor
    contenders: dict[str, Callable[[], Tensor]]
    ours: list[str]
    gated: int  # rows

    @property
    def numel(self) -> int:
        return self.pred.numel()


def make_case(workload: str, regime: str, device: str, names: list[str] | None = None) -> Case:
    rows, columns, by_class = WORKLOADS[workload]
    generator = torch.Generator().manual_seed(0)
    mean = torch.tensor(0.05).logit() + 1.5 * REGIMES[regime]
    pred = (1.5 * torch.randn(rows, columns, generator=generator) + mean).to(device).requires_grad_()
    if by_class:
        target = torch.randint(0, columns, (rows,), generator=generator)
        target[torch.rand(rows, generator=generator) > POSITIVES] = columns
        target = target.to(device)
    else:
        target = (torch.rand(rows, columns, generator=generator) < POSITIVES).float().to(device)

    @cache  # made before anything is timed, which flatters the peers that need dense labels
    def dense() -> Tensor:
        if not by_class:
            return target
        return torch.zeros(rows, columns + 1, device=device).scatter_(1, target[:, None], 1)[:, :columns].contiguous()

    ours = _ours(pred, target, device)
    contenders = ours | _peers(pred, target, dense) | _floor(pred, by_class)
    if names is not None:
        unknown = set(names) - set(contenders)
        if unknown:
            raise SystemExit(f'--contenders: expected among {sorted(contenders)}, got {sorted(unknown)}')
        contenders = {name: contenders[name] for name in names}
    gated = max(1, GATED_ROWS_OF // columns)
    return Case(workload, regime, pred, target, contenders, [name for name in ours if name in contenders], gated)


def _ours(pred: Tensor, target: Tensor, device: str) -> dict[str, Callable]:
    rows = pred.shape[0]
    run = partial(asymmetric_loss, avg_factor=rows)
    contenders = {}
    if device == 'cpu' and compiled.LIBRARY is not None:
        for level in range(compiled.LIBRARY.mmasl_level(), -1, -1):
            contenders[f'mmasl cpu, {LEVELS[level]}'] = partial(at_level, level, run, pred, target)
    if device == 'cpu':
        contenders['mmasl cpu, plain torch'] = partial(at_level, None, run, pred, target)
    else:
        contenders['mmasl triton'] = partial(run, pred, target, backend='triton')
        contenders['mmasl triton, range checks'] = partial(run, pred, target, backend='triton', check_target_range=True)
    contenders['mmasl reference'] = partial(run, pred, target, backend='reference')
    contenders['mmasl reference, torch.compile'] = partial(run, pred, target, backend='compile')
    return contenders


def at_level(level: int | None, run: Callable, *args, **kwargs) -> Tensor:
    """The CPU backend compiled for one instruction set, or (None) not compiled."""
    library, best = compiled.LIBRARY, compiled.level
    compiled.LIBRARY, compiled.level = (None, best) if level is None else (library, level)
    try:
        return run(*args, **kwargs, backend='cpu')
    finally:
        compiled.LIBRARY, compiled.level = library, best


def _peers(pred: Tensor, target: Tensor, dense: Callable) -> dict[str, Callable]:
    """The peers that are installed; each computes a loss of the same inputs, its own kind."""
    rows = pred.shape[0]
    peers = {BCE: lambda: F.binary_cross_entropy_with_logits(pred, dense(), reduction='sum')}
    try:
        from torchvision.ops import sigmoid_focal_loss

        peers['torchvision sigmoid_focal_loss'] = lambda: sigmoid_focal_loss(pred, dense(), reduction='sum')
    except ImportError:
        pass
    try:
        from timm.loss import AsymmetricLossMultiLabel

        timm_loss = AsymmetricLossMultiLabel(gamma_neg=4, gamma_pos=0, clip=0.05)
        peers['timm AsymmetricLossMultiLabel'] = lambda: timm_loss(pred, dense())
    except ImportError:
        pass
    try:
        from mmpretrain.models.losses import AsymmetricLoss

        mmpretrain_loss = AsymmetricLoss(gamma_pos=0.0, gamma_neg=4.0, clip=0.05)
        peers['MMPretrain AsymmetricLoss'] = lambda: mmpretrain_loss(pred, dense(), avg_factor=rows)
    except ImportError:
        pass
    try:
        from mmdet.models.losses import FocalLoss

        mmdet_loss = FocalLoss(use_sigmoid=True)
        peers['MMDetection FocalLoss'] = lambda: mmdet_loss(pred, target, avg_factor=rows)
    except ImportError:
        pass
    return peers


def _floor(pred: Tensor, by_class: bool) -> dict[str, Callable]:
    """A fresh copy that reads and writes as many bytes as one pass must: logits, dense labels, gradient."""
    numel = pred.numel() if by_class else pred.numel() * 3 // 2
    source = torch.zeros(numel, device=pred.device)
    return {FLOOR: source.clone}


def gate(case: Case) -> list[str]:
    """What our backends get wrong on the first rows of the case, against the float64 reference; empty when nothing."""
    pred = case.pred.detach()[: case.gated]
    target = case.target[: case.gated]
    exact_pred = pred.double().requires_grad_()
    exact = asymmetric_loss(exact_pred, target, avg_factor=len(pred), backend='reference')
    (exact_grad,) = torch.autograd.grad(exact, exact_pred)
    failures = []
    for name in case.ours:
        leaf = pred.clone().requires_grad_()
        function = case.contenders[name]
        arguments = [
            leaf if value is case.pred else target if value is case.target else value for value in function.args
        ]
        # The partial of the function below is rebuilt on the gated rows, with their number as avg_factor.
        keywords = function.keywords | ({} if function.func is at_level else {'avg_factor': len(pred)})
        if function.func is at_level:
            arguments[1] = partial(asymmetric_loss, avg_factor=len(pred))
        loss = function.func(*arguments, **keywords)
        (grad,) = torch.autograd.grad(loss, leaf)
        # The gradient is compared before the division by avg_factor, where the tolerance is meant.
        errors = {
            'loss': largest_error(loss, exact.detach(), pred.dtype),
            'gradient': largest_error(grad * len(pred), exact_grad * len(pred), pred.dtype),
        }
        failures += [
            f'{case.workload} {case.regime}, {name}: error of the {what} {error:.2g} exceeds {TOLERANCE[pred.dtype]:g}'
            for what, error in errors.items()
            if not error <= TOLERANCE[pred.dtype]
        ]
    return failures
