"""What the Triton backends share: whether kernels can run here, how they enter autograd, and the reduction.

Nothing waits for the GPU: upstream gradient, scale and number of labels stay on it.
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
from mmasl.ops.analytic import differentiate

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
PROGRAMS = 32  # for each multiprocessor, several waves: what a program sets up once is spread over its tiles
MOST_PROGRAMS = 8192  # partial sums that one program adds up
INTERPRETED_PROGRAMS = 2  # so that one takes several tiles, as on a GPU


def interpreting() -> bool:
    """Whether Triton runs kernels in its interpreter, on the CPU, for tests."""
    return os.environ.get('TRITON_INTERPRET', '0') == '1'


def triton_unavailable(pred: Tensor) -> str | None:
    """The reason why a Triton kernel cannot take ``pred``, or None.

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
    """The module ``triton_math``, which every kernel imports, or why it cannot be used."""
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
    """What an op's kernels need for one input.

    Attributes:
        shape: Of the loss that is not reduced.
        tiles: How many the kernel walks over, the programs taking turns.
        labels: By how many the mean divides; None where the kernel has to count those that are not ignored.
        kept: Shape of what the forward pass leaves for the backward pass, in float32; None for nothing.
    """

    shape: tuple[int, ...]
    tiles: int
    labels: int | None
    kept: tuple[int, ...] | None = None


class Launch(NamedTuple):
    """What one launch shall do. All tensors are contiguous and on the device of the logits.

    Attributes:
        mode: 'sum', 'none' or 'grad', which says what ``out`` holds: a float32 for each program, the sum of its losses
            over LOSS_UNIT; the loss of the plan's shape in float32; the gradient (N, C).
        programs: How many share the tiles.
        out: To be filled.
        counts: For 'sum', where labels are counted: an int32 for each program, to be filled.
        kept: Filled by 'sum' and 'none', read by 'grad'; None where no gradient will be asked for.
        upstream: For 'grad': what reaches the loss.
        upstream_is: 'each': one for each loss; 'one' for all; 'scaled': that one, to be multiplied by ``scale``.
        scale: By what the reduced loss was multiplied, 0-d float32.
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
    """Raise ValueError where the kernels cannot take ``pred``."""
    reason = triton_unavailable(pred)
    if reason is not None:
        raise ValueError(f'pred: the triton backend cannot be used because {reason}')


def run_on_triton(
    launch: Callable, reference: Callable, plan: Plan, pred: Tensor, constants: tuple, reduce: bool
) -> Tensor:
    """The loss of ``reference``, and its gradient by a kernel that reads the inputs again.

    Sums are float32 within a program and float64 over the programs, in an order that depends on the GPU's size only.
    The gradient is computed in float32 and rounded once. A second derivative is the reference's.

    Args:
        launch: ``launch(what, pred, target, weight, class_weight, asymmetry)`` runs the op's kernel as the
            :class:`Launch` says.
        reference: ``reference(pred, *constants, reduce)``; it takes empty input too.
        plan: For this input.
        constants: Target, weight, class weight, scale and the constants of the equation. They get no gradient.
        reduce: Sum times scale, else the loss of the plan's shape.
    """
    if pred.numel() == 0:
        return reference(pred, *constants, reduce)
    if torch.is_grad_enabled() and pred.requires_grad:
        return _Loss.apply(pred, launch, reference, plan, constants, reduce)
    return _forward(launch, plan, pred, constants, reduce, None)[0]


class _Loss(Function):
    """``constants`` is one argument, since autograd looks at each."""

    @staticmethod
    def forward(ctx, pred, launch, reference, plan, constants, reduce):
        kept = None if plan.kept is None else pred.new_empty(plan.kept, dtype=torch.float32)
        loss, used_scale = _forward(launch, plan, pred, constants, reduce, kept)
        target, weight, class_weight, *ctx.numbers = constants
        ctx.launch, ctx.reference, ctx.plan, ctx.reduce = launch, reference, plan, reduce
        ctx.save_for_backward(pred, target, weight, class_weight, used_scale, kept)
        return loss

    @staticmethod
    def backward(ctx, upstream):
        pred, *labels, used_scale, kept = ctx.saved_tensors
        if torch.is_grad_enabled() or is_followed(upstream):  # create_graph=True, or a batch of upstream gradients
            grad = differentiate(ctx.reference, pred, labels, ctx.numbers, ctx.reduce, upstream)
        else:
            # The interpreter cuts digits off where a GPU rounds to bfloat16.
            dtype = torch.float32 if common_kernels().INTERPRETED else pred.dtype
            grad = torch.empty_like(pred, dtype=dtype, memory_format=torch.contiguous_format)
            if any(upstream.stride()):
                how, upstream = 'each', upstream.contiguous()
            else:  # one number, also for what sum() or mean() of the element-wise loss hands down
                how = 'scaled' if ctx.reduce else 'one'
            what = Launch('grad', _programs(pred, ctx.plan), grad, None, kept, upstream, how, used_scale)
            _run(ctx.launch, what, pred, labels, ctx.numbers[-1])
            grad = grad.to(pred.dtype)
        return grad, None, None, None, None, None


def _forward(launch, plan, pred, constants, reduce, kept) -> tuple[Tensor, Tensor | None]:
    """The loss and, with ``reduce``, the scale that it was multiplied by, 0-d float32 on the device."""
    *labels, scale, asymmetry = constants
    programs = _programs(pred, plan)
    if not reduce:
        loss = pred.new_empty(plan.shape, dtype=torch.float32)
        _run(launch, Launch('none', programs, loss, kept=kept), pred, labels, asymmetry)
        return loss, None
    how = 'number'
    if scale is None and plan.labels is not None:
        scale = 1 / plan.labels
    elif scale is None:
        how = 'count'
    elif isinstance(scale, Tensor) and scale.device == pred.device:
        how = 'tensor'
    partials = pred.new_empty(programs, dtype=torch.float32)
    counts = pred.new_empty(programs, dtype=torch.int32) if how == 'count' else None
    loss, used_scale = (pred.new_empty((), dtype=torch.float32) for _ in range(2))
    _run(launch, Launch('sum', programs, partials, counts, kept), pred, labels, asymmetry)
    with torch.cuda.device_of(pred):
        common_kernels().reduce_partials[(1,)](  # type: ignore[union-attr]
            partials,
            counts,
            float(scale) if how == 'number' else scale,
            loss,
            used_scale,
            programs,
            COUNT=how == 'count',
            SCALE=how,
            BLOCK=MOST_PROGRAMS,
            num_warps=8,
        )
    return loss, used_scale


def _run(launch, what, pred, labels, asymmetry) -> None:
    target, *weights = (tensor if tensor is None else tensor.contiguous() for tensor in labels)
    if target.dtype == torch.bool:
        target = target.view(torch.uint8)
    with torch.cuda.device_of(pred):  # Triton launches on the current device
        launch(what, pred.contiguous(), target, *weights, asymmetry)


def _programs(pred: Tensor, plan: Plan) -> int:
    """How many programs share the tiles."""
    programs = INTERPRETED_PROGRAMS
    if pred.is_cuda:
        programs = torch.cuda.get_device_properties(pred.device).multi_processor_count * PROGRAMS
    return min(plan.tiles, programs, MOST_PROGRAMS)


def as_number(value: float) -> float:
    """A float, for an int would be compiled in; 0 below the normal numbers, which the interpreter takes for float64."""
    return float(value) if value >= torch.finfo(torch.float32).tiny else 0.0


def compiled_exponent(gamma: float | Tensor) -> int:
    """The exponent where the kernels have it without a power, else -1."""
    return int(gamma) if gamma in (0, 1, 2, 3, 4) else -1


def may_ignore(target: Tensor) -> bool:
    """Whether the dtype can hold the -1 of an ignored label."""
    return target.dtype.is_signed
