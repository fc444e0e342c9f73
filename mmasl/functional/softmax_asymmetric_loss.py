"""The asymmetric loss for single-label classification, with softmax in place of sigmoid probabilities."""

from torch import Tensor

from mmasl.compat import cache_constants
from mmasl.functional._run import run_loss
from mmasl.functional._validate import check_number, flatten_target, flatten_weight, rows_and_classes
from mmasl.ops.softmax_asymmetric_loss import OP, SoftmaxAsymmetry

DEFAULTS = SoftmaxAsymmetry()  # of every function and module of this loss


def softmax_asymmetric_loss(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    gamma_pos: float = DEFAULTS.gamma_pos,
    gamma_neg: float = DEFAULTS.gamma_neg,
    label_smoothing: float = DEFAULTS.label_smoothing,
    reduction: str = 'mean',
    avg_factor: float | Tensor | None = None,
    *,
    class_weight: Tensor | None = None,
    ignore_index: int = DEFAULTS.ignore_index,
    detach_focus: bool = DEFAULTS.detach_focus,
    check_target_range: bool | None = None,
    backend: str = 'auto',
) -> Tensor:
    r"""Return the single-label asymmetric loss, the authors' variant for softmax heads (appendix G of the paper).

    .. math::

        L = -\sum_{c=1}^{C} v_c \left[ a \, y_c (1 - p_c)^{\gamma_+}
            + b \, (1 - y_c) \, p_c^{\gamma_-} \right] \log p_c, \quad
        p = \mathrm{softmax}(z), \quad b = \epsilon / C, \quad a = 1 - \epsilon + b

    with the label y (one-hot, or soft), label smoothing :math:`\epsilon` and class weights v.

    Special cases: **without label smoothing, gamma_neg has no effect**, because the terms of the other classes have
    the weight b = 0; with ``gamma_pos=0``, the loss is then cross-entropy. Exponents of 0 give cross-entropy with label
    smoothing. Hard labels give the loss and gradient of timm's ``AsymmetricLossSingleLabel``. A soft label gives the
    mean of the losses of all hard labels, weighted by the soft label. The defaults are those of the authors' script.

    Args:
        pred: Logits z (N, ..., C) of a floating dtype, C > 1 classes last. Half precision is computed in float32.
        target: Integer class indices (N, ...) or (N, ..., 1) from 0 to C-1. Or dense labels of the shape of ``pred``,
            in [0, 1], whose rows sum to 1 (mixup). A row of -1 is ignored.
        weight: Weight of each row, (N,) or (N, ...).
        gamma_pos: Focusing exponent of the labelled class, real and >= 0.
        gamma_neg: Focusing exponent of the other classes, real and >= 0.
        label_smoothing: :math:`\epsilon` in [0, 1].
        reduction: ``'none'`` returns a loss per row, ``'sum'`` their sum, and ``'mean'`` divides the sum by
            ``avg_factor`` if given, and otherwise by the number of rows that are not ignored.
        avg_factor: Number or one-element tensor >= 0; 0 divides by float32's epsilon, as OpenMMLab's losses do. It has
            no effect for ``'none'``, and no gradient flows to it.
        class_weight: (C,), v of the equation. As in MMPretrain's cross-entropy, and unlike in torch's, ``'mean'`` does
            not divide by it.
        ignore_index: Class index of ignored rows. It is -1 in all losses of mmasl and for the targets of mmasl's mixup;
            labels for torch's cross-entropy have -100.
        detach_focus: Do not differentiate the focusing weights. The authors' single-label loss differentiates them,
            unlike their multi-label loss.
        check_target_range: Whether to check the values of ``target``; see :func:`asymmetric_loss` for None.
        backend: See :func:`asymmetric_loss`.

    Returns:
        Tensor: a scalar, or the shape (N, ...) for ``'none'``, in float32 (float64 for float64 ``pred``). It is finite
        for all finite logits; a loss beyond the largest float becomes that float. An empty sum is a zero through which
        gradients still flow.

    Raises:
        TypeError: If ``pred`` is not floating point, or class indices or ``ignore_index`` are not integers.
        ValueError: For a shape, a value or a combination that is not described above.

    Source: https://github.com/Alibaba-MIIL/ASL, ``ASLSingleLabel``; Ridnik et al., ICCV 2021, arXiv 2009.14119v4.

    Example:
        >>> import torch
        >>> pred = torch.tensor([[2.0, -1.0, 0.0], [0.5, 0.5, 0.0]], requires_grad=True)
        >>> loss = softmax_asymmetric_loss(pred, torch.tensor([0, -1]))
        >>> loss.backward()
        >>> loss, pred.grad[0]
        (tensor(0.1585, grad_fn=<...>), tensor([-0.1458,  0.0392,  0.1066]))
        >>> mixed = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0]])
        >>> softmax_asymmetric_loss(pred, mixed, label_smoothing=0)
        tensor(1.2639, grad_fn=<...>)
    """
    asymmetry = make_softmax_asymmetry(gamma_pos, gamma_neg, label_smoothing, ignore_index, detach_focus)
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
        flatten_target=_flatten_single_label,
        flatten_weight=_flatten_row_weight,
    )


@cache_constants
def make_softmax_asymmetry(
    gamma_pos=DEFAULTS.gamma_pos,
    gamma_neg=DEFAULTS.gamma_neg,
    label_smoothing=DEFAULTS.label_smoothing,
    ignore_index=DEFAULTS.ignore_index,
    detach_focus=DEFAULTS.detach_focus,
) -> SoftmaxAsymmetry:
    """Return the checked constants, with the arguments and errors of :func:`softmax_asymmetric_loss`."""
    if not isinstance(ignore_index, int) or isinstance(ignore_index, bool):
        raise TypeError(f'ignore_index: expected an integer class index such as -1 or -100, got {ignore_index!r}')
    return SoftmaxAsymmetry(
        check_number('gamma_pos', gamma_pos, 0),
        check_number('gamma_neg', gamma_neg, 0),
        check_number('label_smoothing', label_smoothing, 0, 1),
        ignore_index,
        bool(detach_focus),
    )


def _flatten_single_label(pred: Tensor, target: Tensor) -> Tensor:
    """Return the result of :func:`flatten_target`, or raise unless there are two classes or more."""
    if rows_and_classes(pred)[1] == 1:  # the probability of one class is always 1
        raise ValueError(
            f'pred: expected logits of shape (N, ..., C) for two classes or more, got {tuple(pred.shape)}; a binary '
            'classifier of one logit takes asymmetric_loss'
        )
    return flatten_target(pred, target)


def _flatten_row_weight(pred: Tensor, weight: Tensor | None) -> Tensor | None:
    """Return ``weight`` as (R,), where R is the number of rows of ``pred``."""
    rows = pred.shape[:-1]
    if isinstance(weight, Tensor) and weight.shape not in (rows, (*rows, 1), pred.shape[:1]):
        raise ValueError(
            f'weight: expected a weight for each row, of shape {tuple(rows)}, for pred of shape {tuple(pred.shape)}, '
            f'got {tuple(weight.shape)}; per-class weights go in class_weight'
        )
    return flatten_weight(pred, weight)
