"""Figures: the loss that is trained, its gradient by autograd, the JSON logs of trainings, and the transforms."""

import csv
import json

import pytest
import torch
from PIL import Image

from mmasl import asymmetric_loss
from mmasl.analysis import TABLE_1, p_star
from tests.test_tools.tool_runs import CLASSIFICATION, Refusals, load_main, write_config

FIGURE_2 = (dict(gamma_neg=0, clip=0), dict(gamma_neg=2, clip=0), dict(gamma_neg=2, clip=0.2))


def negative(p, constants):
    """Loss of negatives of probability p, and its gradient by the logit."""
    z = torch.logit(torch.as_tensor(p, dtype=torch.float64)).requires_grad_()
    loss = asymmetric_loss(z[:, None], torch.zeros(len(z), 1), reduction='none', backend='reference', **constants)[:, 0]
    return loss.detach(), torch.autograd.grad(loss.sum(), z)[0]


def read(path):
    head, *rows = csv.reader(path.read_text(encoding='utf-8').splitlines())
    return head, torch.tensor([[float(cell) for cell in row] for row in rows], dtype=torch.float64).T


def test_the_curves_agree_with_autograd(tmp_path, capsys):
    assert load_main('analysis_tools/draw_loss')(['--out', str(tmp_path)]) == 0
    head, (p, *losses) = read(tmp_path / 'fig2.csv')
    assert head == ['p', 'cross-entropy', 'focal loss, γ=2', 'shifted focal loss, γ₋=2, m=0.2']
    inside = slice(1, -1)  # logits of 0 and 1 are infinite
    for values, constants in zip(losses, FIGURE_2, strict=True):
        torch.testing.assert_close(values[inside], negative(p[inside], constants)[0])
    head, (p, *gradients) = read(tmp_path / 'fig3.csv')
    assert [name.split(':')[0] for name in head] == ['p', *TABLE_1]
    for values, constants in zip(gradients, TABLE_1.values(), strict=True):
        steepest = negative([p_star(**constants) or 1 - 1e-9], constants)[1]
        torch.testing.assert_close(values[inside] * steepest, negative(p[inside], constants)[1], rtol=1e-7, atol=1e-9)
        assert values.max() <= 1
    for name in ('fig2', 'fig3'):
        assert (tmp_path / f'{name}.png').stat().st_size > 1000
        assert '</svg>' in (tmp_path / f'{name}.svg').read_text()
    out = capsys.readouterr().out
    assert '| CE+PS: γ₋=0, m=0.2 | + | - | + | - | 0.7101 |' in out and '| CE: γ₋=0, m=0 | - | - | - | + | - |' in out


def test_other_curves(tmp_path):
    assert load_main('analysis_tools/draw_loss')(['--out', str(tmp_path), '--curves', '4,0.05', '0,0.7']) == 0
    assert read(tmp_path / 'fig3.csv')[0] == ['p', 'γ₋=4, m=0.05', 'γ₋=0, m=0.7']


@pytest.mark.parametrize('text', ['4', '4,x', '-1,0', '2,1'])
def test_a_curve_that_does_not_exist_is_refused(text, capsys):
    refuse = Refusals('analysis_tools/draw_loss', capsys)
    assert refuse(f'--curves={text}').startswith(f'--curves {text}: expected gamma_neg,clip such as 4,0.05: ')


def log(folder, entries, time='20250101_000000'):
    path = folder / time / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(map(json.dumps, entries)))
    return path


def entry(step, **values):
    return dict(dict(pt_pos=0.5, pt_neg=0.75, delta_p=-0.25, loss=1.0, step=step), **values)


@pytest.fixture
def main():
    return load_main('analysis_tools/draw_training')


def test_fig4(main, tmp_path):
    log(tmp_path / 'ce', [entry(10), {'multi-label/mAP': 3.0, 'step': 1}, entry(20)])
    log(tmp_path / 'ce', [entry(20, pt_pos=0.6), entry(30)], time='20250102_000000')  # resumed from iteration 10
    asl = log(tmp_path / 'asl', [entry(10)])
    asl.write_text(asl.read_text() + '\n{"pt_pos": 0.')  # it is still being written
    out = tmp_path / 'out'
    assert main(['fig4', str(tmp_path / 'ce'), str(asl), '--labels', 'CE', 'ASL', '--out', str(out)]) == 0
    head, *rows = csv.reader((out / 'fig4.csv').read_text().splitlines())
    assert head == ['training', 'iteration', 'pt_pos', 'pt_neg', 'delta_p']
    assert [row[:3] for row in rows] == [
        ['CE', '10', '0.5'],
        ['CE', '20', '0.6'],
        ['CE', '30', '0.5'],
        ['ASL', '10', '0.5'],
    ]
    assert (out / 'fig4.png').stat().st_size > 1000 and '</svg>' in (out / 'fig4.svg').read_text()


def test_fig9(main, tmp_path):
    log(tmp_path / 'target0.1', [entry(step, gamma_neg=step / 10) for step in (10, 20, 30)])
    assert main(['fig9', str(tmp_path / 'target0.1'), '--out', str(tmp_path), '--smooth', '2']) == 0
    rows = (tmp_path / 'fig9.csv').read_text().splitlines()
    assert rows[:2] == ['training,iteration,gamma_neg,delta_p', 'target0.1,10,1.0,-0.25']


def test_refusals(tmp_path, capsys):
    refuse = Refusals('analysis_tools/draw_training', capsys)
    assert refuse('fig4', str(tmp_path)) == (
        f'{tmp_path}: expected a work directory with a JSON log (<time>/vis_data/scalars.json)'
    )
    path = log(tmp_path / 'plain', [dict(loss=1.0, step=10)])
    assert refuse('fig9', str(path)) == (
        f'{path}: the log has no gamma_neg, delta_p; train with --cfg-options '
        'default_hooks.gap.type=mmasl.AsymmetryHook'
    )
    assert refuse('fig4', str(path), str(path)) == (
        '--labels: expected 2 different names, got scalars.json, scalars.json'
    )
    assert '--smooth: expected an integer above 0, got 0' in refuse('fig4', str(path), '--smooth', '0', status=2)


def test_from_training_to_figure(main, tmp_path, monkeypatch):
    """The commands of docs/analysis.md."""
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, CLASSIFICATION)
    flags = ['default_hooks.gap.type=mmasl.ProbabilityGapHook', 'train_cfg.max_epochs=2']
    assert load_main('train')([config, '--work-dir', 'asl', '--no-validate', '--cfg-options', *flags]) == 0
    assert main(['fig4', 'asl', '--out', 'out']) == 0
    rows = (tmp_path / 'out' / 'fig4.csv').read_text().splitlines()
    assert [row.split(',')[:2] for row in rows[1:]] == [['asl', '2'], ['asl', '4']]  # two iterations an epoch


def test_the_sheet(tmp_path, capsys):
    out = tmp_path / 'deep' / 'sheet.png'
    load_main('misc/draw_transforms')([str(out), '--tile', '40'])
    assert f'{out}: 5 rows' in capsys.readouterr().out
    assert Image.open(out).size == (8 * 40, 5 * 60)
