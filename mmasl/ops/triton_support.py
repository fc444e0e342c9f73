"""What the Triton backends share: the check whether kernels can run here, their autograd Function and the reduction.

Nothing waits for the GPU: the upstream gradient, the scale and the number of labels stay on it.
"""

import os
import shutil
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from mmasl.compat import is_followed
from mmasl.ops.analytic import Given, differentiate

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
PROGRAMS = 32  # for each multiprocessor: several waves, and few enough that the set-up of a program serves many tiles
MOST_PROGRAMS = 8192  # a single program adds up so many partial sums
INTERPRETED_PROGRAMS = 2  # so that a program takes several tiles, as on a GPU


def interpreting() -> bool:
    """Return whether Triton runs kernels in its interpreter, on the CPU, which tests do."""
    return os.environ.get('TRITON_INTERPRET', '0') == '1'


def triton_unavailable(pred: Tensor) -> str | None:
    """Return the reason why a Triton kernel cannot take ``pred``, or None.

    Example:
        >>> triton_unavailable(torch.zeros(1, 2, dtype=torch.float64))
        'pred is float64, which the kernels do not compute in'
    """
    if pred.dtype == torch.float64:
        return 'pred is float64, which the kernels do not compute in'
    if pred.dtype not in DTYPES:
        return f'pred is {pred.dtype}, which the kernels do not read'
    if not _installed():
        return 'the package triton is not installed'
    if pred.device.type != 'cuda' and not interpreting():
        return f'pred is on {pred.device}, and a kernel needs a CUDA device'
    if pred.is_cuda and torch.version.cuda is not None:
        capability = torch.cuda.get_device_capability(pred.device)
        if capability < (8, 0):
            return f'Triton needs compute capability 8.0, and {pred.device} has {capability[0]}.{capability[1]}'
    module = common_kernels()
    if isinstance(module, str):
        return module
    if interpreting() != module.INTERPRETED:
        return 'TRITON_INTERPRET has changed since the kernels were imported'
    return None


@lru_cache(maxsize=1)
def common_kernels() -> ModuleType | str:
    """Return the module ``triton_math``, which every kernel imports, or the reason why it cannot be used."""
    try:
        import triton

        oldest = (3, 0) if interpreting() else (2, 1)  # before 3 the interpreter lacks what the kernels need
        if tuple(map(int, triton.__version__.split('.')[:2])) < oldest:
            return f'Triton {oldest[0]}.{oldest[1]} or later is needed and this is {triton.__version__}'
        from mmasl.ops import triton_math
    except (ImportError, AttributeError) as error:
        return f'triton cannot be imported: {error}'
    # Triton builds its launcher when the first kernel runs.
    if not (triton_math.INTERPRETED or os.environ.get('CC') or shutil.which('gcc') or shutil.which('clang')):
        return 'Triton needs a C compiler: no CC, gcc or clang was found'
    return triton_math


@cache
def _installed() -> bool:
    return find_spec('triton') is not None


class Plan(NamedTuple):
    """What the kernels of an op need for one input.

    Attributes:
        shape: The shape of the loss that is not reduced.
        tiles: The number of tiles, which the programs take in turns.
        labels: The number by which the mean divides, or None if the kernel counts the labels that are not ignored.
        kept: The shape of a float32 tensor that the forward pass leaves for the backward pass, or None.
    """

    shape: tuple[int, ...]
    tiles: int
    labels: int | None
    kept: tuple[int, ...] | None = None


class Launch(NamedTuple):
    """What one launch computes. All tensors are contiguous and on the device of the logits.

    Attributes:
        mode: It says what the launch writes to ``out``. 'sum': a float32 for each program, the sum of its losses over
            LOSS_UNIT. 'none': the loss of the plan's shape in float32. 'grad': the gradient (N, C).
        programs: The number of programs, which share the tiles.
        out: The tensor that is filled.
        counts: An int32 for each program, which 'sum' fills with its number of labels; None if they are not counted.
        kept: 'sum' and 'none' fill it, and 'grad' reads it; None if no gradient will be asked for.
        upstream: The gradient that reaches the loss, for 'grad'.
        upstream_is: 'each' if ``upstream`` has a number for each loss, 'one' if it has one for all, and 'scaled' if
            this one is still to be multiplied by ``scale``.
        scale: The number by which the reduced loss was multiplied, 0-d float32.
    """

    mode: str
    programs: int
    out: Tensor
    counts: Tensor | None = None
    kept: Tensor | None = None
    upstream: Tensor | None = None
    upstream_is: str = 'none'
    scale: Tensor | None = None


def refuse(pred: Tensor) -> None:
    """Raise ValueError if the kernels cannot take ``pred``."""
    reason = triton_unavailable(pred)
    if reason is not None:
        raise ValueError(f'pred: the triton backend cannot be used because {reason}')


def run_on_triton(
    launch: Callable, reference: Callable, plan: Plan, pred: Tensor, given: Given, reduce: bool
) -> Tensor:
    """Return the loss of ``reference``; its gradient is computed by a kernel that reads the inputs again.

    Sums are float32 within a program and float64 over the programs, in an order that depends only on the size of the
    GPU. The gradient is computed in float32 and rounded once. The second derivative is the reference's.

    Args:
        launch: ``launch(what, pred, given)`` runs the op's kernel as the :class:`Launch` says.
        reference: ``reference(pred, *given, reduce)``; it computes empty input too.
        plan: The plan for this input.
        given: All other arguments of the loss.
        reduce: Return the sum times the scale, instead of the loss of the plan's shape.
    """
    if pred.numel() == 0:
        return reference(pred, *given, reduce)
    if torch.is_grad_enabled() and pred.requires_grad:
        return _Loss.apply(pred, launch, reference, plan, given, reduce)
    return _forward(launch, plan, pred, given, reduce, None).value


class _Loss(Function):
    """``given`` is one argument because autograd looks at each."""

    @staticmethod
    def forward(ctx, pred, launch, reference, plan, given, reduce):
        kept = None if plan.kept is None else pred.new_empty(plan.kept, dtype=torch.float32)
        loss = _forward(launch, plan, pred, given, reduce, kept)
        ctx.scale, ctx.asymmetry = given.scale, given.asymmetry
        ctx.launch, ctx.reference, ctx.plan, ctx.reduce = launch, reference, plan, reduce
        ctx.save_for_backward(pred, given.target, given.weight, given.class_weight, loss.used_scale, kept)
        return loss.value

    @staticmethod
    def backward(ctx, upstream):
        pred, target, weight, class_weight, used_scale, kept = ctx.saved_tensors
        given = Given(target, weight, class_weight, ctx.scale, ctx.asymmetry)
        if torch.is_grad_enabled() or is_followed(upstream):  # create_graph=True, or a batch of upstream gradients
            grad = differentiate(ctx.reference, pred, given, ctx.reduce, upstream)
        else:
            # The interpreter cuts digits off where a GPU rounds to bfloat16.
            dtype = torch.float32 if common_kernels().INTERPRETED else pred.dtype
            grad = torch.empty_like(pred, dtype=dtype, memory_format=torch.contiguous_format)
            if any(upstream.stride()):
                how, upstream = 'each', upstream.contiguous()
            else:  # a single number, as sum() or mean() of the element-wise loss hands it down too
                how = 'scaled' if ctx.reduce else 'one'
            what = Launch(
                mode='grad',
                programs=_programs(pred, ctx.plan),
                out=grad,
                kept=kept,
                upstream=upstream,
                upstream_is=how,
                scale=used_scale,
            )
            _run(ctx.launch, what, pred, given)
            grad = grad.to(pred.dtype)
        return grad, None, None, None, None, None


class _LossOnDevice(NamedTuple):
    """A loss and, if it is reduced, the scale by which it was multiplied, 0-d float32 on the device."""

    value: Tensor
    used_scale: Tensor | None = None


def _forward(
    launch: Callable, plan: Plan, pred: Tensor, given: Given, reduce: bool, kept: Tensor | None
) -> _LossOnDevice:
    programs = _programs(pred, plan)
    if not reduce:
        loss = pred.new_empty(plan.shape, dtype=torch.float32)
        _run(launch, Launch('none', programs, loss, kept=kept), pred, given)
        return _LossOnDevice(loss)
    how, scale = 'number', given.scale
    if scale is None and plan.labels is not None:
        scale = 1 / plan.labels
    elif scale is None:
        how = 'count'
    elif isinstance(scale, Tensor) and scale.device == pred.device:
        how = 'tensor'
    partials = pred.new_empty(programs, dtype=torch.float32)
    counts = pred.new_empty(programs, dtype=torch.int32) if how == 'count' else None
    loss, used_scale = (pred.new_empty((), dtype=torch.float32) for _ in range(2))
    _run(launch, Launch('sum', programs, partials, counts, kept), pred, given)
    with torch.cuda.device_of(pred):
        common_kernels().reduce_partials[(1,)](  # type: ignore[union-attr]
            partials=partials,
            counts=counts,
            scale=float(scale) if how == 'number' else scale,
            loss=loss,
            used_scale=used_scale,
            programs=programs,
            COUNT=how == 'count',
            SCALE=how,
            BLOCK=MOST_PROGRAMS,
            num_warps=8,
        )
    return _LossOnDevice(loss, used_scale)


def _run(launch: Callable, what: Launch, pred: Tensor, given: Given) -> None:
    target = given.target.contiguous()
    given = given._replace(
        target=target.view(torch.uint8) if target.dtype == torch.bool else target,
        weight=None if given.weight is None else given.weight.contiguous(),
        class_weight=None if given.class_weight is None else given.class_weight.contiguous(),
    )
    with torch.cuda.device_of(pred):  # Triton launches on the current device
        launch(what, pred.contiguous(), given)


def _programs(pred: Tensor, plan: Plan) -> int:
    """Return how many programs share the tiles."""
    programs = INTERPRETED_PROGRAMS
    if pred.is_cuda:
        programs = torch.cuda.get_device_properties(pred.device).multi_processor_count * PROGRAMS
    return min(plan.tiles, programs, MOST_PROGRAMS)


def as_number(value: float) -> float:
    """Return a float, because Triton compiles an int in, and 0 below the smallest normal float32.

    The interpreter takes a smaller number for a float64.
    """
    return float(value) if value >= torch.finfo(torch.float32).tiny else 0.0


def compiled_exponent(gamma: float | Tensor) -> int:
    """Return the exponent if the kernels compute it without a general power, and otherwise -1."""
    return int(gamma) if gamma in (0, 1, 2, 3, 4) else -1
