"""A linear or small classifier on fixed-length vectors."""

from collections.abc import Sequence

from mmengine.model import BaseModel
from torch import Tensor, nn

from mmasl.registry import MODELS


@MODELS.register_module()
class FeatureClassifier(BaseModel):
    """A classifier with one logit per class: standardised inputs, optional hidden layers with ReLU, a linear layer.

    It calls the loss as MMPretrain's multi-label head does, with dense targets and the number of samples as
    ``avg_factor``. The loss must ignore -1, as the losses of this package do.

    Args:
        loss: Config of the loss.
        data_root: The training data as for :class:`mmasl.datasets.Features`, which give the numbers of inputs and
            classes.
        in_channels, num_classes: The numbers of inputs and classes, in place of ``data_root``.
        hidden: Widths of the hidden layers; an empty sequence gives a linear classifier.
        dropout: Dropout rate after each hidden layer, or on the inputs of a linear classifier.

    Raises:
        ValueError: If neither ``data_root`` nor both numbers are given.

    Example:
        >>> import torch
        >>> model = FeatureClassifier(dict(type='mmasl.AsymmetricLoss'), in_channels=4, num_classes=2, hidden=(8,))
        >>> batch = dict(inputs=torch.randn(3, 4), targets=torch.tensor([[1.0, 0], [0, -1], [0, 0]]))
        >>> sorted(model(**batch, mode='loss')), model(**batch, mode='tensor').shape
        (['loss'], torch.Size([3, 2]))
    """

    def __init__(
        self,
        loss: dict,
        data_root: str | None = None,
        in_channels: int | None = None,
        num_classes: int | None = None,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if data_root is not None:
            from mmasl.datasets.features import read_features  # imports MMPretrain, which detectors do not need

            arrays = read_features(data_root)
            in_channels, num_classes = arrays['train_x'].shape[1], arrays['train_y'].shape[1]
        if in_channels is None or num_classes is None:
            raise ValueError('data_root: expected it, or in_channels and num_classes')
        # With momentum=None, evaluation standardises by the mean over all batches, not over the latest ones.
        layers: list[nn.Module] = [nn.BatchNorm1d(in_channels, momentum=None, affine=False)]
        if not hidden:
            layers.append(nn.Dropout(dropout))
        for width in hidden:
            layers += [nn.Linear(in_channels, width), nn.ReLU(), nn.Dropout(dropout)]
            in_channels = width
        self.layers = nn.Sequential(*layers, nn.Linear(in_channels, num_classes))
        self.loss_module = MODELS.build(loss)

    def forward(self, inputs: Tensor, targets: Tensor | None = None, mode: str = 'tensor'):
        """Return logits, losses or predictions.

        Args:
            inputs: ``(N, D)``, floating.
            targets: ``(N, C)``: 1 positive, 0 negative, -1 unknown.
            mode: 'tensor', 'loss' or 'predict'.

        Returns:
            Logits ``(N, C)``, a dict with ``loss``, or per sample a dict with ``pred_score`` and ``gt_score``.
        """
        logits = self.layers(inputs)
        if mode == 'loss':
            return dict(loss=self.loss_module(logits, targets, avg_factor=len(logits)))
        if mode == 'predict':
            pairs = zip(logits.sigmoid(), targets, strict=True)
            return [dict(pred_score=score, gt_score=target) for score, target in pairs]
        return logits
