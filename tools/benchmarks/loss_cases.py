"""Inputs, contenders and the correctness gate of the loss benchmark."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mmasl import asymmetric_loss, softmax_asymmetric_loss
from mmasl.functional.asymmetric_loss import make_asymmetry
from mmasl.functional.softmax_asymmetric_loss import make_softmax_asymmetry
from mmasl.ops.asymmetric_loss import OP as SIGMOID
from mmasl.ops.cpu_library import LEVELS
from mmasl.ops.softmax_asymmetric_loss import OP as SOFTMAX
from mmasl.testing import TOLERANCE, largest_error

BCE, CROSS_ENTROPY, FLOOR = 'torch BCE-with-logits', 'torch cross_entropy', 'copy of the same bytes'
AUTHORS = 'timm AsymmetricLossMultiLabel'  # the formula of the authors' script
AUTHORS_COMPILED = f'{AUTHORS}, torch.compile'
GATED_LOGITS = 1 << 20  # number of logits that the gate computes in float64
POSITIVES = 0.036  # share of positive labels (dense) or foreground rows
# The distance of the logits' mean from logit(0.05), in standard deviations (1.5). It sets the share of negatives above
# the margin m=0.05: half of them, or 5 %.
REGIMES = {'initial': 0.0, 'trained': -1.645}
Function = Callable[[Tensor, Tensor], Tensor]  # (pred, target) -> scalar loss


class Workload(NamedTuple):
    rows: int
    columns: int
    kind: str  # kind of loss and targets: 'dense', 'index' or 'softmax'
    only: tuple[str, ...] = ()  # if given, only contenders with one of these words in their names are measured
    regimes: tuple[str, ...] = tuple(REGIMES)


SIZE_ONLY = ('mmasl cpu, AVX', 'mmasl triton', FLOOR)
WORKLOADS = {
    '128x80': Workload(128, 80, 'dense'),
    '128x9605': Workload(128, 9605, 'dense'),  # Open Images
    '44800x80': Workload(44_800, 80, 'index'),  # FCOS, 2 images
    '358400x80': Workload(358_400, 80, 'index'),  # FCOS, 16 images
    '1024x32000': Workload(1024, 32_000, 'dense'),  # extreme classification
    '12500x80': Workload(12_500, 80, 'index', SIZE_ONLY, ('trained',)),  # 10^6 logits
    '1250000x80': Workload(1_250_000, 80, 'index', SIZE_ONLY, ('trained',)),  # 10^8
    'softmax 128x1000': Workload(128, 1000, 'softmax', regimes=('initial',)),
    'softmax 1024x32000': Workload(1024, 32_000, 'softmax', regimes=('initial',)),
}


@dataclass
class Case:
    """The inputs of one workload, and the functions that compute a scalar loss from them."""

    workload: str
    regime: str
    pred: Tensor
    target: Tensor
    contenders: dict[str, Function]
    reference: Function
    captured: list[str] = field(default_factory=list)  # the contenders whose time is that of a CUDA graph

    @property
    def numel(self) -> int:
        return self.pred.numel()

    @property
    def ours(self) -> list[str]:
        return [name for name in self.contenders if name.startswith('mmasl')]


def make_case(
    workload: str,
    regime: str,
    device: str,
    dtype: torch.dtype,
    names: list[str] | None = None,
    rows: int | None = None,
    backends_of: str | None = None,
) -> Case:
    """Make the case of a workload, with at most ``rows`` rows and with our backends for the device ``backends_of``."""
    own_rows, columns, kind, only, _ = WORKLOADS[workload]
    rows = own_rows if rows is None else min(rows, own_rows)
    generator = torch.Generator().manual_seed(0)
    mean = torch.tensor(0.05).logit() + 1.5 * REGIMES[regime]
    pred = (1.5 * torch.randn(rows, columns, generator=generator) + mean).to(device, dtype).requires_grad_()
    if kind == 'dense':
        target = (torch.rand(rows, columns, generator=generator) < POSITIVES).float()
    else:
        target = torch.randint(0, columns, (rows,), generator=generator)
        if kind == 'index':
            target[torch.rand(rows, generator=generator) > POSITIVES] = columns
    target = target.to(device)

    @cache  # dense labels are made before the timing, which flatters the peers that need them
    def dense(dtype: torch.dtype = torch.float32) -> Tensor:
        if kind == 'dense':
            return target.to(dtype)
        one_hot = torch.zeros(rows, columns + 1, device=device, dtype=dtype).scatter_(1, target[:, None], 1)
        return one_hot[:, :columns].contiguous()

    @cache
    def forget() -> None:  # otherwise torch stops compiling after eight shapes and dtypes
        torch.compiler.reset()

    def compiled(function: Function, **options) -> Function:
        @cache
        def get():  # the compiler is imported and forgets other cases when it is first needed
            forget()
            return torch.compile(function, **options)

        return lambda pred, target: get()(pred, target)

    function = softmax_asymmetric_loss if kind == 'softmax' else asymmetric_loss
    loss = partial(function, avg_factor=rows)
    peers = _softmax_peers() if kind == 'softmax' else _sigmoid_peers(dense, compiled if device != 'cpu' else None)
    source = torch.zeros(pred.numel() * (3 if kind == 'dense' else 2) // 2, device=device, dtype=dtype)
    # The copy reads and writes as many bytes as one pass must: logits, dense labels and gradient.
    contenders = _ours(loss, kind, rows, backends_of or device, compiled) | peers
    contenders[FLOOR] = lambda pred, target: source.clone()
    if only:
        contenders = {name: f for name, f in contenders.items() if any(word in name for word in only)}
    if names is not None:
        unknown = set(names) - set(contenders)
        if unknown:
            raise SystemExit(f'--contenders: expected among {sorted(contenders)}, got {sorted(unknown)}')
        contenders = {name: contenders[name] for name in names}
    return Case(workload, regime, pred, target, contenders, partial(loss, backend='reference'))


def _ours(loss: Callable, kind: str, rows: int, device: str, compiled: Callable) -> dict[str, Function]:
    contenders = {}
    if device == 'cpu':
        op = SOFTMAX if kind == 'softmax' else SIGMOID
        asymmetry = make_softmax_asymmetry() if kind == 'softmax' else make_asymmetry()
        if op.library.reason is None:
            contenders[f'mmasl cpu, {LEVELS[op.library.level]}'] = partial(loss, backend='cpu')
        for level in range(op.library.level - 1, -1, -1):  # the public function always takes the best level
            contenders[f'mmasl cpu, {LEVELS[level]}'] = lambda pred, target, level=level: op.cpu(
                pred, target, None, None, 1 / rows, asymmetry, True, check=True, level=level
            )
    else:
        contenders['mmasl triton'] = partial(loss, backend='triton')
        contenders['mmasl triton, range checks'] = partial(loss, backend='triton', check_target_range=True)
    contenders['mmasl plain'] = partial(loss, backend='plain')
    contenders['mmasl reference'] = partial(loss, backend='reference')
    contenders['mmasl reference, torch.compile'] = compiled(partial(loss, backend='reference'))
    return contenders


def _optional(module: str, name: str):
    try:
        return getattr(import_module(module), name)
    except ImportError:
        return None


def _sigmoid_peers(dense: Callable[..., Tensor], compiled: Callable | None) -> dict[str, Function]:
    """Return the installed peers; each computes its own kind of loss from the same inputs."""
    peers = {BCE: lambda pred, target: F.binary_cross_entropy_with_logits(pred, dense(pred.dtype), reduction='sum')}
    if focal := _optional('torchvision.ops', 'sigmoid_focal_loss'):
        peers['torchvision sigmoid_focal_loss'] = lambda pred, target: focal(pred, dense(), reduction='sum')
    if kind := _optional('timm.loss', 'AsymmetricLossMultiLabel'):
        timm_loss = kind(gamma_neg=4, gamma_pos=0, clip=0.05)
        peers[AUTHORS] = lambda pred, target: timm_loss(pred, dense())
        if compiled:
            timm_compiled = compiled(timm_loss, dynamic=False)
            peers[AUTHORS_COMPILED] = lambda pred, target: timm_compiled(pred, dense())

    if kind := _optional('mmpretrain.models.losses', 'AsymmetricLoss'):
        mmpretrain_loss = kind(gamma_pos=0.0, gamma_neg=4.0, clip=0.05)
        peers['MMPretrain AsymmetricLoss'] = lambda pred, target: mmpretrain_loss(pred, dense(), avg_factor=len(pred))
    if kind := _optional('mmdet.models.losses', 'FocalLoss'):
        mmdet_loss = kind(use_sigmoid=True)
        peers['MMDetection FocalLoss'] = lambda pred, target: mmdet_loss(pred, target, avg_factor=len(pred))
    return peers


def _softmax_peers() -> dict[str, Function]:
    peers = {
        CROSS_ENTROPY: F.cross_entropy,
        'torch cross_entropy, smoothing': lambda pred, target: F.cross_entropy(pred, target, label_smoothing=0.1),
    }
    if kind := _optional('timm.loss', 'AsymmetricLossSingleLabel'):
        peers['timm AsymmetricLossSingleLabel'] = kind(gamma_pos=0, gamma_neg=4, eps=0.1)
    if kind := _optional('mmpretrain.models.losses', 'LabelSmoothLoss'):
        peers['MMPretrain LabelSmoothLoss'] = kind(label_smooth_val=0.1)
    return peers


def gate(case: Case) -> list[str]:
    """Compare our backends with the float64 reference on the first rows of the case; return a line for each failure."""
    rows = max(1, GATED_LOGITS // case.pred.shape[1])
    pred, target = case.pred.detach()[:rows], case.target[:rows]
    exact_pred = pred.double().requires_grad_()
    exact = case.reference(exact_pred, target)
    (exact_grad,) = torch.autograd.grad(exact, exact_pred)
    failures = []
    for name in case.ours:
        leaf = pred.clone().requires_grad_()
        loss = case.contenders[name](leaf, target)
        # The tolerances are meant for the gradient before the division by avg_factor, which float16 could not hold, and
        # for the mean over these rows.
        times = len(case.pred)
        (grad,) = torch.autograd.grad(loss, leaf, torch.full_like(loss, times))
        pairs = {
            'loss': (
                *(value.detach().double() * times / rows for value in (loss, exact)),
                torch.promote_types(pred.dtype, torch.float32),
            ),
            'gradient': (grad, exact_grad * times, pred.dtype),
        }
        for what, (actual, expected, dtype) in pairs.items():
            error = largest_error(actual, expected, dtype)
            if not error <= TOLERANCE[dtype]:
                where = f'{case.workload} {case.regime}, {name}'
                failures.append(f'{where}: error of the {what} {error:.2g} exceeds {TOLERANCE[dtype]:g}')
    return failures
