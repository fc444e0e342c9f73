"""Classes that disagree, in heads, data or checkpoints, stop a run before its first iteration."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.datasets.dataset_wrappers import ConcatDataset as DetectionConcat
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmpretrain.registry import MODELS
from torch import nn

from mmasl.datasets import DigitScenes
from mmasl.engine.check_classes import OTHER_HEADS, check_classes
from mmasl.engine.hooks import CheckModelHook, StopAtNaNHook
from mmasl.engine.seeding import SeededDataset
from mmasl.errors import UserError
from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, Refusals, load_main, write_config

pytestmark = pytest.mark.usefixtures('empty_folder')

NAMES = DigitScenes.METAINFO['classes']


@pytest.mark.parametrize('number', [79, 81])
def test_a_classifier_with_another_number_of_classes(tmp_path, capsys, number):
    config = write_config(tmp_path, CLASSIFICATION)
    said = Refusals('train', capsys)(config, '--cfg-options', f'model.head.num_classes={number}')
    assert said == (
        f'model.head.num_classes is {number}, but train_dataloader.dataset has 80 classes (red 0, red 1, red 2, red 3, '
        'red 4, ...): write --cfg-options model.head.num_classes=80, or set other classes in its metainfo'
    )


@pytest.mark.parametrize('number', [9, 11])
def test_a_detector_with_another_number_of_classes(tmp_path, capsys, number):
    config = write_config(tmp_path, DETECTION)
    said = Refusals('train', capsys)(config, '--cfg-options', f'model.bbox_head.num_classes={number}')
    assert said.startswith(f'model.bbox_head.num_classes is {number}, but train_dataloader.dataset has 10 classes (0,')


def test_validation_data_in_another_order(tmp_path, capsys):
    swap = f"val_dataloader['dataset'].update(metainfo=dict(classes={(NAMES[1], NAMES[0], *NAMES[2:])}))\n"
    said = Refusals('train', capsys)(write_config(tmp_path, CLASSIFICATION, swap))
    assert said.startswith(
        "class 0 is 'red 1' in val_dataloader.dataset and 'red 0' in train_dataloader.dataset; labels are compared"
    )
    assert load_main('train')([write_config(tmp_path, CLASSIFICATION, swap), '--no-validate']) == 0


def test_test_data_in_another_order_than_the_checkpoint(tmp_path, capsys):
    config = write_config(tmp_path, CLASSIFICATION)
    assert load_main('train')([config, '--work-dir', 'wd']) == 0
    swap = f"test_dataloader['dataset'].update(metainfo=dict(classes={(*NAMES[:-1], 'white 99')}))\n"
    said = Refusals('test', capsys)(write_config(tmp_path, CLASSIFICATION, swap), 'wd/epoch_1.pth')
    assert said.startswith(f"class 79 is 'white 99' in test_dataloader.dataset and '{NAMES[-1]}' in the checkpoint")


class Labels(BaseDataset):
    """Labels of pictures that nobody loads."""

    def __init__(self, *labels, classes=('circle', 'square')):
        self._labels = labels
        super().__init__(
            metainfo={} if classes is None else {'classes': classes}, data_root='pictures', serialize_data=False
        )

    def load_data_list(self):
        return [{'img_path': f'{index}.jpg', 'gt_label': list(label)} for index, label in enumerate(self._labels)]

    def get_cat_ids(self, idx):
        return self.get_data_info(idx)['gt_label']


def classifier(head=2, **preprocessor):
    model = nn.Module()
    model.head, model.data_preprocessor = nn.Module(), nn.Module()
    model.head.num_classes = head
    vars(model.data_preprocessor).update(preprocessor)
    return model


def detector(**heads):
    model = nn.Module()
    for name, number in (heads or {'bbox_head': 2}).items():
        model.add_module(name, nn.Module())
        model.get_submodule(name).num_classes = number
    return model


WRONG = {
    'a string': (
        Labels([0], classes='red circle'),
        "its classes are the string 'red circle', so each letter is one",
    ),
    'a class twice': (Labels([0], classes=('a', 'b', 'a')), "data: its classes have 'a' twice; each class needs"),
    'none': (Labels(), 'data: it has no picture with one of circle, square'),
    'more classes': (Labels([0], classes=('a', 'b', 'c')), 'model.head.num_classes is 2, but data has 3 classes'),
    'a name': (Labels([0], ['square']), "1.jpg has the label 'square'; expected different indices of classes"),
    'too large': (Labels([0], [1, 2], classes=None), '1.jpg has the label 2; expected different indices of classes, '),
    'negative': (Labels([-1]), '0.jpg has the label -1; '),
    'twice': (Labels([0], [1, 1, 0]), '1.jpg has the labels [1, 1, 0], with one of them twice'),
    'no positive': (Labels([], []), 'data: none of its 2 pictures has a label'),
}


@pytest.mark.parametrize('what', WRONG)
def test_data_of_a_classifier(what):
    dataset, message = WRONG[what]
    with pytest.raises(UserError) as caught:
        check_classes(classifier(), {'data': dataset})
    assert message in str(caught.value)


class Scores(BaseDataset):
    """Samples that have a ``gt_score`` and no labels."""

    def __init__(self, *scores):
        self._scores = scores
        super().__init__(serialize_data=False)

    def load_data_list(self):
        return [{'gt_score': score} for score in self._scores]


def multi_label(loss='mmasl.AsymmetricLoss', **constants):
    head = dict(type='MultiLabelLinearClsHead', num_classes=2, in_channels=1, loss=dict(type=loss, **constants))
    return nn.ModuleDict({'head': MODELS.build(head)})


@pytest.mark.parametrize(
    'score, message',
    [
        ([1, 255], 'has 255 for class 1 in its gt_score; expected a number from 0 to 1, or -1 for a label that is not'),
        (np.float32([2, 0]), 'has 2 for class 0 in its gt_score'),
        (torch.tensor([0.0, torch.nan]), 'has nan for class 1 in its gt_score'),
        ([0, -0.5], 'has -0.5 for class 1 in its gt_score'),
        ([0, 1, 0], r'has a gt_score of shape \(3,\); expected \(2,\), a number per class'),
        ([[0, 1]], r'has a gt_score of shape \(1, 2\); expected \(2,\), a number per class'),
    ],
)
def test_scores_of_a_multi_label_head(score, message):
    fine = [0, 1], np.float32([-1, 0.5]), torch.tensor([True, False])
    check_classes(multi_label(), {'data': Scores(*fine)})
    with pytest.raises(UserError, match=f'data: picture 3 {message}'):
        check_classes(multi_label(), {'data': SeededDataset(RepeatDataset(Scores(*fine, score), times=2))})
    check_classes(classifier(), {'data': Scores(*fine, score)})  # a head for regression, for example


@pytest.mark.parametrize('name', ['CrossEntropyLoss', 'FocalLoss', 'AsymmetricLoss'])
def test_losses_that_do_not_ignore_labels_of_a_training_set(name):
    model = multi_label(f'mmpretrain.{name}', **dict(use_sigmoid=True) if name == 'CrossEntropyLoss' else {})
    partial, complete = Scores([0, 1], [1, -1]), Scores([0, 1])
    check_classes(model, {'train_dataloader.dataset': complete, 'val_dataloader.dataset': partial})
    check_classes(multi_label(), {'train_dataloader.dataset': partial})
    with pytest.raises(UserError) as caught:
        check_classes(model, {'train_dataloader.dataset': ConcatDataset([complete, partial])})
    assert str(caught.value) == (
        f"train_dataloader.dataset has labels of -1 (not annotated), which MMPretrain's {name} does not ignore: write "
        'model.head.loss.type=mmasl.AsymmetricLoss; with gamma_pos=0, gamma_neg=0 and clip=0 it is cross-entropy that '
        'ignores them'
    )


@pytest.mark.parametrize('loss', ['mmdet.CrossEntropyLoss', 'Masked'])
def test_losses_of_others_that_ignore_labels(loss, monkeypatch):
    monkeypatch.setattr(MODELS, '_module_dict', dict(MODELS.module_dict))
    MODELS.register_module('Masked', module=type('Masked', (nn.Identity,), {}))
    model = multi_label(loss, **dict(use_sigmoid=True) if loss != 'Masked' else {})
    check_classes(model, {'train_dataloader.dataset': Scores([1, -1])})


BOXES = {
    'a label above the classes': (
        Labels([0], [1, 1, 2]),
        '1.jpg has the label 2; expected indices of classes, integers',
    ),
    'no box': (Labels([], []), 'train_dataloader.dataset: none of its 2 pictures has a label'),
}


@pytest.mark.parametrize('what', BOXES)
def test_data_of_a_detector(what):
    dataset, message = BOXES[what]
    with pytest.raises(UserError) as caught:
        check_classes(detector(), {'train_dataloader.dataset': dataset})
    assert message in str(caught.value)


def test_a_detector_may_find_a_class_twice_and_a_test_set_may_have_no_boxes():
    check_classes(detector(), {'val_dataloader.dataset': Labels([0, 0], [])})
    check_classes(detector(), {'test_dataloader.dataset': Labels([], [])})


def test_data_sets_in_wrappers():
    wrong = SeededDataset(RepeatDataset(Labels([0], [1, 1]), times=2))
    with pytest.raises(UserError, match=r'data: 1.jpg has the labels \[1, 1\], with one of them twice'):
        check_classes(classifier(), {'data': wrong})
    check_classes(classifier(), {'data': ConcatDataset([Labels([]), Labels([1])])})
    with pytest.raises(UserError, match='data: none of its 2 pictures has a label'):
        check_classes(classifier(), {'data': ConcatDataset([Labels([]), Labels([])])})


def test_data_sets_of_a_concatenation_with_unequal_metainfo():
    def concatenated(*classes):
        parts = [Labels([0], classes=names) for names in classes]
        parts[0]._metainfo['palette'] = 'random'
        return DetectionConcat(parts)

    agree = concatenated(('x', 'y'), None, ('x', 'y'))
    assert isinstance(agree.metainfo, list)
    check_classes(classifier(), {'data': SeededDataset(agree)})
    with pytest.raises(UserError, match='model.head.num_classes is 3, but data set 1 of data has 2 classes'):
        check_classes(classifier(3), {'data': agree})
    with pytest.raises(UserError, match="class 1 is 'z' in data set 2 of data and 'y' in data set 1 of data; labels"):
        check_classes(classifier(), {'data': concatenated(('x', 'y'), ('x', 'z'))})
    with pytest.raises(UserError, match="data set 1 of data: its classes are the string 'red', so each letter is one"):
        check_classes(classifier(), {'data': concatenated('red', ('x', 'y'))})


def test_hooks_take_the_first_classes_of_a_concatenation():
    entries = [dict(classes=('x', 'y')), dict(classes=('x', 'y'), palette='random')]
    check = CheckModelHook()
    check.after_load_checkpoint(None, dict(meta=dict(dataset_meta=entries)))
    assert check.trained_on == ('x', 'y')
    stop = StopAtNaNHook()
    stop.logits = [('head.loss_module', torch.tensor([[0.0, torch.nan]]))]
    hub = SimpleNamespace(runtime_info=dict(dataset_meta=entries))
    with pytest.raises(UserError, match='logits of y in head.loss_module are not finite'):
        stop.after_train_iter(SimpleNamespace(message_hub=hub, iter=0, epoch=0), 0)


def test_two_data_sets():
    def check(classes, others):
        check_classes(nn.Linear(1, 1), {'a': Labels([0], classes=classes), 'b': Labels([0], classes=others)})

    check(('x', 'y'), ('x', 'y'))
    check(None, ('x', 'y'))
    with pytest.raises(UserError, match=r"class 1 is 'squares' in b and 'square' in a; did you mean 'square'\?"):
        check(('circle', 'square'), ('circle', 'squares'))
    with pytest.raises(UserError, match='b has 2 classes and a has 3: only one of them has z;'):
        check(('x', 'y', 'z'), ('x', 'y'))


def test_what_agrees_or_does_not_say():
    check_classes(classifier(2, num_classes=2), {'data': Labels([0], [], [0, 1])})
    check_classes(nn.Linear(1, 1), {'data': [1]})
    check_classes(classifier(), {'data': torch.utils.data.TensorDataset(torch.zeros(2))})
    with pytest.raises(UserError, match='model.data_preprocessor.num_classes is 3, but data has 2 classes'):
        check_classes(classifier(2, num_classes=3), {'data': Labels([0])})


def test_a_head_for_more_labels_than_data_without_names_has(monkeypatch):
    said = []
    monkeypatch.setattr('mmasl.engine.check_classes.print_log', lambda text, **_: said.append(text))
    train, val = Labels([0, 2], [], classes=None), Labels([1], classes=None)
    check_classes(classifier(3), {'train': train, 'val': val})
    check_classes(classifier(4), {'train': train, 'val': Labels([0], classes=('a', 'b', 'c', 'd'))})
    assert not said
    check_classes(classifier(4, num_classes=4), {'train': train, 'val': val})
    assert said == [
        'model.head.num_classes is 4, but the largest label in train and val is 2, and they name no classes: write '
        '--cfg-options model.head.num_classes=3 model.data_preprocessor.num_classes=3, or name them all in '
        'metainfo=dict(classes=(...))'
    ]


def test_a_region_proposal_network_has_one_class():
    class RPNHead(nn.Module):
        num_classes, loss_cls = 1, None

    model = nn.Module()
    model.rpn_head, model.roi_head = RPNHead(), nn.Module()
    model.roi_head.bbox_head = nn.Module()
    vars(model.roi_head.bbox_head).update(num_classes=2, loss_cls=None)
    check_classes(model, {'data': Labels([0])})
    model.roi_head.bbox_head.num_classes = 80
    with pytest.raises(UserError, match='model.roi_head.bbox_head.num_classes is 80, but data has 2 classes'):
        check_classes(model, {'data': Labels([0])})


def test_each_head_of_a_detector():
    data = {'data': Labels([0])}
    for name in ('bbox_head', 'mask_head', 'point_head'):
        with pytest.raises(UserError, match=f'model.{name}.num_classes is 80, but data has 2 classes'):
            check_classes(detector(**{name: 80}), data)
    check_classes(detector(bbox_head=2, semantic_head=183, backbone_head=0, loss=80), data)


@pytest.mark.parametrize('part', OTHER_HEADS)
def test_trackers_panoptic_models_and_readers_of_names_have_other_heads(part):
    model = classifier(256)
    model.add_module(part, nn.Identity())
    check_classes(model, {'a': Labels([0]), 'b': Labels([0], classes=('x', 'y', 'z'))})


def test_the_hook_can_leave_the_classes_out(tmp_path):
    more = "model['head']['num_classes'] = model['data_preprocessor']['num_classes'] = 81\n"
    hook = "custom_hooks = [dict(type='mmasl.CheckModelHook', classes=False)]\n"
    assert load_main('train')([write_config(tmp_path, CLASSIFICATION, more + hook)]) == 0
