"""Classifiers on features train side by side as alone, and the cells of their study become the pages."""

import argparse
import collections
import functools
import inspect
import os
import subprocess

import feature_training
import features
import numpy as np
import pytest
import torch
from feature_runs import regime
from feature_training import drop_positives, measure, train
from features_report import write_report
from grid import gather, run_grid

from mmasl.cli.run import read_config
from mmasl.datasets.features import INDEX
from mmasl.errors import UserError
from mmasl.files import write_json
from mmasl.models.classifiers import FeatureClassifier
from tests.test_tools.tool_runs import TOOLS, load_main

FIXED = dict(type='mmasl.AsymmetricLoss', gamma_pos=1.0, gamma_neg=2.0, clip=0.1)
ADAPTIVE = dict(type='mmasl.AdaptiveAsymmetricLoss', gamma_neg=2.0, clip=0.05, delta_p_target=0.2, step_size=0.1)
SPEC = dict(seed=3, hidden=[], dropout=0.0, weight_decay=0.1, batch_size=16, epochs=3, ema=None)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 6, generator=generator)
    return x, (x @ torch.randn(6, 4, generator=generator) > 1).float()


def train_alone(x, y, loss, rate):
    torch.manual_seed(SPEC['seed'])
    model = FeatureClassifier(loss, None, 6, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=SPEC['weight_decay'])
    total = SPEC['epochs'] * (len(y) // 16)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total, pct_start=0.25)
    for step in range(total):
        if step % 6 == 0:
            order = torch.randperm(len(y))
        rows = order[step % 6 * 16 :][:16]
        optimizer.zero_grad()
        model(x[rows], y[rows], mode='loss')['loss'].backward()
        optimizer.step()
        cycle.step()
    return model.eval()


def test_the_same_as_alone(data):
    x, y = data
    runs = [(FIXED, 1e-2), (ADAPTIVE, 3e-2), (FIXED, 3e-2), (ADAPTIVE, 1e-2)]
    model, course = train(x, y, runs, SPEC)
    for scores, gamma_neg, (loss, rate) in zip(model.scores(x), course['gamma_neg'], runs, strict=True):
        alone = train_alone(x, y, loss, rate)
        torch.testing.assert_close(scores, alone(x).detach().sigmoid(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(gamma_neg[-1], float(alone.loss_module.gamma_neg), atol=1e-4, rtol=0)


def test_hidden_layers_dropout_views_and_average(data):
    x, y = data
    spec = dict(SPEC, hidden=[16, 8], dropout=0.5, epochs=20)
    runs = [(FIXED, 1e-2), (ADAPTIVE, 1e-2)]
    first, again, averaged = (train(x.expand(2, -1, -1), y, runs, dict(spec, ema=ema))[0] for ema in (None, None, 0.9))
    assert torch.equal(first.scores(x), again.scores(x))
    assert not torch.equal(first.scores(x), averaged.scores(x))
    for model in (first, averaged):
        assert min(measure(scores, y)['mAP'] for scores in model.scores(x)) > 60


def test_positives_are_dropped_by_the_seed(data):
    _, y = data
    y[0] = -1
    once, again, other = (drop_positives(y, 0.4, seed) for seed in (0, 0, 1))
    assert torch.equal(once, again) and not torch.equal(once, other)
    assert torch.equal(once[y != 1], y[y != 1])
    assert 0.45 < (once == 1).sum() / (y == 1).sum() < 0.75


def test_settings_that_only_the_study_has(data):
    x, y = data
    losses = [ADAPTIVE, dict(ADAPTIVE, warm_up=0.5), dict(ADAPTIVE, adapt='both'), dict(ADAPTIVE, adapt='clip')]
    losses += [dict(ADAPTIVE, statistic=name) for name in ('median', 'held-out')]
    losses.append(dict(FIXED, gamma_pos=0.0, gamma_neg=2.0, clip=0.05))
    model, course = train(x, y, [(loss, 1e-2) for loss in losses], SPEC, held=(x, y))
    usual, late, _, margin, median, held_out, _ = course['gamma_neg']
    half = len(late) // 2
    assert late[:half] == [2.0] * half and usual[half - 1] != 2.0 and late[-1] != 2.0
    assert len({usual[-1], late[-1], median[-1], held_out[-1]}) == 4
    scores = model.scores(x)
    assert margin == [2.0] * len(margin) and not torch.equal(scores[3], scores[-1])
    assert not torch.equal(scores[2], scores[0])


parse_args = inspect.unwrap(load_main('misc/extract_features')).__globals__['parse_args']

SMALL = dict(steps=8, batch_size=16)


@pytest.fixture
def folder(tmp_path):
    rng, weights = np.random.default_rng(0), np.random.default_rng(1).normal(size=(6, 4))
    for name in ('voc', 'coco'):
        (tmp_path / name).mkdir()
        for split, count in (('train', 60), ('val', 30), ('test', 30)):
            x = rng.normal(size=(count, 6)).astype(np.float32)
            np.save(tmp_path / name / f'{split}_x.npy', x)
            np.save(tmp_path / name / f'{split}_y.npy', (x @ weights > 1).astype(np.int8))
        shards = {split: [split] for split in ('train', 'val', 'test')}
        write_json(tmp_path / name / INDEX, dict(classes=list('abcd'), shards=shards))
    return tmp_path


def small(specs):
    return [{**spec, **SMALL, 'hidden': [4] if spec['hidden'] else []} for spec in specs]


def test_every_stage_has_cells_of_its_own_and_design_never_sees_the_test_split():
    stages = [features.tune(2), features.regimes(2, measured_rates(1e-3)), features.paper(2), features.design(2)]
    names = [features.cell_name(spec) for stage in stages for spec in stage]
    assert len(set(names)) == len(names)
    assert {spec['split'] for stage in (features.tune(2), features.design(2)) for spec in stage} == {'val'}


def measured_rates(best):
    """Return runs of all regimes in which the rate ``best`` is."""
    runs = collections.defaultdict(lambda: collections.defaultdict(dict))
    for spec in features.tune(1):
        levels = {rate: {0: dict(mAP=-abs(rate - best), mAP_seen=-abs(rate - best))} for rate in spec['rates']}
        runs[regime(spec)]['val'] = dict.fromkeys(spec['losses'], levels)
    return runs


def test_the_map_takes_the_rate_that_is_best_on_the_validation_split():
    for best in (1e-3, 3e-3):
        specs = list(features.regimes(2, measured_rates(best)))
        assert len(specs) == 2 * len(list(features.tune(1)))
        assert all(set(spec['rates'].values()) == {best} and spec['split'] == 'test' for spec in specs)
    with pytest.raises(UserError, match='expected the cells of the stage tune'):
        list(features.regimes(1, {}))


def test_cells_run_once_and_become_pages(folder, capsys, monkeypatch):
    file, pages = folder / 'features.jsonl', folder / 'docs'
    monkeypatch.setattr(features, 'REGIMES', {'voc': [{}, features.HIDDEN]})
    specs = small([*features.tune(1), *features.regimes(1, measured_rates(1e-3)), *features.paper(1)])
    lengths = [{**spec, 'batch_size': 16} for spec in features.design(1) if spec.get('steps') == 500]
    specs += [{**spec, 'steps': 8} for spec in lengths]
    settings = [spec for spec in features.design(1) if 'by medians' in spec['losses'] and spec['data'] == 'voc']
    specs += small(settings[:2])
    cells = {features.cell_name(spec): spec for spec in specs}
    assert len(cells) == len(specs)
    args = argparse.Namespace(cells=folder / 'cells', results=file, workers=1)
    for _ in range(2):
        assert run_grid(cells, args, functools.partial(features.run_cell, folder), features.describe) == 0
    assert f'{len(specs)} cells, {len(specs)} of them finished before' in capsys.readouterr().out
    cells = gather(folder / 'cells', file)
    assert len(cells) == len(specs)
    run = cells[0]['result']['runs'][0]
    assert 0 < run['mAP'] <= 100 and 0 < run['train']['pt_pos'] < 1 and len(run['course']['gamma_neg']) == 8

    pages.mkdir()
    for page, parts in (
        ('choose', ('rows', 'map', 'correlations', 'seen', 'paper')),
        ('adaptive', ('length', 'design')),
    ):
        marks = [f'<!-- {part}: {{}} -->' for part in parts]
        begin, end = 'begin (written by tools/studies/features.py report)', 'end'
        (pages / f'{page}.md').write_text(''.join(f'{m.format(begin)}\n{m.format(end)}\n' for m in marks))
    write_report(cells, pages)
    text = (pages / 'choose.md').read_text()
    assert '| VOC, 40 %, linear, dropout 0.2 (1) |' in text and '| target 0.3 |' in text
    text = (pages / 'adaptive.md').read_text()
    assert '| VOC, 40 %, 8 steps of 16 (1) |' in text and '\n| by held-out images | +' in text.replace('| -', '| +')
    assert (pages / 'choose' / 'map.svg').stat().st_size > 1000


def test_a_part_of_the_images_and_missing_labels(folder):
    spec = features.make_spec('voc', features.some('CE'), [1e-2], 0, images=20, missing=0.5, split='val', **SMALL)
    run = features.run_cell(folder, spec)['runs'][0]
    assert run['mAP_seen'] != run['mAP']
    assert torch.equal(torch.tensor(run['groups']).isnan(), torch.zeros(3).bool())


def test_a_part_of_the_classes(folder, monkeypatch):
    labels = []
    monkeypatch.setattr(features, 'train', lambda x, y, *more: labels.append(y) or feature_training.train(x, y, *more))
    for classes in ('rarest 3', 'commonest 1'):
        spec = features.make_spec('coco', features.some('CE'), [1e-2], 0, classes=classes, **SMALL)
        assert features.run_cell(folder, spec)['runs'][0]['mAP'] > 0
    y = features.arrays(folder, 'coco', 'test', 1)[1]
    order = y.sum(0).argsort()
    assert torch.equal(labels[0], y[:, order[:3]]) and torch.equal(labels[1], y[:, order[3:]])


def test_the_script_that_writes_the_features_fits_the_configs(tmp_path):
    recorder = tmp_path / 'python'
    recorder.write_text('#!/bin/sh\nshift\nprintf "%s\\t" "$@" >> calls\necho >> calls\n')
    recorder.chmod(0o755)
    env = dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}')
    script = TOOLS / 'studies' / 'photo_features.sh'
    subprocess.run(['bash', script, 'data/voc', 'data/coco', 'out'], cwd=tmp_path, env=env, check=True)
    calls = [parse_args(line.split('\t')[:-1]) for line in (tmp_path / 'calls').read_text().splitlines()]
    assert [(call.out, call.flip) for call in calls] == [
        (f'out/{name}{"_flip" * flip}', flip) for name in ('voc', 'coco') for flip in (False, True)
    ]
    for call in calls:
        cfg = read_config(call.config, call.cfg_options)
        assert cfg.test_dataloader.dataset.pipeline[1].scale == 224
        assert cfg.train_dataloader.dataset.dataset.data_root == call.cfg_options['data_root']
        assert 'train_tune' in str(cfg.train_dataloader) and 'train_dev' in str(cfg.val_dataloader)
