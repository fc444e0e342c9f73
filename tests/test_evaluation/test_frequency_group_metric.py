import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from mmasl.datasets import DigitScenes
from mmasl.evaluation import FrequencyGroupMetric

ARGUMENTS = dict(mean_labels=1.0, num_scenes=300, classes='digit')
TAIL = dict(type='mmasl.DigitScenes', **ARGUMENTS)


def evaluate(truth, predicted, **arguments):
    metric = FrequencyGroupMetric(TAIL, **arguments)
    samples = [
        dict(gt_label=torch.tensor([t]), pred_label=torch.tensor([p])) for t, p in zip(truth, predicted, strict=True)
    ]
    for half in (samples[:7], samples[7:]):
        metric.process(None, half)
    return metric.evaluate(len(samples))


def test_agrees_with_scikit_learn_overall_and_in_each_group():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 10, 200)
    predicted = np.where(generator.random(200) < 0.6, truth, generator.integers(0, 10, 200))
    found = evaluate(truth, predicted, bounds=(15, 40))
    assert found['frequency/accuracy'] == pytest.approx(100 * accuracy_score(truth, predicted))
    assert found['frequency/macro_f1'] == pytest.approx(100 * f1_score(truth, predicted, average='macro'))
    dataset = DigitScenes(**ARGUMENTS)
    images = np.bincount([dataset.get_cat_ids(i)[0] for i in range(300)])
    by_class = 100 * f1_score(truth, predicted, average=None)
    for name, group in dict(few=images < 15, medium=(images >= 15) & (images < 40), many=images >= 40).items():
        assert group.any() and found[f'frequency/f1_{name}'] == pytest.approx(by_class[group].mean())


def test_classes_and_groups_that_are_not_evaluated_are_left_out():
    found = evaluate([0] * 8, [0] * 6 + [1] * 2, bounds=(1, 1000))
    assert found['frequency/macro_f1'] == found['frequency/f1_medium'] == pytest.approx(100 * 12 / 14)
    assert not {'frequency/f1_few', 'frequency/f1_many'} & set(found)


def test_bad_input():
    with pytest.raises(ValueError, match=r'bounds: expected two rising numbers of images above 0, got \(5, 5\)'):
        FrequencyGroupMetric(TAIL, bounds=(5, 5))
    with pytest.raises(ValueError, match=r'expected one label in each, got \[1 2\] and \[0\]'):
        FrequencyGroupMetric(TAIL).process(None, [dict(gt_label=[1, 2], pred_label=0)])
