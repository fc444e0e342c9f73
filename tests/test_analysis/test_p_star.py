"""p* against mpmath's root of its own derivatives, and against the curves."""

import math

import mpmath
import pytest
import torch

from mmasl import analysis

GAMMA = (0, 0.3, 1, 2, 4, 6.2)
CLIP = (0, 1e-6, 0.05, 0.2, 0.7)
GRID = torch.linspace(0, 1, 20_001, dtype=torch.float64)


def test_what_is_known_of_focal_loss():
    """gamma_neg = 2 without a margin: a maximum of 1.129 at p = 0.942, and 1 at p = 1 (FACTS of the paper)."""
    assert analysis.p_star(2, 0) == pytest.approx(0.942, abs=5e-4)
    assert analysis.largest_gradient(2, 0) == pytest.approx(1.129, abs=5e-4)
    assert analysis.negative_gradient(1, 2, 0) == 1


def exact_p_star(gamma, clip):
    """The zero of the derivative that mpmath takes of Eq. 6, near the maximum on a grid."""
    start = GRID[analysis.negative_gradient(GRID, gamma, clip).argmax()].item()
    with mpmath.workdps(40):
        margin = mpmath.mpf(clip)

        def gradient(p):
            return mpmath.diff(lambda x: -((x - margin) ** gamma) * mpmath.log(1 - x + margin), p) * p * (1 - p)

        return float(mpmath.findroot(lambda p: mpmath.diff(gradient, p), (start, start + 1e-6), tol=1e-20))


@pytest.mark.parametrize('clip', CLIP)
@pytest.mark.parametrize('gamma', GAMMA)
def test_p_star_is_mpmaths_root(gamma, clip):
    actual = analysis.p_star(gamma, clip)
    if gamma == 0 and clip in (0, 0.7):
        assert actual is None
    else:
        assert actual == pytest.approx(exact_p_star(gamma, clip), abs=1e-13)


def test_p_star_has_a_closed_form_without_focusing():
    for clip in (1e-6, 0.05, 0.2, 0.3, 0.6):
        assert analysis.p_star(0, clip) == pytest.approx(analysis.p_star_without_focusing(clip), abs=1e-15)
    for clip in (0, 0.62, 0.9):
        assert analysis.p_star(0, clip) is None and analysis.p_star_without_focusing(clip) is None


@pytest.mark.parametrize('gamma', [0, 1e-3, 0.02, 0.3, 1, 4, 50])
@pytest.mark.parametrize('clip', [0, 1e-30, 1e-6, 0.05, 0.3, 0.618, 0.7, 0.999])
def test_the_gradient_rises_to_p_star_and_falls_from_there(gamma, clip):
    p = torch.cat([GRID, clip + (1 - clip) * GRID])
    gradient = analysis.negative_gradient(p, gamma, clip)
    peak, largest = analysis.p_star(gamma, clip), analysis.largest_gradient(gamma, clip)
    assert largest * (1 + 1e-12) >= gradient.max() >= 0.99 * largest
    if peak is not None:
        assert clip < peak <= 1
        order = p.argsort()
        steps = gradient[order].diff()
        before = p[order][1:] <= peak
        assert (steps[before] >= -1e-15).all() and (steps[~before][1:] <= 1e-15).all()


def test_where_p_star_leaves_the_floats():
    assert analysis.p_star(1e-3, 0) == 1
    assert 1 - analysis.p_star(0.05, 0) == pytest.approx(math.exp(-2 - 1 / 0.05), rel=1e-3)


@pytest.mark.parametrize(
    'call, text',
    [
        (lambda: analysis.p_star(clip=1), r'clip: expected a real number in \[0, 1\), got 1'),
        (lambda: analysis.p_star(-1), 'gamma_neg: .* got -1'),
        (lambda: analysis.p_star_without_focusing(2), 'clip: .* got 2'),
    ],
)
def test_bad_input(call, text):
    with pytest.raises(ValueError, match=text):
        call()
