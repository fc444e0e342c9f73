import pytest
import torch

from mmasl.models.backbones import DigitNet
from mmasl.registry import MODELS


def test_default_gives_the_last_stage_in_a_tuple():
    (feature,) = DigitNet()(torch.randn(2, 3, 48, 48))
    assert feature.shape == (2, 128, 3, 3)


@pytest.mark.parametrize('size', [(48, 48), (33, 50), (1, 1)])
def test_maps_have_the_declared_channels_and_strides(size):
    backbone = DigitNet(out_indices=range(4)).eval()
    features = backbone(torch.randn(1, 3, *size))
    for feature, channels, stride in zip(features, backbone.stage_channels, backbone.strides, strict=True):
        assert feature.shape == (1, channels[-1], *(-(-side // stride) for side in size))


def test_negative_indices_count_from_the_end():
    assert DigitNet(out_indices=(-1, 1)).out_indices == (1, 3)


def test_is_about_a_fifth_of_a_million_parameters():
    assert 200_000 < sum(p.numel() for p in DigitNet().parameters()) < 220_000


def test_is_built_by_name_from_other_scopes():
    from mmengine.registry import MODELS as ROOT

    for registry in (MODELS, ROOT):
        assert isinstance(registry.build(dict(type='mmasl.DigitNet', in_channels=1)), DigitNet)


def test_init_weights_is_reproducible():
    state = []
    for _ in range(2):
        torch.manual_seed(3)
        backbone = DigitNet()
        backbone.init_weights()
        state.append(backbone.state_dict())
    assert all(torch.equal(value, state[1][name]) for name, value in state[0].items())


def test_frozen_stages_stay_frozen_in_train_mode():
    backbone = DigitNet(frozen_stages=1).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone(torch.randn(4, 3, 48, 48))[0].sum().backward()
    for index, stage in enumerate(backbone.stages):
        frozen = index <= 1
        assert stage.training != frozen
        assert all((p.grad is None) == frozen for p in stage.parameters())
    after = backbone.state_dict()
    changed = {name.split('.')[1] for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {'2', '3'}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(in_channels=0), 'in_channels must be at least 1, got 0'),
        (dict(out_indices=()), r'out_indices must be different stages among 0 \.\.\. 3, got \(\)'),
        (dict(out_indices=(4,)), r'among 0 \.\.\. 3, got \(4,\)'),
        (dict(out_indices=(3, -1)), r'must be different stages .* got \(3, -1\)'),
        (dict(frozen_stages=4), r'frozen_stages must lie in -1 \.\.\. 3, got 4'),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DigitNet(**arguments)
