"""The families of losses, their backends, and what a contract for all of them needs to know of each."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mmasl import asymmetric_loss, asymmetric_quality_loss, softmax_asymmetric_loss
from mmasl.ops import Op
from mmasl.ops.asymmetric_loss import OP as SIGMOID_OP
from mmasl.ops.asymmetric_loss import Asymmetry
from mmasl.ops.asymmetric_quality_loss import OP as QUALITY_OP
from mmasl.ops.asymmetric_quality_loss import QualityAsymmetry
from mmasl.ops.cpu_library import LEVELS
from mmasl.ops.softmax_asymmetric_loss import OP as SOFTMAX_OP
from mmasl.ops.softmax_asymmetric_loss import SoftmaxAsymmetry
from mmasl.testing import exact_asymmetric_loss, exact_asymmetric_quality_loss, exact_softmax_asymmetric_loss
from mmasl.testing import logits as testing_logits
from tests.test_ops.triton_device import DEVICE, gpu, use_triton

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
dtypes = pytest.mark.parametrize('dtype', DTYPES, ids=str)


class Family(NamedTuple):
    """One loss.

    Attributes:
        function: The public function.
        asymmetry: Constants with which every term of the equation counts.
        with_exponents: ``(gamma)``: constants with these exponents, for logits far out.
        targets: ``(rows, classes)``: random targets of every form and dtype, by name. Those whose name says so hold no
            ignored label.
        dense: ``(target, classes)``: the dense form of a target.
        exact: ``(pred, dense target, asymmetry)``: loss and gradient by the oracle.
        levels: Names of the CPU backend, one for each instruction set that is tested.
        by_row: Whether there is one loss for each row, and weights for rows only.
    """

    name: str
    function: Callable
    op: Op
    asymmetry: Any
    with_exponents: Callable[[float], list]
    targets: Callable[[int, int], dict[str, Any]]
    dense: Callable[[Any, int], Tensor]
    exact: Callable[[Tensor, Tensor, Any], tuple[Tensor, Tensor]]
    levels: tuple[str, ...] = LEVELS
    by_row: bool = False

    def loss_shape(self, pred: Tensor) -> torch.Size:
        return pred.shape[:1] if self.by_row else pred.shape


def sigmoid_targets(rows: int, classes: int) -> dict[str, Tensor]:
    index = torch.randint(-1, classes + 1, (rows,))
    soft = torch.rand(rows, classes)
    hard = (soft < 0.3).long()
    return {
        'index': index,
        'short index': index.short(),
        'int': torch.where(soft > 0.9, -1, hard),
        'float': torch.where(soft > 0.9, -1.0, soft),
        'bool, none ignored': hard.bool(),
        'half, none ignored': hard.half(),
    }


def dense_of_index(index: Tensor, classes: int) -> Tensor:
    """0 and 1, and -1 in ignored rows; a class index outside [0, C) is background or ignored."""
    hot = (index.unsqueeze(1) == torch.arange(classes)).long()
    return hot.masked_fill((index == -1).unsqueeze(1), -1)


def sigmoid_dense(target: Tensor, classes: int) -> Tensor:
    return dense_of_index(target, classes) if target.dim() == 1 else target


def softmax_targets(rows: int, classes: int) -> dict[str, Tensor]:
    index = torch.randint(-1, classes, (rows,))
    scores = torch.randn(rows, classes).softmax(1)
    return {
        'index': index,
        'short index': index.short(),
        'one-hot': dense_of_index(index, classes),
        'float': scores.masked_fill((index == -1).unsqueeze(1), -1),
        'byte, none ignored': F.one_hot(index.clamp(min=0), classes).byte(),
        'double, none ignored': scores.double(),
    }


def quality_targets(rows: int, classes: int) -> dict[str, Any]:
    """A third of the rows is foreground or ignored, and one foreground row has no quality at all."""
    labels = torch.where(torch.rand(rows) < 0.3, torch.randint(-1, classes, (rows,)), classes)
    scores = torch.rand(rows) * (labels < classes)
    scores[:1] = 0
    scored = labels, scores
    return {
        'labels and scores': scored,
        'labels and half scores': (labels, scores.half()),
        'dense': quality_dense(scored, classes),
        'dense, none ignored': quality_dense((labels.clamp(min=0), scores), classes),
    }


def quality_dense(target: Tensor | tuple[Tensor, Tensor], classes: int) -> Tensor:
    if torch.is_tensor(target):
        return target
    labels, scores = target
    hot = dense_of_index(labels, classes)
    return torch.where(hot == 1, scores.float().unsqueeze(1), hot.float())


SIGMOID = Family(
    'sigmoid',
    asymmetric_loss,
    SIGMOID_OP,
    Asymmetry(1, 4, 0.05, 0.3),
    lambda gamma: [Asymmetry(gamma, gamma, clip) for clip in (0, 1e-30, 1e-6, 0.05, 0.999)],
    sigmoid_targets,
    sigmoid_dense,
    lambda pred, target, asymmetry: exact_asymmetric_loss(pred, target, *asymmetry),
)
SOFTMAX = Family(
    'softmax',
    softmax_asymmetric_loss,
    SOFTMAX_OP,
    SoftmaxAsymmetry(1, 4, 0.1),
    lambda gamma: [SoftmaxAsymmetry(gamma, gamma, label_smoothing) for label_smoothing in (0, 0.1)],
    softmax_targets,
    sigmoid_dense,
    lambda pred, target, asymmetry: exact_softmax_asymmetric_loss(
        pred, target, *asymmetry[:3], detach_focus=asymmetry.detach_focus
    ),
    by_row=True,
)
QUALITY = Family(
    'quality',
    asymmetric_quality_loss,
    QUALITY_OP,
    QualityAsymmetry(1.5, 2, 0.05, 0.75, iou_weighted=True),
    lambda gamma: [QualityAsymmetry(gamma, gamma, clip) for clip in (0, 0.05)],
    quality_targets,
    quality_dense,
    lambda pred, target, asymmetry: exact_asymmetric_quality_loss(pred, target, *asymmetry),
    levels=('cpu',),
)
FAMILIES = (SIGMOID, SOFTMAX, QUALITY)
families = pytest.mark.parametrize('family', FAMILIES, ids=lambda family: family.name)
reductions = pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])


def moved(value: Any, device: torch.device | str) -> Any:
    """A tensor, or a tuple of what may be tensors, on ``device``."""
    if isinstance(value, tuple):
        parts = [moved(part, device) for part in value]
        return type(value)(*parts) if hasattr(value, '_fields') else tuple(parts)
    return value.to(device) if torch.is_tensor(value) else value


class Backend(NamedTuple):
    """A backend of a family. Called as an op is; Triton's kernels run on a GPU where there is one."""

    family: Family
    name: str

    @property
    def is_compiled(self) -> bool:
        return self.name in (*LEVELS, 'cpu')

    @property
    def is_slow(self) -> bool:
        """Whether an interpreter runs it."""
        return self.name == 'triton' and DEVICE == 'cpu'

    @property
    def device(self) -> str:
        return DEVICE if self.name == 'triton' else 'cpu'

    def __call__(self, pred, target, weight=None, class_weight=None, scale=1.0, asymmetry=None, reduce=True, **options):
        op = self.family.op
        function = partial(op.cpu, level=LEVELS.index(self.name)) if self.name in LEVELS else getattr(op, self.name)
        if self.name == 'triton' and pred.dtype == torch.float64:
            pytest.skip('the kernels do not compute in float64')
        asymmetry = self.family.asymmetry if asymmetry is None else asymmetry
        constants = moved((target, weight, class_weight, scale, asymmetry), self.device)
        return function(pred.to(self.device), *constants, reduce, **options).to(pred.device)


def backends_of(*families: Family, but: tuple[str, ...] = ()):
    """A fixture: each backend of the families; the compiled one for each instruction set."""

    def get(request):
        family, name = request.param
        library = family.op.library
        if name == 'triton':
            use_triton()
        elif name in (*LEVELS, 'cpu') and library.reason:
            pytest.skip(library.reason)
        elif name in LEVELS and LEVELS.index(name) > library.level:
            pytest.skip(f'this processor has no {name}')
        return Backend(family, name)

    params = [
        pytest.param((family, name), id=f'{family.name}-{name}', marks=[gpu] if name == 'triton' else [])
        for family in families
        for name in ('reference', 'plain', *family.levels, 'triton')
        if name not in but
    ]
    return pytest.fixture(params=params)(get)


def loss_and_gradient(run, pred, target, asymmetry=None, weight=None, class_weight=None, scale=1.0, upstream=None):
    """The loss that is not reduced and its gradient; the reduced one where no ``upstream`` is given."""
    pred = pred.detach().requires_grad_()
    loss = run(pred, target, weight, class_weight, scale, asymmetry, upstream is None)
    (gradient,) = torch.autograd.grad(loss, pred, upstream)
    return loss.detach(), gradient


def agree(ours, theirs, logits, rtol=1e-5, atol=1e-6):
    """Equal values, and equal gradients under one random upstream gradient."""
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)
    upstream = torch.rand_like(ours)
    gradients = [torch.autograd.grad(loss, logits, upstream, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=rtol, atol=atol)


def far_logits(dtype: torch.dtype) -> Tensor:
    """0, and numbers of both signs from the smallest normal one to the largest finite one."""
    info = torch.finfo(dtype)
    values = torch.tensor([0, info.tiny, 17, 88.8, 103.9, 745.2, 1e4, 65504, info.max], dtype=torch.float64)
    return torch.cat([values, -values]).clamp(-info.max, info.max).to(dtype)


def extremes(family: Family, dtype: torch.dtype, clip: float) -> list[tuple[Tensor, Any]]:
    """Logits far out and next to the margin, with targets."""
    far = far_logits(dtype)
    if family.by_row:
        pred = torch.cartesian_prod(far, far, far[:4])
        return [(pred, torch.zeros(len(pred), dtype=torch.long)), (pred, torch.full(pred.shape, 1 / 3))]
    pred = torch.cat([far, testing_logits(clip, torch.float32).to(dtype)]).unsqueeze(1).repeat(1, 4)
    return [(pred, torch.tensor(labels).expand_as(pred)) for labels in ([0.0, 0.5, 1e-30, 1.0], [0.0, 1.0, -1.0, 1.0])]
