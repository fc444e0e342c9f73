import pytest
from experiment import train_and_test, trial_spec

from mmasl.errors import UserError
from tests.test_tools.tool_runs import CLASSIFICATION, write_config


def test_a_training_that_diverges_fails_with_a_clear_line(tmp_path):
    config = write_config(tmp_path, CLASSIFICATION)
    overrides = {'optim_wrapper.optimizer.lr': 1e30, 'train_cfg.max_epochs': 3}
    with pytest.raises(UserError, match='iteration 2 .*logits of .* are not finite|iteration . .*loss is (nan|inf)'):
        train_and_test(config, overrides, split='val')


def test_a_specification_says_what_differs_from_the_config(tmp_path):
    config = write_config(tmp_path, CLASSIFICATION)
    shown = {'lr': 'optim_wrapper.optimizer.lr', 'step': 'param_scheduler.0.milestones'}
    spec = trial_spec(config, {'optim_wrapper.optimizer.lr': 0.01}, 3, seed_keys=['randomness.seed'], shown=shown)
    assert (spec['overrides'], spec['lr'], spec['step'], spec['seed']) == ({}, 0.01, [100], 3)
    assert trial_spec(config, seed=4, seed_keys=['randomness.seed'], shown=shown) == spec | dict(seed=4)
    other = trial_spec(config, {'optim_wrapper.optimizer.lr': 0.1}, 3, label='x')
    assert other['settings'] != spec['settings'] and other['label'] == 'x'
