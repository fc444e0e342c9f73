"""The study of adaptive asymmetry: its cells run and become tables and figures."""

import argparse
import re

import adaptive
import experiment

from mmasl.files import write_json

SMALL = {
    'train_dataloader.dataset.num_scenes': 32,
    'train_dataloader.batch_size': 4,
    'train_cfg.max_epochs': 1,
    'test_dataloader.dataset.num_scenes': 40,
    'val_dataloader.dataset.num_scenes': 40,
}


def make_small(monkeypatch):
    def train_and_test(config, overrides, *arguments, **options):
        return original(config, {**overrides, **SMALL}, *arguments, **options)

    original = experiment.train_and_test
    monkeypatch.setattr(experiment, 'train_and_test', train_and_test)


def test_a_course_is_thinned_to_its_end():
    kept = adaptive.thin(dict(gamma_neg=list(range(1000)), delta_p=[1.0] * 900 + [0.0] * 100))
    assert len(kept['iteration']) <= 125 and kept['iteration'][-1] == kept['gamma_neg'][-1] == 999
    assert kept['delta_p'][-1] == 0.0 and 1 in kept['delta_p']


def arguments(seeds=1):
    return argparse.Namespace(seeds=seeds)


def test_every_stage_has_cells_of_its_own():
    stages = {stage: make(arguments(seeds=2)) for stage, make in adaptive.STAGES.items()}
    names = [name for cells in stages.values() for name in cells]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and ' ' not in name for name in names)
    assert {spec['split'] for spec in stages['trials'].values()} == {'val'}
    assert {spec['seed'] for spec in stages['trials'].values()} == {adaptive.TUNING_SEED}
    assert {spec['split'] for spec in stages['targets'].values()} == {'test'}
    sizes = {spec['step_size'] for spec in stages['steps'].values()} - {0.0}
    assert max(sizes) >= 100 * min(sizes)


def test_a_cell_has_the_course_of_every_iteration(monkeypatch):
    make_small(monkeypatch)
    result = adaptive.train_cell(adaptive.targets(arguments())['target0.2_seed0'])
    assert {len(values) for values in result['course'].values()} == {8}
    assert result['course']['gamma_neg'][-1] != 2 and result['ends']['gamma_neg'] > 0


def test_a_fixed_loss_has_no_course(monkeypatch):
    make_small(monkeypatch)
    assert 'course' not in adaptive.train_cell(adaptive.trials(arguments())['trial_00'])


def test_steps_on_frozen_features():
    spec = dict(step_size=0.1, batch_size=8, iterations=60, delta_p_target=0.0)
    result = adaptive.steps_cell(spec, dict(train=24, val=16))
    assert result['gamma_neg'] != 4 and 0 < result['error'] < 1 and 0 < result['mAP'] <= 100
    assert adaptive.steps_cell(dict(spec, step_size=0.0), dict(train=24, val=16))['gamma_neg'] == 4


def course(target, length=250):
    gaps = [target - 0.5] * 50 + [target] * (length - 50)
    return dict(gamma_neg=[4.0] * 50 + [5.0] * (length - 50), delta_p=gaps)


def test_report(tmp_path, monkeypatch):
    monkeypatch.setattr(adaptive, 'ROOT', tmp_path)  # whose work_dirs is empty
    cells = tmp_path / 'cells'

    def write(name, stage, result, **spec):
        content = dict(cell=name, spec=dict(stage=stage, **spec), result=result, seconds=1.0)
        write_json(cells / f'{name}.json', content)

    curve = course(0.1)
    went = dict(ends=adaptive.settling(*curve.values(), 0.1), course=adaptive.thin(curve))
    spec = dict(seed=0, criterion=dict(delta_p_target=0.1))
    write('trial_00', 'trials', dict(mAP=43.0, **went), row='the config', **spec)
    write('trial_01', 'trials', dict(mAP=44.0), row='fixed', **spec)
    write('target0.1_seed0', 'targets', dict(mAP=45.0, CF1=44.0, delta_p=-0.2, **went), **spec)
    for step in (0.0, 0.1):
        result = dict(mAP=1.0, **adaptive.settling(*course(0).values(), 0))
        write(f'step{step}', 'steps', result, step_size=step, batch_size=1024)
    page, images = tmp_path / 'adaptive.md', tmp_path / 'images'
    places = dict(cells=cells, results=tmp_path / 'results.jsonl', page=page, images=images)
    assert adaptive.main(['report', *(text for flag, path in places.items() for text in (f'--{flag}', str(path)))]) == 0
    text = page.read_text()
    # of the stored ladder, whose numbers may change
    assert re.search(r'\| 0 % missing, both \(ASL\) \(\d\) \| [\d.]+ ± [\d.]+ \|  \|', text)
    assert '| fixed | 44.0 |  |  |  |' in text
    assert '| 0.1, seed 0 | 45.0 | 44.0 | -0.20 | 5.00 ± 0.00 | 0.000 | 96 |' in text
    assert '| 0 (fixed) | 0.000 / 96 / 1.0 |' in text
    assert sorted(path.name for path in images.iterdir()) == ['adaptive_steps.png', 'adaptive_targets.png']
