"""A head with another number of classes than the data stops before the first iteration, and says what to set."""

import pytest

from tests.test_tools.tool_runs import CLASSIFICATION, Refusals, load_main, write_config

HOOK = "custom_hooks = [dict(type='mmasl.CheckClassesHook')]\n"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_another_number_of_classes(tmp_path, capsys):
    config = write_config(tmp_path, CLASSIFICATION, HOOK)
    said = Refusals('train', capsys)(config, '--cfg-options', 'model.head.num_classes=81')
    assert said == (
        'model.head.num_classes=81, but the training data have 80 classes: --cfg-options model.head.num_classes=80 '
        'model.data_preprocessor.num_classes=80'
    )


def test_the_same_number(tmp_path):
    assert load_main('train')([write_config(tmp_path, CLASSIFICATION, HOOK)]) == 0
