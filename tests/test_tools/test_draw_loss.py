"""Fig. 2 and 3: what is drawn is the loss that is trained, and its gradient by autograd."""

import csv

import pytest
import torch

from mmasl import asymmetric_loss
from mmasl.analysis import TABLE_1, p_star
from tests.test_tools.tool_runs import Refusals, load_main

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
