"""Mixup and CutMix for targets that contain -1 (ignored)."""

import torch
from mmpretrain.models import CutMix, Mixup


class _IgnoreAware:
    """Runs the next augmentation in the method resolution order, with ignored labels replaced by NaN."""

    def mix(self, batch_inputs: torch.Tensor, batch_scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix a batch; a label is -1 if it is -1 in either source.

        Args:
            batch_inputs: ``(N, 3, H, W)``, floating. CutMix writes into it, as MMPretrain's does.
            batch_scores: ``(N, C)``, floating, in [0, 1], or -1 for ignored.

        Returns:
            The mixed images and labels in the shapes of the arguments.

        Raises:
            ValueError: For NaN labels.
        """
        if batch_scores.isnan().any():
            raise ValueError('batch_scores: expected labels in [0, 1] or -1 (ignored), got NaN')
        # MMPretrain draws the partner and the weight itself. For any draw, NaN marks the labels with an ignored source,
        # because a weighted sum that contains NaN is NaN, even with the weight 0.
        hidden = batch_scores.masked_fill(batch_scores == -1, float('nan'))
        mixed_inputs, mixed_scores = super().mix(batch_inputs, hidden)
        return mixed_inputs, mixed_scores.nan_to_num(nan=-1.0)


class IgnoreAwareMixup(_IgnoreAware, Mixup):
    r"""MMPretrain's Mixup, except that a label that is ignored (-1) in either source stays ignored.

    .. math::
        t = \begin{cases} -1 & \text{if } t_a = -1 \text{ or } t_b = -1 \\
        \lambda t_a + (1 - \lambda) t_b & \text{otherwise} \end{cases}

    MMPretrain mixes the -1 as a number: -1 and 1 become 0.4 at :math:`\lambda = 0.3`, which looks valid. Without a -1,
    the two classes give the same results and use the random state in the same way. A label stays ignored even if the
    weight of the source that ignores it is exactly 0, so that the rule does not depend on rounding.

    ``type='mmasl.IgnoreAwareMixup'`` in ``data_preprocessor.batch_augments`` needs no ``custom_imports``.

    Args:
        alpha: Parameter of the Beta distribution of :math:`\lambda`, a float above 0.

    Raises:
        ValueError: When called with NaN labels.

    Example:
        >>> labels = torch.tensor([[1., 0., -1.], [1., 0., 0.]])
        >>> images, mixed = IgnoreAwareMixup(alpha=1.)(torch.zeros(2, 3, 4, 4), labels)
        >>> mixed[0] == -1
        tensor([False, False,  True])
    """


class IgnoreAwareCutMix(_IgnoreAware, CutMix):
    """MMPretrain's CutMix, except that a label that is ignored (-1) in either source stays ignored.

    The rule is that of :class:`IgnoreAwareMixup`, even if the pasted box is empty.

    Args:
        alpha: Parameter of the Beta distribution of the area that is kept, a float above 0.
        cutmix_minmax: Smallest and largest side of the box relative to the image. It replaces ``alpha``.
        correct_lam: Weight the labels by the area of the box after it is clipped at the border.

    Raises:
        ValueError: When called with NaN labels.

    Example:
        >>> labels = torch.tensor([[1., 0., -1.], [1., 0., 0.]])
        >>> images, mixed = IgnoreAwareCutMix(alpha=1.)(torch.zeros(2, 3, 4, 4), labels)
        >>> mixed[0] == -1
        tensor([False, False,  True])
    """
