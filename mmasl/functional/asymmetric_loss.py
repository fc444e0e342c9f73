"""The asymmetric loss for multi-label classification and dense detection (Eq. 7 of the paper)."""

import torch
from torch import Tensor

from mmasl.compat import cache_constants
from mmasl.functional._run import run_loss
from mmasl.functional._validate import check_number, copy_constant
from mmasl.ops.asymmetric_loss import OP, Asymmetry

DEFAULTS = Asymmetry()  # of every function and module of this loss
SMALLEST_CLIP = 1e-30  # a normal number of float32; a smaller margin would vanish beside 1 - p


def asymmetric_loss(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    gamma_pos: float = DEFAULTS.gamma_pos,
    gamma_neg: float | Tensor = DEFAULTS.gamma_neg,
    clip: float | Tensor | None = DEFAULTS.clip,
    reduction: str = 'mean',
    avg_factor: float | Tensor | None = None,
    *,
    alpha: float | None = DEFAULTS.alpha,
    class_weight: Tensor | None = None,
    detach_focus: bool = DEFAULTS.detach_focus,
    activated: bool = False,
    check_target_range: bool | None = None,
    backend: str = 'auto',
) -> Tensor:
    r"""Return the asymmetric loss (ASL): Eq. 7 of the paper, which Eq. 2 mixes for soft labels y.

    .. math::

        L = -y L_+ - (1 - y) L_-, \quad
        L_+ = (1 - p)^{\gamma_+} \log p, \quad
        L_- = p_m^{\gamma_-} \log(1 - p_m), \quad
        p = \sigma(z), \quad p_m = \max(p - m, 0)

    Special cases: exponents and margin of 0 give binary cross-entropy; equal exponents without a margin give focal
    loss. Negatives with p <= m have neither loss nor gradient. The gradient is that of the equation (Eq. 8).

    Args:
        pred: Logits z (N, ..., C) of a floating dtype, classes last; or (N,) of a binary classifier. Half precision is
            computed in float32.
        target: Dense labels of the shape of ``pred``: bool, int or float in [0, 1], -1 for ignored. Or integer class
            indices (N, ...) or (N, ..., 1): 0 to C-1, C for background, -1 for a row that is ignored entirely. Integers
            (N,) for logits (N, 1) of one class are refused, and (N, 1) for (N,) too, because a 1 could mean the class
            or background. Class indices are also refused if their shape fits both classes last and on axis 1.
        weight: (N,) with a weight per row (even if N = C), the shape of ``pred``, or that shape flattened.
        gamma_pos: Focusing exponent of positives, real and >= 0.
        gamma_neg: Focusing exponent of negatives, real and >= 0. It is a number or a tensor on the device of ``pred``,
            0-d or (C,) with one exponent per class. A tensor is copied and gets no gradient. On a GPU the host does not
            read it, so it may change between steps without a synchronisation, and inside a CUDA graph.
        clip: Probability margin m, 0 or in [1e-30, 1). None means 0. It may be a tensor like ``gamma_neg``, in which
            values below 1e-30 count as 0.
        reduction: ``'none'``, ``'sum'``, or ``'mean'``, which divides the sum by ``avg_factor`` if given, and otherwise
            by the number of labels that are not ignored.
        avg_factor: Number or one-element tensor >= 0; 0 divides by float32's epsilon, as OpenMMLab's losses do. It has
            no effect for ``'none'``, and no gradient flows to it.
        alpha: Static weight of focal loss in [0, 1], which multiplies positives by alpha and negatives by 1 - alpha.
            None applies no weight.
        class_weight: Weight of each class, (C,), which multiplies every row.
        detach_focus: Do not differentiate the focusing weights, as in the authors' script.
        activated: ``pred`` contains probabilities p in [0, 1] instead of logits, as TOOD passes them. The loss is then
            computed in float64 (not by Triton); p below 1e-12 counts as 1e-12, so 0 and 1 have a finite loss
            and gradient.
        check_target_range: Whether to check the values of ``target``, of probabilities, and of ``gamma_neg`` and
            ``clip`` in tensors. None checks on the CPU. It does not check on a GPU, where reading would wait for the
            device, nor inside torch.compile, torch.jit.trace and the transforms of torch.func, which cannot record it.
        backend: ``'reference'`` uses torch's autograd. ``'cpu'`` (compiled), ``'triton'`` and ``'plain'`` (torch
            operations on any device) use the analytic gradient. ``'auto'`` takes the fastest one that can do the work.
            On a GPU, its first call compares Triton with the reference; if they differ, it warns and does not use
            Triton. Inside the transforms and tracers named above, ``'auto'`` takes the reference. A named backend that
            cannot do the work raises the reason.

    Returns:
        Tensor: a scalar, or the shape of ``pred`` for ``'none'``, in float32 (float64 for float64 ``pred``). An empty
        sum is a zero through which gradients still flow.

    Raises:
        TypeError: If ``pred`` or a tensor of constants is not floating point, or class indices are not integers.
        ValueError: For a shape, a value or a combination that is not described above.

    Source: Ridnik et al., "Asymmetric Loss For Multi-Label Classification", ICCV 2021, arXiv 2009.14119v4.

    Example:
        >>> import torch
        >>> pred = torch.tensor([[2.0, -1.0, 0.0]], requires_grad=True)
        >>> loss = asymmetric_loss(pred, torch.tensor([[1, 0, -1]]), reduction='sum')
        >>> loss.backward()
        >>> loss, pred.grad
        (tensor(0.1275, grad_fn=<...>), tensor([[-0.1192,  0.0026,  0.0000]]))
        >>> asymmetric_loss(pred, torch.tensor([0]), avg_factor=1)  # the same row by class index
        tensor(0.1520, grad_fn=<...>)
    """
    if isinstance(gamma_neg, Tensor) or isinstance(clip, Tensor):
        # the constants get its dtype
        computed = pred.new_empty((), dtype=torch.float64).expand(pred.shape) if activated else pred
        asymmetry = _asymmetry_of_tensors(computed, check_target_range, gamma_pos, gamma_neg, clip, alpha, detach_focus)
    else:
        asymmetry = make_asymmetry(gamma_pos, gamma_neg, clip, alpha, detach_focus)
    return run_loss(
        OP,
        asymmetry,
        pred,
        target,
        weight=weight,
        class_weight=class_weight,
        reduction=reduction,
        avg_factor=avg_factor,
        check_target_range=check_target_range,
        backend=backend,
        activated=activated,
    )


@cache_constants
def make_asymmetry(
    gamma_pos=DEFAULTS.gamma_pos,
    gamma_neg=DEFAULTS.gamma_neg,
    clip=DEFAULTS.clip,
    alpha=DEFAULTS.alpha,
    detach_focus=DEFAULTS.detach_focus,
) -> Asymmetry:
    """Return the checked constants of Eq. 7, with the arguments and errors of :func:`asymmetric_loss`."""
    clip = 0.0 if clip is None else check_number('clip', clip, 0, 1, open_high=True)
    if 0 < clip < SMALLEST_CLIP:
        raise ValueError(f'clip: expected 0 or a number in [{SMALLEST_CLIP:g}, 1), got {clip!r}')
    return Asymmetry(
        check_number('gamma_pos', gamma_pos, 0),
        check_number('gamma_neg', gamma_neg, 0),
        clip,
        None if alpha is None else check_number('alpha', alpha, 0, 1),
        bool(detach_focus),
    )


def _asymmetry_of_tensors(pred, check_target_range, gamma_pos, gamma_neg, clip, alpha, detach_focus) -> Asymmetry:
    """Return the constants like :func:`make_asymmetry` if ``gamma_neg``, ``clip`` or both are tensors."""
    of_gamma, of_clip = isinstance(gamma_neg, Tensor), isinstance(clip, Tensor)
    numbers = make_asymmetry(gamma_pos, 0.0 if of_gamma else gamma_neg, None if of_clip else clip, alpha, detach_focus)
    if of_gamma:
        gamma_neg = copy_constant('gamma_neg', gamma_neg, pred, check_target_range, low=0)
    if of_clip:
        clip = copy_constant('clip', clip, pred, check_target_range, low=0, high=1, open_high=True)
        clip = torch.where(clip < SMALLEST_CLIP, 0.0, clip)
    return Asymmetry(
        numbers.gamma_pos,
        gamma_neg if of_gamma else numbers.gamma_neg,
        clip if of_clip else numbers.clip,
        numbers.alpha,
        numbers.detach_focus,
    )
