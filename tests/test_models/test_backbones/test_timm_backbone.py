import pytest
import torch
from mmpretrain.registry import MODELS
from torch.nn import BatchNorm2d


def backbone(**kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(dict(type='mmasl.TIMMBackbone', model_name='tf_efficientnet_lite0'), **kwargs))


@pytest.mark.parametrize('norm_eval', [False, True])
def test_statistics_stay_as_they_were_loaded(norm_eval):
    model = backbone(norm_eval=norm_eval).train()
    norms = [module for module in model.modules() if isinstance(module, BatchNorm2d)]
    model(torch.randn(2, 3, 32, 32))[0].mean().backward()
    assert model.training and model.timm_model.training
    assert all(norm.training is not norm_eval for norm in norms)
    assert all(bool(norm.running_mean.any()) is not norm_eval for norm in norms)
    assert all(norm.weight.grad is not None for norm in norms)
    model.eval()
    assert not any(norm.training for norm in norms)


def test_channels_last_changes_nothing_but_the_layout():
    images = torch.randn(2, 3, 64, 64)
    plain, last = backbone().eval(), backbone(channels_last=True).eval()
    last.load_state_dict(plain.state_dict())
    assert last.timm_model.conv_head.weight.is_contiguous(memory_format=torch.channels_last)
    features = last(images)[0]
    assert features.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(features, plain(images)[0], atol=1e-4, rtol=1e-4)


def test_a_pyramid_of_features():
    model = backbone(features_only=True, out_indices=(2, 3, 4))
    assert [tuple(x.shape[1:]) for x in model(torch.randn(1, 3, 64, 64))] == [(40, 8, 8), (112, 4, 4), (320, 2, 2)]


def test_frozen_stages_keep_their_weights():
    model = backbone(norm_eval=True, frozen_stages=3).train()
    model(torch.randn(2, 3, 32, 32))[0].mean().backward()
    trained = {name.split('.')[2] for name, p in model.named_parameters() if p.grad is not None and '.blocks.' in name}
    assert trained == {'3', '4', '5', '6'}
    assert model.timm_model.conv_stem.weight.grad is None and model.timm_model.conv_head.weight.grad is not None


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(frozen_stages=8, norm_eval=True), 'frozen_stages: expected an integer from 0 to 7, got 8'),
        (dict(frozen_stages=1), 'frozen_stages: expected norm_eval=True'),
        (dict(frozen_stages=1, norm_eval=True, model_name='resnet18'), 'needs an EfficientNet of timm, got ResNet'),
    ],
)
def test_what_cannot_be_frozen(kwargs, message):
    with pytest.raises(ValueError, match=message):
        backbone(**kwargs)
