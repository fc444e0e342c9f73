"""A model that ends in a loss, under torch.compile: one graph, and the numbers of eager mode."""

import copy

import pytest
import torch
from torch import nn

from mmasl.models.losses import AdaptiveAsymmetricLoss, AsymmetricLoss, SoftmaxAsymmetricLoss

DENSE, INDEX = torch.tensor([[1, 0, -1], [0, 0, 1]] * 2), torch.tensor([0, 2, 1, -1])
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
