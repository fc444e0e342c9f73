"""The evidence for adaptive asymmetry: its cells run, say what they promise, and become tables and figures."""

import argparse
import re

import adaptive
import adaptive_report as report

SMALL = {
    'train_dataloader.dataset.num_scenes': 32,
    'train_dataloader.batch_size': 4,
    'train_cfg.max_epochs': 1,
    'test_dataloader.dataset.num_scenes': 40,
    'val_dataloader.dataset.num_scenes': 40,
}


def make_small(monkeypatch):
    def train_and_test(config, overrides, **arguments):
        return original(config, {**overrides, **SMALL}, **arguments)

    original = adaptive.ladder.train_and_test
    monkeypatch.setattr(adaptive.ladder, 'train_and_test', train_and_test)


def arguments(seeds=1):
    return argparse.Namespace(seeds=seeds)


def test_every_stage_has_cells_of_its_own():
    stages = {stage: make(arguments(seeds=2)) for stage, make in adaptive.STAGES.items()}
    names = [name for cells in stages.values() for name in cells]
    assert len(set(names)) == len(names)
    assert {spec['split'] for spec in stages['trials'].values()} == {'val'}
    assert {spec['seed'] for spec in stages['trials'].values()} == {adaptive.ladder.TUNING_SEED}
    assert {spec['split'] for spec in (stages['targets'] | stages['tail']).values()} == {'test'}
    sizes = {spec['step_size'] for spec in stages['steps'].values()} - {0.0}
    assert max(sizes) >= 100 * min(sizes)


def test_a_cell_has_the_course_of_every_iteration(monkeypatch):
    make_small(monkeypatch)
    spec = adaptive.tail(arguments())['tail per class seed 0']
    result = adaptive.train_cell(spec)
    assert {len(values) for values in result['course'].values()} == {8}
    assert result['course']['gamma_neg_min'][-1] < 2 < result['course']['gamma_neg_max'][-1]
    assert sum(result['train_labels'].values()) > 2 * spec['scenes'] and 0 < len(result['AP']) <= 80


def test_a_fixed_loss_has_no_course(monkeypatch):
    make_small(monkeypatch)
    assert 'course' not in adaptive.train_cell(adaptive.trials(arguments())['trial fixed'])


def test_steps_on_frozen_features():
    spec = dict(step_size=0.1, batch_size=8, iterations=60, delta_p_target=0.0)
    result = adaptive.steps_cell(spec, dict(train=24, val=16))
    assert result['gamma_neg'] != 4 and 0 < result['error'] < 1 and 0 < result['mAP'] <= 100
    assert adaptive.steps_cell(dict(spec, step_size=0.0), dict(train=24, val=16))['gamma_neg'] == 4


def course(target, length=250):
    gaps = [target - 0.5] * 50 + [target] * (length - 50)
    return dict(gamma_neg=[4.0] * 50 + [5.0] * (length - 50), delta_p=gaps)


def write(report, folder, name, spec, result):
    report.write_json(folder / f'{name}.json', dict(spec=spec, result=result, seconds=1.0))


def test_report(tmp_path):
    cells, out = tmp_path / 'cells', tmp_path / 'docs'
    spec = dict(seed=0, criterion=dict(delta_p_target=0.1))
    write(report, cells, 'trial the config', spec, dict(mAP=43.0, course=course(0.1)))
    write(report, cells, 'trial fixed', spec, dict(mAP=44.0))
    write(report, cells, 'target 0.1 seed 0', spec, dict(mAP=45.0, CF1=44.0, delta_p=-0.2, course=course(0.1)))
    for step in (0.0, 0.1):
        size = dict(step_size=step, batch_size=1024)
        write(report, cells, f'step {step} batch 1024', size, dict(mAP=1.0, **report.settling(*course(0).values(), 0)))
    labels = dict(a=9, b=5, c=1)
    for seed, precision in ((0, 10.0), (1, 14.0)):
        result = dict(AP=dict(a=3 * precision, b=precision), train_labels=labels | dict(d=0, e=0, f=0))
        write(
            report, cells, f'tail global seed {seed}', dict(seed=seed), dict(result, AP=result['AP'] | dict(c=1, f=2))
        )
    out.mkdir()
    text = '\n'.join(
        marker.format(stage) for stage in ('trial', 'target', 'step', 'tail', 'fixed') for marker in report.MARKERS
    )
    (out / 'adaptive.md').write_text(text)
    report.write_report(adaptive.STUDY, cells, out)
    text = (out / 'adaptive.md').read_text()
    # of the stored ladder, whose numbers may change
    assert re.search(r'\| 0 % missing, both \(ASL\) \(\d\) \| [\d.]+ ± [\d.]+ \|  \|', text)
    assert '| fixed | 44.0 |  |  |  |' in text
    assert '| 0.1, seed 0 | 45.0 | 44.0 | -0.20 | 5.00 ± 0.00 | 0.000 | 96 |' in text
    assert '| 0 (fixed) | 0.000 / 96 / 1.0 |' in text
    assert '| global (2) | 12.8 ± 2.8 | 24.0 ± 5.7 | 1.0 ± 0.0 | 2.0 ± 0.0 |' in text
    for name in ('adaptive.json', 'targets.png', 'targets.svg', 'steps.png', 'steps.svg'):
        assert (out / 'adaptive' / name).stat().st_size > 0
