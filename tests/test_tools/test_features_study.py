"""The study of losses on features: its cells run once, and become the tables and the map of the pages."""

import argparse
import functools
import inspect
import os
import subprocess

import feature_training
import features
import numpy as np
import pytest
import torch
from features_report import write_report
from grid import gather, run_grid

from mmasl.cli.cfg_options import apply_cfg_options
from mmasl.cli.run import read_config
from mmasl.datasets.features import INDEX
from mmasl.files import write_json
from tests.test_tools.tool_runs import TOOLS, load_main

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
    stages = {name: [str(spec) for spec in stage(2)] for name, stage in features.STAGES.items()}
    names = [name for cells in stages.values() for name in cells]
    assert len(set(names)) == len(names)
    assert {spec['split'] for spec in features.design(2)} == {'val'}


def test_cells_run_once_and_become_pages(folder, capsys):
    file, pages = folder / 'features.jsonl', folder / 'docs'
    specs = [spec for stage in (features.rows, features.paper) for spec in stage(1)]
    specs = small(spec for spec in specs if spec['data'] == 'voc' or len(spec['losses']) > 20)
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
    for page, parts in (('choose', ('rows', 'map', 'paper')), ('adaptive', ('length', 'design'))):
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
        cfg = read_config(call.config)
        apply_cfg_options(cfg, call.cfg_options)
        assert cfg.test_dataloader.dataset.pipeline[1].scale == 224
        assert cfg.train_dataloader.dataset.dataset.data_root == call.cfg_options['data_root']
        assert 'train_tune' in str(cfg.train_dataloader) and 'train_dev' in str(cfg.val_dataloader)
