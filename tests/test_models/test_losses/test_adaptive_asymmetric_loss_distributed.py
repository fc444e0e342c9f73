"""Two processes steer by the batch of both: alike to the last bit, and as one process with all of it."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from mmasl.models.losses import AdaptiveAsymmetricLoss

WORLD, ROWS, CLASSES, STEPS = 2, 16, 4, 20
SETTINGS = [
    dict(momentum=0.0, adapt='both'),
    dict(momentum=0.5),
]


class Model(torch.nn.Module):
    def __init__(self, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(8, CLASSES)
        self.loss = AdaptiveAsymmetricLoss(
            gamma_neg=4.0, step_size=0.3, clip_step_size=0.005, delta_p_target=0.3, **settings
        )

    def forward(self, features, target):
        return self.loss(self.layer(features), target, avg_factor=len(features))


def trace(model, rows, settings):
    """gamma_neg and the margin that each step sees; in every fourth batch only the first process has positives."""
    net = Model(**settings)
    module = net if model is None else model(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    seen = []
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        features = torch.randn(ROWS, 8, generator=generator)
        target = (torch.rand(ROWS, CLASSES, generator=generator) < 0.2).long()
        if step % 4 == 0:
            target[ROWS // 2 :] = 0
        optimizer.zero_grad()
        module(features[rows], target[rows]).backward()
        optimizer.step()
        seen.append(torch.cat([torch.as_tensor(v).reshape(-1).clone() for v in (net.loss.gamma_neg, net.loss.clip)]))
    return torch.stack(seen)


def worker(rank, folder):
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=WORLD)
    half = slice(rank * ROWS // 2, (rank + 1) * ROWS // 2)
    torch.save([trace(DistributedDataParallel, half, settings) for settings in SETTINGS], f'{folder}/rank{rank}')
    dist.barrier()  # the store of the first process must outlive the others
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def traces(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ranks')
    mp.spawn(worker, (str(folder),), WORLD)
    return [torch.load(folder / f'rank{rank}') for rank in range(WORLD)]


@pytest.mark.parametrize('number', range(len(SETTINGS)))
def test_two_processes_are_one(traces, number):
    first, second = (ranks[number] for ranks in traces)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, trace(None, slice(None), SETTINGS[number]), rtol=0, atol=1e-6)
    assert (first[-1] != first[0]).any() and len(first.unique(dim=0)) == STEPS
