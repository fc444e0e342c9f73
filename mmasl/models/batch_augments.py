"""Mixup and CutMix for targets that hold -1 (ignored)."""

import torch
from mmpretrain.models import CutMix, Mixup


class _IgnoreAware:
    """Run the augmentation that follows in the method resolution order with ignored labels hidden as NaN."""

    def mix(self, batch_inputs: torch.Tensor, batch_scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix a batch; the label of a class is -1 where it is -1 in either source.

        Args:
            batch_inputs: ``(N, 3, H, W)``, floating. CutMix writes into it, as upstream does.
            batch_scores: ``(N, C)``, floating; in [0, 1], or -1 for ignored.

        Returns:
            The mixed images and labels, in the shapes that came in.

        Raises:
            ValueError: For NaN labels.
        """
        if batch_scores.isnan().any():
            raise ValueError('batch_scores: expected labels in [0, 1] or -1 (ignored), got NaN')
        # Upstream draws the partner and the weight itself. NaN tells, whatever it draws, which labels had an ignored
        # source: a weighted sum with a NaN in it is NaN, the weight 0 included.
        hidden = batch_scores.masked_fill(batch_scores == -1, float('nan'))
        mixed_inputs, mixed_scores = super().mix(batch_inputs, hidden)
        return mixed_inputs, mixed_scores.nan_to_num(nan=-1.0)


class IgnoreAwareMixup(_IgnoreAware, Mixup):
    r"""MMPretrain's Mixup in which a label that is ignored (-1) in either source stays ignored.

    .. math::
        t = \begin{cases} -1 & \text{if } t_a = -1 \text{ or } t_b = -1 \\
        \lambda t_a + (1 - \lambda) t_b & \text{otherwise} \end{cases}

    Upstream mixes the -1 in as a number: with 1, at :math:`\lambda = 0.3`, to a valid-looking 0.4. Without a -1 both
    are equal, random state included. A label stays ignored also where the weight of the source that ignores it
    happens to be exactly 0: that rare label is given up for a rule that does not depend on rounding.

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
    """MMPretrain's CutMix in which a label that is ignored (-1) in either source stays ignored.

    The rule is that of :class:`IgnoreAwareMixup`, also where the pasted box turns out to be empty.

    Args:
        alpha: Parameter of the Beta distribution of the area that is kept, a float above 0.
        cutmix_minmax: Smallest and largest side of the box, relative to the image; it replaces ``alpha``.
        correct_lam: Weigh the labels by the area of the box after it is clipped by the border.

    Raises:
        ValueError: When called with NaN labels.

    Example:
        >>> labels = torch.tensor([[1., 0., -1.], [1., 0., 0.]])
        >>> images, mixed = IgnoreAwareCutMix(alpha=1.)(torch.zeros(2, 3, 4, 4), labels)
        >>> mixed[0] == -1
        tensor([False, False,  True])
    """
