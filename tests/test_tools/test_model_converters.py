"""The authors' checkpoints: their TResNet, written down from its description, gives the logits of the converted one."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import Config
from mmpretrain import get_model
from torch import nn
from torch.nn import functional

from mmasl.cli import checkpoints
from tests.test_tools.tool_runs import Refusals, load_main

pytestmark = pytest.mark.usefixtures('empty_folder')

convert = load_main('model_converters/asl_to_mmasl')
publish = load_main('model_converters/publish_model')
WIDTH_AND_BLOCKS = {'m': (1.0, (3, 4, 11, 3)), 'l': (1.2, (4, 5, 18, 3)), 'xl': (1.3, (4, 5, 24, 3))}


class ABN(nn.Module):
    """InPlaceABN in evaluation: batch norm with the scale |weight| + eps, then the activation."""

    def __init__(self, channels, slope):
        super().__init__()
        self.slope = slope
        for name in ('weight', 'bias'):
            self.register_parameter(name, nn.Parameter(torch.randn(channels)))
        self.register_buffer('running_mean', torch.randn(channels))
        self.register_buffer('running_var', torch.rand(channels) + 0.5)

    def forward(self, x):
        mean, var, weight, bias = (
            value[:, None, None] for value in (self.running_mean, self.running_var, self.weight, self.bias)
        )
        x = (x - mean) / (var + 1e-5).sqrt() * (weight.abs() + 1e-5) + bias
        return torch.where(x > 0, x, self.slope * x)


class Downsample(nn.Module):
    """Anti-aliasing: the binomial filter of size 3 with stride 2."""

    def forward(self, x):
        line = torch.tensor([1.0, 2.0, 1.0])
        kernel = (line[:, None] * line / 16).expand(x.shape[1], 1, 3, 3)
        return functional.conv2d(functional.pad(x, (1, 1, 1, 1), 'reflect'), kernel, stride=2, groups=x.shape[1])


def conv(inputs, outputs, size=3, slope=1e-3, down=False):
    layers = nn.Sequential(nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), ABN(outputs, slope))
    return nn.Sequential(layers, Downsample()) if down else layers


class SE(nn.Module):
    def __init__(self, channels, reduced):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, reduced, 1), nn.Conv2d(reduced, channels, 1)

    def forward(self, x):
        return x * self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Block(nn.Module):
    """Basic in the first two stages, bottleneck of expansion 4 in the others; no SE in the last."""

    def __init__(self, inputs, planes, stage, down, shortcut):
        super().__init__()
        self.bottleneck, outputs = stage >= 3, planes * (4 if stage >= 3 else 1)
        if self.bottleneck:
            self.conv1, self.conv2 = conv(inputs, planes, 1), conv(planes, planes, down=down)
            self.conv3 = conv(planes, outputs, 1, slope=1.0)
            self.se = SE(planes, max(planes * 4 // 8, 64)) if stage == 3 else None
        else:
            self.conv1, self.conv2 = conv(inputs, planes, down=down), conv(planes, planes, slope=1.0)
            self.se = SE(planes, max(planes // 4, 64))
        self.downsample = None
        if shortcut:
            pool = [nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)] if down else []
            self.downsample = nn.Sequential(*pool, conv(inputs, outputs, 1, slope=1.0))

    def forward(self, x):
        y = self.conv2(self.conv1(x))
        y = self.se(y) if self.se is not None else y
        y = self.conv3(y) if self.bottleneck else y
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class BottleneckHead(nn.Module):
    def __init__(self, features, num_classes):
        super().__init__()
        self.embedding_generator = nn.Sequential(nn.Linear(features, 512))
        self.FC = nn.Linear(512, num_classes)

    def forward(self, x):
        return self.FC(self.embedding_generator(x))


class Original(nn.Module):
    """TResNet as the authors published it."""

    def __init__(self, variant, num_classes, bottleneck):
        super().__init__()
        width, blocks = WIDTH_AND_BLOCKS[variant]
        channels = planes = int(64 * width)
        body = OrderedDict(SpaceToDepth=nn.Identity(), conv1=conv(48, planes, slope=1e-2))
        for stage, number in enumerate(blocks, 1):
            layers = []
            for index in range(number):
                outputs = planes * (4 if stage >= 3 else 1)
                down = index == 0 and stage > 1
                layers.append(Block(channels, planes, stage, down, down or channels != outputs))
                channels = outputs
            body[f'layer{stage}'] = nn.Sequential(*layers)
            planes *= 2
        self.body = nn.Sequential(body)
        self.head = nn.Sequential()
        fc = BottleneckHead(channels, num_classes) if bottleneck else nn.Linear(channels, num_classes)
        self.head.add_module('fc', fc)

    def forward(self, x):
        n, c, h, w = x.shape
        x = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 3, 5, 1, 2, 4).reshape(n, 16 * c, h // 4, w // 4)
        return self.head(self.body(x).mean((2, 3)))


def original(variant, bottleneck=False, num_classes=5):
    torch.manual_seed(0)
    model = Original(variant, num_classes, bottleneck).eval()
    classes = {index: f'class {index}' for index in reversed(range(num_classes))}
    return model, dict(model=model.state_dict(), num_classes=num_classes, idx_to_class=classes)


def classifier(variant, bottleneck, num_classes=5):
    """The model of the configs in configs/coco_multilabel/ and configs/open_images/."""
    features = int(64 * WIDTH_AND_BLOCKS[variant][0]) * 32
    pooling = dict(type='GlobalAveragePooling')
    linear = dict(type='LinearNeck', in_channels=features, out_channels=512, gap_dim=2, norm_cfg=None)
    head = dict(type='MultiLabelLinearClsHead', num_classes=num_classes, in_channels=512 if bottleneck else features)
    backbone = dict(type='TIMMBackbone', model_name=f'tresnet_{variant}')
    return dict(type='ImageClassifier', backbone=backbone, neck=linear if bottleneck else pooling, head=head)


@pytest.mark.parametrize(('variant', 'bottleneck'), [('m', False), ('l', True), ('xl', False)])
def test_the_logits_of_the_original(variant, bottleneck, capsys):
    model, checkpoint = original(variant, bottleneck)
    torch.save(checkpoint, 'authors.pth')
    assert convert(['authors.pth', 'out/ours.pth']) == 0
    neck = ', bottleneck of 512' if bottleneck else ''
    said = f'done: tresnet_{variant}{neck}, 5 classes (class 0, class 1, class 2, ...) in out/ours.pth'
    assert capsys.readouterr().out.splitlines()[-1] == said

    ours = get_model(Config(dict(model=classifier(variant, bottleneck))), 'out/ours.pth')
    checkpoints.check_fit(ours, torch.load('out/ours.pth'), 'out/ours.pth', complete=True)
    assert ours._dataset_meta['classes'] == [f'class {index}' for index in range(5)]
    picture = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected, got = model(picture), ours.head(ours.extract_feat(picture))
    assert expected.std() > 0.01
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_refusals(capsys):
    refuse = Refusals('model_converters/asl_to_mmasl', capsys)
    _, checkpoint = original('m')
    assert refuse('absent.pth', 'out.pth') == 'absent.pth does not exist'

    def said_of(**changes):
        torch.save({key: value for key, value in (checkpoint | changes).items() if value is not None}, 'in.pth')
        return refuse('in.pth', 'out.pth')

    assert 'in.pth is not a checkpoint of the authors' in said_of(idx_to_class=None)
    assert 'expected a name for each index 0 ... 4, got 1 names' in said_of(idx_to_class={0: 'a'})
    assert 'got no body.conv1.0.weight' in said_of(model={'weight': torch.zeros(1)})
    weights = dict(checkpoint['model'])
    del weights['body.layer4.2.conv3.1.bias']
    assert "lacks ['body.layer4.2.conv3.bn.bias']" in said_of(model=weights)
    weights = {key.replace('head.fc', 'head.decoder'): value for key, value in checkpoint['model'].items()}
    assert 'head.decoder.weight belongs neither to a linear head' in said_of(model=weights)
    weights = checkpoint['model'] | {'head.fc.weight': torch.zeros(7, 2048)}
    assert 'expected a head of num_classes=5, got 7' in said_of(model=weights)
    assert 'is already a checkpoint of MMEngine' in said_of(state_dict={}, meta={})
    torch.save(checkpoint | {'args': Path('x')}, 'in.pth')  # an object, which a safe load does not make
    assert 'in.pth cannot be loaded safely: UnpicklingError' in refuse('in.pth', 'out.pth')
    Path('in.pth').write_bytes(b'no checkpoint')
    assert 'in.pth cannot be loaded safely' in refuse('in.pth', 'out.pth')
    assert not Path('out.pth').exists()


def test_a_published_model_is_small_and_safe(capsys):
    state = {'module.fc.weight': torch.randn(3, 4)}
    meta = dict(dataset_meta=dict(classes=('a', 'b')), cfg='x = 1', epoch=np.int64(3), hook=object())
    torch.save(dict(state_dict=state, ema_state_dict=state, optimizer=dict(a=1), meta=meta), 'epoch_3.pth')
    assert publish(['epoch_3.pth', 'out/model.pth']) == 0
    (path,) = Path('out').glob('model-*.pth')
    assert capsys.readouterr().out.splitlines()[-1].startswith(f'done: {path}, ')
    published = torch.load(path, weights_only=True)
    assert published.keys() == {'meta', 'state_dict'}
    assert published['meta'] == dict(cfg='x = 1', dataset_meta=dict(classes=['a', 'b']), epoch=3)
    assert torch.equal(published['state_dict']['fc.weight'], state['module.fc.weight'])
    assert publish(['epoch_3.pth', 'out/model.pth']) == 0 and len(list(Path('out').iterdir())) == 1
    torch.save(state, 'raw.pth')
    refuse = Refusals('model_converters/publish_model', capsys)
    assert 'got raw weights' in refuse('raw.pth', 'out/model.pth')
    assert 'out is a folder: only the strategy that wrote it' in refuse('out', 'out/model.pth')
    assert 'the name must end in .pth' in refuse('raw.pth', 'out/model.pt')
