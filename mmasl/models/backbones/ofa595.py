"""OFA-595, the small network of Figure 8."""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmpretrain.models.backbones import MobileNetV3
from mmpretrain.models.utils import InvertedResidual

from mmasl.registry import MODELS

STEM, LAST = 24, 1152
# Channels, stride of the first block, squeeze and excitation, activation, and each block's kernel size and expansion
STAGES = (
    (24, 1, False, 'ReLU', [3], [1]),
    (32, 2, False, 'ReLU', [3, 5, 3], [3, 4, 3]),
    (48, 2, True, 'ReLU', [5, 5, 3, 5], [4, 4, 6, 3]),
    (96, 2, False, 'HSwish', [7, 5, 3, 5], [6, 6, 3, 4]),
    (136, 1, True, 'HSwish', [3, 5, 7, 3], [6, 6, 6, 4]),
    (192, 2, True, 'HSwish', [3, 3, 5, 3], [6, 6, 6, 3]),
)


def _blocks() -> list[list]:
    """Return MobileNetV3's row for each block: kernel, expanded channels, channels, SE, activation, stride."""
    rows, width = [], STEM
    for channels, stride, squeeze, activation, kernels, expansions in STAGES:
        for number, (kernel, expansion) in enumerate(zip(kernels, expansions, strict=True)):
            rows.append([kernel, width * expansion, channels, squeeze, activation, 1 if number else stride])
            width = channels
    return rows


@MODELS.register_module()
class OFA595(MobileNetV3):
    """``flops@595M_top1@80.0_finetune@75`` of `Once for All <https://arxiv.org/abs/1908.09791>`_, without its head.

    It is a MobileNetV3 with 20 inverted residual blocks, whose kernel sizes and widths were found by a search. With
    pooling, a hidden layer of 1,536 channels and 1,000 classes (a ``LinearNeck`` and a ``LinearClsHead``), it is the
    published network with 9.1 M parameters and 595 M multiply-adds at 236 pixels.
    ``tools/model_converters/ofa595_to_mmasl.py`` converts the published weights.

    Args:
        out_indices (Sequence[int]): Layers whose feature maps are returned. 0 is the stem, 1 ... 20 are the blocks, and
            21 is the last convolution, whose 1,152 channels go to the pooling.
        norm_cfg (dict): Config of the normalization. The default is that of the published network.
        **kwargs: ``conv_cfg``, ``frozen_stages``, ``norm_eval``, ``with_cp`` and ``init_cfg`` of MMPretrain's
            ``MobileNetV3``.

    Raises:
        ValueError: If ``out_indices`` or ``frozen_stages`` name a layer that does not exist.

    Example:
        >>> import torch
        >>> backbone = OFA595(out_indices=(4, 21))
        >>> backbone.eval()
        >>> [tuple(feature.shape) for feature in backbone(torch.zeros(1, 3, 64, 64))]
        [(1, 32, 16, 16), (1, 1152, 2, 2)]
    """

    arch_settings = {'ofa595': _blocks()}

    def __init__(self, out_indices: Sequence[int] = (21,), norm_cfg: dict | None = None, **kwargs) -> None:
        super().__init__('ofa595', out_indices=out_indices, norm_cfg=norm_cfg or dict(type='BN'), **kwargs)

    def _make_layer(self) -> list[str]:
        """Build the layers as MMPretrain's method does, but with other widths of the stem and the last convolution."""
        common = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg)
        width, hswish = STEM, dict(type='HSwish')
        layers = [ConvModule(3, width, 3, stride=2, padding=1, act_cfg=hswish, **common)]
        for kernel, expanded, channels, squeeze, activation, stride in self.arch_settings[self.arch]:
            se_cfg = (
                dict(channels=expanded, ratio=4, act_cfg=(dict(type='ReLU'), dict(type='HSigmoid')))
                if squeeze
                else None
            )
            layers.append(
                InvertedResidual(
                    width,
                    channels,
                    expanded,
                    kernel_size=kernel,
                    stride=stride,
                    se_cfg=se_cfg if squeeze else None,
                    act_cfg=dict(type=activation),
                    with_cp=self.with_cp,
                    **common,
                )
            )
            width = channels
        layers.append(ConvModule(width, LAST, 1, act_cfg=hswish, **common))
        for index, layer in enumerate(layers):
            self.add_module(f'layer{index}', layer)
        return [f'layer{index}' for index in range(len(layers))]
