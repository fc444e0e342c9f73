"""Table 1 against the paper's print, and the definitions of its columns on values of the curves."""

import pytest

from mmasl import analysis

GAMMA = (0, 0.3, 1, 2, 4, 6.2)
CLIP = (0, 1e-6, 0.05, 0.2, 0.7)

# Hard threshold, soft threshold, discard mislabelled, continuous gradients, as printed.
PRINTED = {'CE': '- - - +', 'AF': '- + - +', 'CE+PS': '+ - + -', 'ASL': '+ + + +'}


@pytest.mark.parametrize('name', PRINTED)
def test_table_1_comes_out_as_printed(name):
    row = analysis.gradient_properties(**analysis.TABLE_1[name])
    assert ' '.join('-+'[value] for value in row) == PRINTED[name]


@pytest.mark.parametrize(
    'gamma, clip, row',
    [
        (4, 0.05, '++++'),
        (4, 1e-30, '++++'),
        (50, 0, '-+-+'),  # no hard threshold, though the gradient underflows
        (0.3, 0, '-+-+'),
        (1, 0.05, '+-++'),  # not soft: a straight line from the margin
        (0.3, 0.05, '+-++'),
        (1.01, 0.05, '++++'),
        (0, 0.7, '+-+-'),
    ],
)
def test_properties_beyond_the_table(gamma, clip, row):
    assert ''.join('-+'[value] for value in analysis.gradient_properties(gamma, clip)) == row


def test_an_interior_maximum_does_not_decide_the_third_column():
    """Asymmetric focusing has a p* and does not discard; strongly shifted cross-entropy discards without one."""
    assert analysis.p_star(2, 0) is not None and not analysis.gradient_properties(2, 0).discards_mislabelled
    assert analysis.p_star(0, 0.7) is None and analysis.gradient_properties(0, 0.7).discards_mislabelled


@pytest.mark.parametrize('clip', CLIP)
@pytest.mark.parametrize('gamma', GAMMA)
def test_properties_agree_with_the_curves(gamma, clip):
    """Their definitions again, on values of the gradient near the limits."""
    row = analysis.gradient_properties(gamma, clip)
    assert row.hard_threshold == (clip > 0)
    near = clip + 1e-10 * (clip or 1)
    value = analysis.negative_gradient(near, gamma, clip).item()
    assert row.continuous == (clip == 0 or value < 0.1 * clip)
    assert row.discards_mislabelled == (analysis.negative_gradient(1 - 1e-15, gamma, clip).item() < 1e-3)
    ratios = [analysis.negative_gradient(clip + d, gamma, clip).item() / d for d in (1e-9, 1e-8)]
    assert row.soft_threshold == (ratios[0] < 0.9 * ratios[1])


@pytest.mark.parametrize(
    'arguments, text', [(dict(clip=-0.1), 'clip: .* got -0.1'), (dict(gamma_neg=-1), 'gamma_neg: .* got -1')]
)
def test_bad_input(arguments, text):
    with pytest.raises(ValueError, match=text):
        analysis.gradient_properties(**arguments)
