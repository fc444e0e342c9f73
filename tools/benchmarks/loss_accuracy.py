"""Print the largest error of each backend against Eq. 7 and Eq. 8 in arbitrary precision, for each dtype.

The cases are those of the tests (mmasl/testing.py): logits from -100 to 100 and six ulps to each side of the margin,
all exponents and margins, positives and negatives. Errors of float32 and float64 are relative to 1 + |exact|; those of
half precision are relative to |exact| where that is above 1e-3.

    python tools/benchmarks/loss_accuracy.py
"""

import sys
from functools import partial

import torch

from mmasl.functional.asymmetric_loss import make_asymmetry
from mmasl.ops.asymmetric_loss import OP
from mmasl.ops.cpu_library import LEVELS
from mmasl.testing import CLIP, GAMMA_NEG, GAMMA_POS, TOLERANCE, exact_asymmetric_loss, largest_error, logits


def backends() -> dict:
    """Return ``{name: function}``; each function has the arguments of the op's reference."""
    found = {'reference': OP.reference, 'plain': OP.plain}
    if OP.library.reason is None:
        for level in range(OP.library.level + 1):
            found[f'cpu, {LEVELS[level]}'] = partial(OP.cpu, level=level)
    return found


def errors(function, dtype: torch.dtype) -> tuple[float, float]:
    """Return the largest errors of the loss and of the gradient over all cases."""
    worst = [0.0, 0.0]
    cases = [(1.0, gamma, 0, 0) for gamma in GAMMA_POS]
    cases += [(0.0, 0, gamma, clip) for gamma in GAMMA_NEG for clip in CLIP]
    for label, *constants in cases:
        pred = logits(constants[2], dtype).unsqueeze(1).requires_grad_()
        target = torch.full(pred.shape, label)
        loss = function(pred, target, None, None, 1.0, make_asymmetry(*constants), False)
        (gradient,) = torch.autograd.grad(loss.sum(), pred)
        exact = exact_asymmetric_loss(pred.detach(), target, *constants)
        for i, actual in enumerate((loss.detach(), gradient)):
            worst[i] = max(worst[i], largest_error(actual, exact[i], dtype))
    return worst[0], worst[1]


def main() -> int:
    failed = False
    print('| backend | dtype | loss | gradient | allowed |\n|---|---|---|---|---|')
    for name, function in backends().items():
        for dtype, allowed in TOLERANCE.items():
            loss, gradient = errors(function, dtype)
            failed |= not max(loss, gradient) <= allowed
            print(f'| {name} | {str(dtype)[6:]} | {loss:.1e} | {gradient:.1e} | {allowed:g} |')
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
