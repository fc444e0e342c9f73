"""Only a resumed training takes over the state of adaptive losses."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmasl.cli.checkpoints import CheckCheckpoint, check_fit
from mmasl.errors import UserError
from mmasl.models.losses import AdaptiveAsymmetricLoss, AsymmetricLoss

RESUMED, EVALUATED, NEW = ((True, True), (True, False), (False, False))  # complete, resume


def model(loss):
    return nn.ModuleDict(dict(fc=nn.Linear(2, 3), loss_module=loss))


def load(source, target, complete, resume):
    """Load the state of one model into another as a runner does."""
    checkpoint = dict(state_dict=source.state_dict(), meta={})
    hook = CheckCheckpoint('old.pth', complete, resume)
    hook.after_load_checkpoint(SimpleNamespace(model=target, optim_wrapper=None, param_schedulers=None), checkpoint)
    target.load_state_dict(checkpoint['state_dict'], strict=False)


@pytest.mark.parametrize('kind', [NEW, RESUMED], ids=['new', 'resumed'])
def test_a_new_training_starts_from_the_asymmetry_of_its_config(kind):
    old, new = (model(AdaptiveAsymmetricLoss(adapt='both', gamma_neg=value, clip=value / 10)) for value in (3.0, 1.0))
    old.loss_module.running_sums += 1
    load(old, new, *kind)
    expected = old if kind == RESUMED else model(AdaptiveAsymmetricLoss(adapt='both', gamma_neg=1.0, clip=0.1))
    assert torch.equal(new.fc.weight, old.fc.weight)
    for name, value in expected.loss_module.state_dict().items():
        assert torch.equal(new.loss_module.state_dict()[name], value), name


@pytest.mark.parametrize('kind', [NEW, EVALUATED], ids=['new', 'evaluated'])
@pytest.mark.parametrize('wrapped', [False, True])
def test_the_weights_of_another_loss_fit(kind, wrapped):
    fixed, adaptive = model(AsymmetricLoss()), model(AdaptiveAsymmetricLoss())
    load(fixed, adaptive, *kind)
    load(adaptive, fixed, *kind)
    prefix = 'module.' if wrapped else ''
    check_fit(fixed, {prefix + name: value for name, value in adaptive.state_dict().items()}, 'old.pth', kind[0])


def test_what_is_missing_is_still_refused():
    state = model(AsymmetricLoss()).state_dict()
    with pytest.raises(UserError, match=r'of 5 weights 3 missing \(loss_module.gamma_neg'):
        load(model(AsymmetricLoss()), model(AdaptiveAsymmetricLoss()), *RESUMED)
    del state['fc.bias']
    with pytest.raises(UserError, match=r'of 2 weights 1 missing \(fc.bias\)$'):
        check_fit(model(AdaptiveAsymmetricLoss()), state, 'old.pth', complete=True)
