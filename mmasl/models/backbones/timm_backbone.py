"""MMPretrain's ``TIMMBackbone`` with what fine-tuning in small batches on a CPU needs."""

import torch
from mmpretrain.models import TIMMBackbone as MMPretrainTIMMBackbone
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mmasl.registry import MODELS


@MODELS.register_module()
class TIMMBackbone(MMPretrainTIMMBackbone):
    """A backbone of timm whose batch-norm statistics may stay frozen, and whose memory layout may be channels-last.

    ::

        backbone=dict(type='mmasl.TIMMBackbone', model_name='tf_efficientnet_lite0', norm_eval=True, channels_last=True)

    Args:
        model_name (str): Name of the timm model.
        norm_eval (bool): Keep the statistics of batch norm as they were loaded, as MMDetection's backbones do; its
            weight and bias are trained all the same.
        frozen_stages (int): The stem and so many of the first stages of an EfficientNet of timm (``blocks``) keep their
            weights, which also saves their backward pass; 0 trains everything.
        channels_last (bool): Store images and weights with the channels last, which is faster on CPUs (1.3 times for
            EfficientNet-Lite0) and on GPUs in half precision. The result is the same up to rounding.
        **kwargs: Of MMPretrain's ``TIMMBackbone``: ``features_only``, ``out_indices``, ``init_cfg``, ...

    Raises:
        ValueError: ``frozen_stages`` out of range, with another kind of model, or without ``norm_eval``.
    """

    def __init__(
        self,
        model_name: str,
        norm_eval: bool = False,
        frozen_stages: int = 0,
        channels_last: bool = False,
        **kwargs,
    ):
        super().__init__(model_name, **kwargs)
        self.norm_eval = norm_eval
        if frozen_stages:
            self._freeze(frozen_stages)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.memory_format)

    def _freeze(self, stages: int) -> None:
        model = self.timm_model
        if not hasattr(model, 'blocks') or not hasattr(model, 'conv_stem'):
            raise ValueError(f'frozen_stages needs an EfficientNet of timm, got {type(model).__name__}')
        if not 0 < stages <= len(model.blocks):
            raise ValueError(f'frozen_stages: expected an integer from 0 to {len(model.blocks)}, got {stages!r}')
        if not self.norm_eval:
            raise ValueError('frozen_stages: expected norm_eval=True, as frozen layers keep their statistics too')
        for part in (model.conv_stem, model.bn1, *model.blocks[:stages]):
            part.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps of images ``(N, C, H, W)``."""
        return super().forward(x.contiguous(memory_format=self.memory_format))

    def train(self, mode: bool = True):
        """Set the training mode, except for the statistics of batch norm where they are frozen."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
