"""OFA-595 has the published size, and the published network with the same weights gives the same scores."""

import sys
from collections import OrderedDict

import pytest
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import nn

from mmasl.errors import UserError
from mmasl.models.backbones.ofa595 import OFA595, STAGES
from tests.test_tools.tool_runs import Refusals, load_main

converter = load_main('model_converters/ofa595_to_mmasl')
convert = sys.modules[converter.__module__].convert


@pytest.fixture(scope='module')
def classifier():
    """The ImageNet classifier whose numbers are published."""
    init_default_scope('mmpretrain')
    hidden = dict(type='LinearNeck', in_channels=1152, out_channels=1536, gap_dim=2, norm_cfg=None)
    return MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='mmasl.OFA595'),
            neck=dict(**hidden, act_cfg=dict(type='HSwish')),
            head=dict(type='LinearClsHead', num_classes=1000, in_channels=1536),
        )
    ).eval()


def test_the_size_is_the_published_one(classifier):
    """9.1 M parameters; 595 M multiply-adds at 236 pixels, in convolutions and linear layers, as the authors count."""
    bias_of_the_hidden_layer = 1536  # not in the published network
    assert sum(p.numel() for p in classifier.parameters()) - bias_of_the_hidden_layer == 9_135_928
    operators = FlopAnalyzer(classifier, (torch.zeros(1, 3, 236, 236),)).by_operator()
    assert operators['conv'] + operators['linear'] == 595_189_032


def unit(in_channels, out_channels, kernel=1, stride=1, groups=1, activation=None, squeeze=False):
    """A convolution as once-for-all builds and names it."""
    layers = OrderedDict(
        conv=nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        bn=nn.BatchNorm2d(out_channels),
    )
    if activation:
        layers['act'] = dict(ReLU=nn.ReLU, HSwish=nn.Hardswish)[activation]()
    if squeeze:
        layers['se'] = Squeeze(out_channels)
    return nn.Sequential(layers)


class Squeeze(nn.Module):
    def __init__(self, channels):
        super().__init__()
        middle = max(8, int(channels / 4 + 4) // 8 * 8)
        layers = dict(reduce=nn.Conv2d(channels, middle, 1), relu=nn.ReLU(), expand=nn.Conv2d(middle, channels, 1))
        self.fc = nn.Sequential(OrderedDict(layers, h_sigmoid=nn.Hardsigmoid()))

    def forward(self, x):
        return x * self.fc(x.mean(dim=(2, 3), keepdim=True))


class Block(nn.Module):
    def __init__(self, width, channels, kernel, expansion, stride, squeeze, activation):
        super().__init__()
        middle = width * expansion
        layers = OrderedDict()
        if expansion != 1:
            layers['inverted_bottleneck'] = unit(width, middle, activation=activation)
        layers['depth_conv'] = unit(middle, middle, kernel, stride, middle, activation, squeeze)
        layers['point_linear'] = unit(middle, channels)
        self.mobile_inverted_conv = nn.Sequential(layers)
        self.shortcut = stride == 1 and width == channels

    def forward(self, x):
        return self.mobile_inverted_conv(x) + (x if self.shortcut else 0)


class Published(nn.Module):
    """The network of once-for-all, with its names."""

    def __init__(self):
        super().__init__()
        self.first_conv = unit(3, 24, 3, 2, activation='HSwish')
        blocks, width = [], 24
        for channels, stride, squeeze, activation, kernels, expansions in STAGES:
            for number, (kernel, expansion) in enumerate(zip(kernels, expansions, strict=True)):
                blocks.append(Block(width, channels, kernel, expansion, 1 if number else stride, squeeze, activation))
                width = channels
        self.blocks = nn.ModuleList(blocks)
        self.final_expand_layer = unit(192, 1152, activation='HSwish')
        self.feature_mix_layer = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(1152, 1536, 1, bias=False), act=nn.Hardswish())
        )
        self.classifier = nn.Sequential(OrderedDict(linear=nn.Linear(1536, 1000)))

    def forward(self, x):
        x = self.first_conv(x)
        for block in self.blocks:
            x = block(x)
        x = self.final_expand_layer(x).mean(dim=(2, 3), keepdim=True)
        return self.classifier(self.feature_mix_layer(x).flatten(1))


def test_converted_weights_give_the_published_scores(classifier, tmp_path, capsys):
    torch.manual_seed(0)
    published = Published().eval()
    for module in published.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    torch.save(dict(state_dict=published.state_dict()), tmp_path / 'init')
    assert converter([str(tmp_path / 'init'), str(tmp_path / 'sub' / 'out.pth')]) == 0
    assert 'out.pth: ' in capsys.readouterr().out
    classifier.load_state_dict(torch.load(tmp_path / 'sub' / 'out.pth')['state_dict'])
    images = torch.rand(2, 3, 76, 76)
    with torch.no_grad():
        torch.testing.assert_close(classifier(images), published(images))


def test_other_weights_are_refused(tmp_path, capsys):
    torch.save(dict(state_dict={'layer1.0.weight': torch.zeros(1)}), tmp_path / 'resnet.pth')
    said = Refusals('model_converters/ofa595_to_mmasl', capsys)(str(tmp_path / 'resnet.pth'), str(tmp_path / 'out.pth'))
    assert said.startswith('layer1.0.weight: expected the weights of OFA-595')
    with pytest.raises(UserError, match='no feature_mix_layer.conv.weight'):
        convert({'first_conv.conv.weight': torch.zeros(1)})


def test_stages_can_be_frozen_and_taken():
    backbone = OFA595(frozen_stages=2)
    backbone.train()
    frozen = {name.split('.')[0] for name, weight in backbone.named_parameters() if not weight.requires_grad}
    assert frozen == {'layer0', 'layer1', 'layer2'}
    with pytest.raises(ValueError, match='out_indices'):
        OFA595(out_indices=(22,))
