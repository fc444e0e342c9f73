"""Random problems of every kind: the public function of every loss gives the results of its reference."""

import hypothesis
import hypothesis.strategies as st
import torch

from mmasl.testing import assert_close
from tests.test_ops.families import DTYPES, QUALITY, SIGMOID, SOFTMAX, families, moved
from tests.test_ops.triton_device import DEVICE, gpu, quiet, use_triton

pytestmark = quiet

exponents = st.one_of(st.sampled_from([0, 0.3, 0.5, 1, 2, 3, 4, 6.2]), st.floats(0, 6))
margins = st.sampled_from([None, 1e-6, 0.05, 0.3, 0.5])
SETTINGS = {
    SIGMOID.name: dict(clip=margins, alpha=st.sampled_from([None, 0.0, 0.25, 1.0]), detach_focus=st.booleans()),
    SOFTMAX.name: dict(label_smoothing=st.sampled_from([0, 0.1, 1]), detach_focus=st.booleans()),
    QUALITY.name: dict(clip=margins, alpha=st.sampled_from([0, 0.75, 1, 2.0]), iou_weighted=st.booleans()),
}


@st.composite
def problems(draw, family, dtypes, most):
    """Logits, targets, weights and settings of all kinds, with memory layouts from a permuted and strided base."""
    rows, columns = draw(st.integers(0, most)), draw(st.integers(2 if family.by_row else 1, most))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    pred = draw(st.sampled_from([1.0, 5.0, 8.0])) * torch.randn(2 * rows, columns + 1)
    layout = draw(st.sampled_from(['contiguous', 'strided', 'transposed']))
    pred = pred[::2, 1:] if layout == 'strided' else pred[:rows, :columns].contiguous()
    pred = (pred.t().contiguous().t() if layout == 'transposed' else pred).to(draw(st.sampled_from(dtypes)))
    targets = {
        name: target
        for name, target in family.targets(rows, columns).items()
        if columns > 1 or isinstance(target, tuple) or target.dim() == 2  # class indices of one class are refused
    }
    target = targets[draw(st.sampled_from(list(targets)))]
    weights = [None, (rows,)] if family.by_row else [None, (rows,), (rows, columns), (rows * columns,)]
    weight = draw(st.sampled_from(weights))
    settings = dict(
        weight=None if weight is None else torch.rand(weight),
        gamma_pos=draw(exponents),
        gamma_neg=draw(exponents),
        reduction=draw(st.sampled_from(['none', 'mean', 'sum'])),
        class_weight=torch.rand(columns) if draw(st.booleans()) else None,
        **{name: draw(values) for name, values in SETTINGS[family.name].items()},
    )
    if settings['reduction'] == 'mean':
        settings['avg_factor'] = draw(st.sampled_from([None, 3, 0.5, torch.tensor(7.0)]))
    return pred, target, settings


def check_problem(family, problem, *backends):
    pred, target, settings = problem
    results = {}
    for backend in ('reference', *backends):
        device = DEVICE if backend == 'triton' else 'cpu'
        leaf = pred.detach().to(device).requires_grad_()
        there = {name: moved(value, device) for name, value in settings.items()}
        loss = family.function(leaf, moved(target, device), **there, backend=backend)
        upstream = torch.rand(loss.shape, generator=torch.Generator().manual_seed(1)).to(loss)
        results[backend] = loss.detach().cpu(), torch.autograd.grad(loss, leaf, upstream)[0].cpu()
    expected_loss, expected_gradient = results.pop('reference')
    for loss, gradient in results.values():
        assert loss.dtype == expected_loss.dtype and gradient.dtype == pred.dtype
        # Both start from what pred was rounded to.
        assert_close(loss, expected_loss.double(), torch.promote_types(pred.dtype, torch.float32), 'loss')
        assert_close(gradient, expected_gradient.double(), pred.dtype, 'gradient')


@families
@hypothesis.settings(max_examples=300, deadline=None, derandomize=True)
@hypothesis.given(data=st.data())
def test_any_problem_has_the_results_of_the_reference(family, data):
    check_problem(family, data.draw(problems(family, DTYPES, most=9)), 'plain', 'cpu')


@gpu
@families
@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(data=st.data())
def test_any_problem_has_the_results_of_the_reference_in_triton(family, data):
    use_triton()
    check_problem(family, data.draw(problems(family, DTYPES[1:], most=40)), 'triton')
