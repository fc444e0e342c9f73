"""The losses in torch.func, forward mode, batched gradients and the tracers, and in a compiled model."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

import mmasl
from mmasl.models.losses import AdaptiveAsymmetricLoss, AsymmetricLoss, AsymmetricQualityLoss, SoftmaxAsymmetricLoss

DENSE, INDEX = torch.tensor([[1, 0, -1], [0, 0, 1]] * 2), torch.tensor([0, 2, 1, -1])
SCORES, SOFT = torch.tensor([[0.7, 0, -1], [0, 0, 1]] * 2), torch.tensor([[0.7, 0.3, 0], [-1, -1, -1]] * 2)
LOSSES = {
    'dense': (AsymmetricLoss(gamma_pos=1), DENSE),
    'index': (AsymmetricLoss(), INDEX),
    'no clip': (AsymmetricLoss(clip=0, alpha=0.25), DENSE),
    'quality': (AsymmetricQualityLoss(), SCORES),
    'softmax index': (SoftmaxAsymmetricLoss(gamma_pos=1), INDEX),
    'softmax dense': (SoftmaxAsymmetricLoss(), SOFT),
    'adaptive': (AdaptiveAsymmetricLoss(adapt='both').eval(), DENSE),
}
losses = pytest.mark.parametrize('loss, target', LOSSES.values(), ids=LOSSES)
close = torch.testing.assert_close

# torch.jit.trace warns of itself and of each comparison of shapes.
pytestmark = pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning', 'ignore::DeprecationWarning')


@pytest.fixture
def pred():
    torch.manual_seed(0)
    return 2 * torch.randn(4, 3)


def gradient(loss, pred, target, upstream=None, **options):
    """By the CPU's backend, outside of every transform."""
    pred = pred.clone().requires_grad_()
    return torch.autograd.grad(loss(pred, target, **options), pred, upstream)[0]


def one_row(loss, **options):
    return lambda pred, target: loss(pred.unsqueeze(0), target.unsqueeze(0), **options)


@losses
def test_grad(loss, target, pred):
    close(grad(loss)(pred, target), gradient(loss, pred, target))


@losses
def test_vmap_and_gradients_of_each_sample(loss, target, pred):
    rows = list(zip(pred, target, strict=True))
    close(vmap(one_row(loss))(pred, target), torch.stack([one_row(loss)(*row) for row in rows]))
    ours = vmap(grad(one_row(loss)))(pred, target)
    close(ours, torch.stack([gradient(one_row(loss), *row) for row in rows]))
    factors = torch.tensor([1.0, 2.0])
    close(
        vmap(lambda factor: loss(pred, target, avg_factor=factor))(factors), loss(pred, target, avg_factor=1) / factors
    )


def test_gradients_of_each_sample_for_the_parameters_of_a_model():
    torch.manual_seed(0)
    model, loss = nn.Linear(5, 3), AsymmetricLoss()
    features, weights = torch.randn(4, 5), dict(model.named_parameters())

    def loss_of(weights, x, y):
        return loss(functional_call(model, weights, (x.unsqueeze(0),)), y.unsqueeze(0))

    ours = vmap(grad(loss_of), in_dims=(None, 0, 0))(weights, features, DENSE)
    for i in range(4):
        theirs = torch.autograd.grad(loss(model(features[i : i + 1]), DENSE[i : i + 1]), weights.values())
        close([value[i] for value in ours.values()], list(theirs))


@losses
def test_derivatives_along_a_direction(loss, target, pred):
    direction = torch.rand_like(pred)
    along = (gradient(loss, pred, target) * direction).sum()
    value, tangent = jvp(lambda z: loss(z, target), (pred,), (direction,))
    close(value, loss(pred, target))
    close(tangent, along)
    with forward_ad.dual_level():
        dual = loss(forward_ad.make_dual(pred, direction), target)
        close(forward_ad.unpack_dual(dual).tangent, along)


@losses
def test_second_derivatives(loss, target, pred):
    z = pred.clone().requires_grad_()
    (first,) = torch.autograd.grad(loss(z, target), z, create_graph=True)
    rows = [torch.autograd.grad(entry, z, retain_graph=True)[0] for entry in first.flatten()]
    theirs = torch.stack(rows).reshape(4, 3, 4, 3)
    close(hessian(lambda z: loss(z, target))(pred), theirs)
    for vectorize in (False, True):
        close(torch.autograd.functional.hessian(lambda z: loss(z, target), pred, vectorize=vectorize), theirs)


@losses
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_jacobians_and_batches_of_upstream_gradients(loss, target, pred, dtype):
    def each(z):
        return loss(z, target, reduction_override='none')

    pred = pred.to(dtype)
    options = dict(rtol=1e-2, atol=1e-2) if dtype == torch.bfloat16 else {}
    upstream = torch.eye(each(pred).numel()).reshape(-1, *each(pred).shape)
    theirs = torch.stack([gradient(loss, pred, target, row, reduction_override='none') for row in upstream])
    theirs = theirs.reshape(*each(pred).shape, *pred.shape)
    for jacobian in (jacrev(each), jacfwd(each), lambda z: torch.autograd.functional.jacobian(each, z, vectorize=True)):
        close(jacobian(pred), theirs, check_dtype=False, **options)
    z = pred.clone().requires_grad_()  # a forward pass of the kernel, and a batch that only its backward pass sees
    (ours,) = torch.autograd.grad(each(z), z, upstream, is_grads_batched=True)
    close(ours, theirs.reshape(ours.shape), check_dtype=False, **options)
    (ours,) = torch.autograd.grad(loss(z, target), z, torch.tensor([1.0, 3.0]), is_grads_batched=True)
    close(ours, torch.stack([gradient(loss, pred, target), 3 * gradient(loss, pred, target)]), **options)


@losses
@pytest.mark.parametrize('trace', [torch.jit.trace, lambda f, example: make_fx(f)(*example)], ids=['jit', 'make_fx'])
def test_a_trace_computes_with_what_it_is_given(loss, target, pred, trace):
    traced = trace(lambda z, y: loss(z, y), (torch.zeros_like(pred), target))
    close(traced(pred, target), loss(pred, target))


@losses
def test_a_traced_model_takes_other_batch_sizes_and_is_differentiated(loss, target, pred):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.loss = nn.Linear(3, 3), loss

        def forward(self, features, labels):
            return self.loss(self.head(features), labels)

    torch.manual_seed(0)
    model = Model()
    traced = torch.jit.trace(copy.deepcopy(model), (pred[:2], target[:2]), check_trace=False)
    for copied in (model, traced):
        copied(pred, target).backward()
    for ours, theirs in zip(traced.parameters(), model.parameters(), strict=True):
        close(ours.grad, theirs.grad)


@losses
def test_a_mode_or_a_subclass_that_follows_operations_sees_them(loss, target, pred):
    seen = []

    class Follow(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with Follow():
        close(loss(pred, target), loss(pred, target))
    assert len(seen) > 10

    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        fake = loss(mode.from_tensor(pred), mode.from_tensor(target))
    assert fake.shape == () and fake.dtype == torch.float32


def test_a_named_backend_refuses_and_the_adaptive_loss_that_learns_too(pred):
    with pytest.raises(
        ValueError, match="backend: 'cpu' cannot be used because a transform of torch.func .*'reference'"
    ):
        grad(lambda z: mmasl.asymmetric_loss(z, DENSE, backend='cpu'))(pred)
    loss = AdaptiveAsymmetricLoss(total_steps=100)
    for transform in (lambda: grad(loss)(pred, DENSE), lambda: torch.jit.trace(loss, (pred.requires_grad_(), DENSE))):
        with pytest.raises(
            RuntimeError, match=r'no torch.func transform and no torch.jit.trace .* call eval\(\) first'
        ):
            transform()
    assert (loss.batch_sums == 0).all()


ADAPTED = dict(total_steps=100, adapt='both')


class Model(nn.Module):
    def __init__(self, loss):
        super().__init__()
        self.head, self.loss = nn.Linear(5, 3), loss

    def forward(self, features, target):
        return self.loss(self.head(features), target)


def train(model, compiled, features, target):
    """The losses of three steps, and the state that they lead to."""
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=1.0), []
    for _ in range(3):
        loss = compiled(features, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses, model.state_dict()


# The adaptive loss breaks the graph where it learns: torch traces no hook that changes a module in the backward pass.
@pytest.mark.parametrize(
    'loss, target, whole',
    [
        (AsymmetricLoss(gamma_pos=1, alpha=0.25), DENSE, True),
        (AsymmetricLoss(), INDEX, True),
        (SoftmaxAsymmetricLoss(), INDEX, True),
        (SoftmaxAsymmetricLoss(gamma_pos=0.5), torch.rand(4, 3).softmax(1), True),
        (AdaptiveAsymmetricLoss(**ADAPTED), DENSE, False),
        (AdaptiveAsymmetricLoss(**ADAPTED), INDEX, False),
        (AdaptiveAsymmetricLoss(**ADAPTED).eval(), DENSE, True),
    ],
    ids=['dense', 'index', 'softmax index', 'softmax dense', 'adaptive', 'adaptive index', 'adaptive, evaluated'],
)
def test_a_compiled_model_is_one_graph_where_it_can_be_and_gives_the_same(loss, target, whole):
    torch.manual_seed(0)
    features, plain = torch.randn(4, 5), Model(loss)
    model, counted = copy.deepcopy(plain), copy.deepcopy(plain)
    torch._dynamo.reset()
    breaks = torch._dynamo.explain(counted)(features, target).graph_break_count
    assert breaks == 0 if whole else breaks > 0
    compiled = torch.compile(model, backend='aot_eager', fullgraph=whole)
    torch.testing.assert_close(train(model, compiled, features, target), train(plain, plain, features, target))
