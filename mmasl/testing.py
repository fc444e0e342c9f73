"""The exact values, cases and tolerances that tests and benchmarks compare every backend with."""

import warnings
from collections.abc import Callable
from functools import cache
from itertools import accumulate

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mmasl.compat import nextafter

# The largest errors that are allowed. In float32 and float64 they are relative to 1 + |exact|. In half precision, to
# which results are rounded, they are relative to |exact|; below SMALL, the rounding of sums may exceed |exact|.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 1e-2, torch.bfloat16: 1e-2}
SMALL = 1e-3

NO_KERNEL = ('empty', 'empty_like', 'empty_strided', 'new_empty', 'new_empty_strided', 'detach', '_unsafe_view')

GAMMA_POS = (0, 0.5, 1, 2)
GAMMA_NEG = (0, 0.3, 0.5, 1, 1.2, 2, 4, 6.2)
CLIP = (0, 1e-6, 0.05, 0.2, 0.3)


def largest_error(actual: Tensor, exact: Tensor, dtype: torch.dtype) -> float:
    """Return the largest error, measured as :data:`TOLERANCE` says. The error of NaN is infinite.

    Args:
        actual: The computed values, of any shape.
        exact: The exact values in float64, of the same shape.
        dtype: The dtype of the logits that ``actual`` was computed from.

    Example:
        >>> largest_error(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0], dtype=torch.float64), torch.float32)
        0.25
    """
    if actual.shape != exact.shape:
        raise ValueError(f'actual: expected shape {tuple(exact.shape)}, got {tuple(actual.shape)}')
    error = (actual.double() - exact).abs()
    if dtype in (torch.float16, torch.bfloat16):
        error = torch.where(exact.abs() > SMALL, error / exact.abs(), torch.where(error <= SMALL, 0.0, torch.inf))
    else:
        error = error / (1 + exact.abs())
    return error.nan_to_num(nan=torch.inf).max().item() if error.numel() else 0.0


def assert_close(actual: Tensor, exact: Tensor, dtype: torch.dtype, what: str = 'value') -> None:
    """Raise AssertionError if :func:`largest_error` exceeds :data:`TOLERANCE` for ``dtype``."""
    error = largest_error(actual, exact, dtype)
    if not error <= TOLERANCE[dtype]:
        raise AssertionError(f'{what}: error {error:.3g} exceeds {TOLERANCE[dtype]:g} for {dtype}')


def logits(clip: float, dtype: torch.dtype) -> Tensor:
    """Return logits from -100 to 100, dense in the middle, and up to six ulps on each side of the margin's kink."""
    middle = torch.linspace(-12, 12, 49, dtype=torch.float64)
    tails = torch.tensor([-100, -88.7, -50, -30, -20, -16.7, 16.7, 20, 30, 50, 88.7, 100], dtype=torch.float64)
    values = torch.cat([middle, tails]).to(dtype)
    if clip > 0:
        kink = torch.tensor(clip, dtype=torch.float64).logit().to(dtype)
        below, above = [kink], [kink]
        for _ in range(6):
            below.append(nextafter(below[-1], -torch.inf))
            above.append(nextafter(above[-1], torch.inf))
        near = kink.double() + torch.tensor([-0.1, -1e-3, 1e-5, 1e-3, 0.1], dtype=torch.float64)
        values = torch.cat([values, torch.stack(below[1:] + above), near.to(dtype)])
    return values


def peak_memory(step: Callable[[], object]) -> int:
    """Return the most bytes that ``step`` holds on the CPU at a time, its result included.

    Example:
        >>> peak_memory(lambda: torch.zeros(8) + torch.ones(8))
        96
    """
    return max(_memory(step), default=0)


def kept_memory(step: Callable[[], object]) -> int:
    """Return the bytes on the CPU that the result of ``step`` keeps alive. A loss keeps what its backward pass needs.

    Tensors that were there before are not counted, whether they are saved or not.

    Example:
        >>> kept_memory(lambda: torch.ones(8, requires_grad=True).exp().sum())  # 8 logits, 8 results and their sum
        68
    """
    return [0, *_memory(step)][-1]


def _memory(step: Callable[[], object]) -> list[int]:
    """Return the bytes that are held after each allocation and each release, until ``step`` returns."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Warning: Profiler clears events')  # there is one cycle here
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            kept = step()
    changes = [event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == '[memory]']
    del kept
    return list(accumulate(changes))


def count_kernels(step: Callable[[], object]) -> int:
    """Return how many operations of ``step`` compute something. On a GPU each of them launches at least one kernel.

    Views and uninitialised memory are not counted. Binary cross-entropy and other operations that torch composes below
    its dispatcher count once.

    Example:
        >>> count_kernels(lambda: torch.empty(4).view(2, 2).mul_(2).t() + 1)
        2
    """

    class Count(TorchDispatchMode):
        kernels = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.kernels += not (function.is_view or function.overloadpacket.__name__ in NO_KERNEL)
            return function(*args, **(kwargs or {}))

    with Count() as count:
        step()
    return count.kernels


def _probability(z, activated):
    """Return (p, 1 - p, the derivative of p) for a logit, or for a probability in (0, 1)."""
    import mpmath

    z = mpmath.mpf(z)
    if activated:
        return z, 1 - z, mpmath.mpf(1)
    p, q = 1 / (1 + mpmath.exp(-z)), 1 / (1 + mpmath.exp(z))
    return p, q, p * q


@cache
def _exact_entry(z, positive, gamma, clip, activated):
    """Return (loss, gradient with a constant focusing weight, the rest of the gradient) of one side, in 60 digits."""
    import mpmath

    with mpmath.workdps(60):
        gamma, clip = mpmath.mpf(gamma), mpmath.mpf(clip)
        p, q, dp = _probability(z, activated)
        if positive:
            log_loss, focus = -mpmath.log(p), q**gamma
            return [float(v) for v in (focus * log_loss, -focus * dp / p, -focus * gamma * dp / q * log_loss)]
        p_m = p - clip
        if p_m <= 0:
            return [0.0, 0.0, 0.0]
        log_loss, focus = -mpmath.log(q + clip), p_m**gamma
        slope, focus_slope = focus * dp / (q + clip), focus / p_m * gamma * dp * log_loss
        return [float(v) for v in (focus * log_loss, slope, focus_slope)]


def exact_asymmetric_loss(
    pred: Tensor,
    target: Tensor,
    gamma_pos=0.0,
    gamma_neg=4.0,
    clip=0.05,
    alpha=None,
    detach_focus=False,
    activated=False,
) -> tuple[Tensor, Tensor]:
    """Return the element-wise loss (Eq. 7, mixed by Eq. 2) and gradient (Eq. 8) in arbitrary precision, as float64.

    Args:
        pred: Logits of any shape and floating dtype, or with ``activated`` probabilities in (0, 1). They are the exact
            numbers of the computation.
        target: Dense labels of the same shape in [0, 1], with -1 for ignored ones.

    Returns:
        ``(loss, gradient)``, float64.

    Example:
        >>> loss, gradient = exact_asymmetric_loss(torch.zeros(1), torch.ones(1))
        >>> loss.item(), gradient.item()
        (0.6931471805599453, -0.5)
    """
    values = []
    for z, y in zip(pred.double().flatten().tolist(), target.double().flatten().tolist(), strict=True):
        sides = []
        for positive in (True, False):
            constants = (gamma_pos, 0.0) if positive else (gamma_neg, clip)
            loss, slope, focus_slope = _exact_entry(z, positive, *constants, activated)
            weight = 1.0 if alpha is None else alpha if positive else 1 - alpha
            sides.append((weight * loss, weight * (slope if detach_focus else slope + focus_slope)))
        (loss_pos, slope_pos), (loss_neg, slope_neg) = sides
        ignored = y == -1
        values.append(
            (0.0, 0.0) if ignored else (y * loss_pos + (1 - y) * loss_neg, y * slope_pos + (1 - y) * slope_neg)
        )
    table = torch.tensor(values, dtype=torch.float64).reshape(*pred.shape, 2)
    return table[..., 0], table[..., 1]


@cache
def _exact_quality(z, y, gamma, iou_weighted, activated):
    """Return (loss, gradient) of a positive of quality y in 60 digits. At p = y the power's gradient is taken as 0."""
    import mpmath

    with mpmath.workdps(60):
        y, gamma = mpmath.mpf(y), mpmath.mpf(gamma)
        p, q, dp = _probability(z, activated)
        loss, slope = -y * mpmath.log(p) - (1 - y) * mpmath.log(q), ((1 - y) / q - y / p) * dp
        focus = abs(y - p) ** gamma
        focus_slope = focus * gamma / (p - y) * dp if p != y else 0
        weight = y if iou_weighted else 1
        return float(weight * focus * loss), float(weight * (focus * slope + focus_slope * loss))


def exact_asymmetric_quality_loss(
    pred: Tensor,
    target: Tensor,
    gamma_pos=2.0,
    gamma_neg=4.0,
    clip=0.05,
    alpha=1.0,
    iou_weighted=False,
    activated=False,
) -> tuple[Tensor, Tensor]:
    """Return the element-wise loss for quality targets and its gradient in arbitrary precision, as float64.

    Args:
        pred: See :func:`exact_asymmetric_loss`.
        target: Dense scores of the same shape in [0, 1], with -1 for ignored ones.

    Example:
        >>> loss, gradient = exact_asymmetric_quality_loss(torch.zeros(1), torch.tensor([0.75]), gamma_pos=0)
        >>> loss.item(), gradient.item()
        (0.6931471805599453, -0.25)
    """
    values = []
    for z, y in zip(pred.double().flatten().tolist(), target.double().flatten().tolist(), strict=True):
        if y > 0:
            values.append(_exact_quality(z, y, gamma_pos, iou_weighted, activated))
        else:
            loss, slope, focus_slope = _exact_entry(z, False, gamma_neg, clip, activated)
            weight = 0 if y == -1 else alpha
            values.append((weight * loss, weight * (slope + focus_slope)))
    table = torch.tensor(values, dtype=torch.float64).reshape(*pred.shape, 2)
    return table[..., 0], table[..., 1]


def exact_softmax_asymmetric_loss(
    pred: Tensor,
    target: Tensor,
    gamma_pos=0.0,
    gamma_neg=4.0,
    label_smoothing=0.1,
    class_weight=None,
    detach_focus: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the single-label loss of each row and its gradient in arbitrary precision, as float64.

    Args:
        pred: Logits (N, C) of any floating dtype. They are the exact numbers of the computation.
        target: Dense labels (N, C) in [0, 1].
        class_weight: A sequence of C numbers, or None.

    Returns:
        ``(loss, gradient)``, float64, (N,) and (N, C).

    Example:
        >>> loss, gradient = exact_softmax_asymmetric_loss(torch.zeros(1, 2), torch.tensor([[1, 0]]), label_smoothing=0)
        >>> loss.tolist(), gradient.tolist()
        ([0.6931471805599453], [[-0.5, 0.5]])
    """
    class_weight = (1.0,) * pred.shape[1] if class_weight is None else tuple(float(v) for v in class_weight)
    constants = (gamma_pos, gamma_neg, label_smoothing, class_weight, detach_focus)
    rows = zip(pred.double().tolist(), target.double().tolist(), strict=True)
    losses, gradients = zip(*(_exact_row(tuple(z), tuple(y), *constants) for z, y in rows), strict=True)
    return torch.tensor(losses, dtype=torch.float64), torch.tensor(gradients, dtype=torch.float64)


@cache
def _exact_row(z, y, gamma_pos, gamma_neg, label_smoothing, class_weight, detach_focus):
    """Return (loss, gradient of each logit) of one row in 60 digits. 1 - p is computed as the sum of the other p."""
    import mpmath

    with mpmath.workdps(60):
        number, classes = mpmath.mpf, range(len(z))
        gamma_pos, gamma_neg = number(gamma_pos), number(gamma_neg)
        other = number(label_smoothing) / len(z)
        own = 1 - number(label_smoothing) + other
        powers = [mpmath.exp(number(v) - max(z)) for v in z]
        p = [power / mpmath.fsum(powers) for power in powers]
        q = [mpmath.fsum(powers[:c] + powers[c + 1 :]) / mpmath.fsum(powers) for c in classes]
        log = [number(z[c]) - max(z) - mpmath.log(mpmath.fsum(powers)) for c in classes]
        loss, slopes = number(0), []
        for c in classes:
            hit, miss = class_weight[c] * own * y[c], class_weight[c] * other * (1 - number(y[c]))
            loss -= (hit * q[c] ** gamma_pos + miss * p[c] ** gamma_neg) * log[c]
            slope = -hit * q[c] ** gamma_pos - miss * p[c] ** gamma_neg
            if not detach_focus:  # the derivative of the powers by log p
                if gamma_pos and q[c]:
                    slope += hit * gamma_pos * q[c] ** (gamma_pos - 1) * p[c] * log[c]
                slope -= miss * gamma_neg * p[c] ** gamma_neg * log[c]
            slopes.append(slope)
        total = mpmath.fsum(slopes)
        return float(loss), [float(slopes[c] - p[c] * total) for c in classes]
