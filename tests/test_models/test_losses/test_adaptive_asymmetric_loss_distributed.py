"""Two processes steer by the batch of both: alike to the last bit, and as one process with all of it."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from mmasl.engine.hooks import AsymmetryHook
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

    def forward(self, features, target, calls=1):
        if calls == 0:  # as YOLOX does without boxes
            return self.layer(features).sum() * 0
        parts = zip(self.layer(features).chunk(calls), target.chunk(calls), strict=True)
        return sum(self.loss(*part, avg_factor=len(features)) for part in parts)


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


def uneven(wrapper, rows, calls, hooked):
    """The state after each step. ``calls`` has the number of calls in each of its passes.

    Each row has one positive, and the last quarter has none: 8 are of the first process, and 4 of the second.
    """
    net = Model(**SETTINGS[1])
    module, states = wrapper(net), []
    target = torch.eye(CLASSES).long().repeat(ROWS // CLASSES, 1)
    target[-ROWS // 4 :] = 0
    target = target[rows]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    hook, runner = AsymmetryHook(interval=STEPS), SimpleNamespace(model=module, hooks=[], iter=0)
    if hooked:
        hook.before_train(runner)
    for step in range(len(calls)):
        features = torch.randn(ROWS, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        for number in calls[step]:
            module(features[rows], target, number).backward()
        optimizer.step()
        if hooked:
            hook.after_train_iter(runner, step)
        states.append(torch.cat([buffer.reshape(-1).clone() for buffer in net.loss.buffers()]))
    return torch.stack(states)


# The numbers of calls of each process in the passes of each step, without and with the hook. Before the second pass,
# DDP broadcasts the buffers of the first process.
UNEVEN = {
    False: ([[2], [1], [2], [2]], [[1], [2], [1], [2]]),
    True: ([[2], [0], [2], [1], [1, 0]], [[1], [0], [1], [0], [1, 1]]),
}


def worker(rank, folder):
    rendezvous = dict(init_method=f'file://{folder}/rendezvous', timeout=timedelta(seconds=60))
    dist.init_process_group('gloo', rank=rank, world_size=WORLD, **rendezvous)
    half = slice(rank * ROWS // 2, (rank + 1) * ROWS // 2)
    seen = [trace(DistributedDataParallel, half, settings) for settings in SETTINGS]
    seen += [uneven(DistributedDataParallel, half, calls[rank], hooked) for hooked, calls in UNEVEN.items()]
    torch.save(seen, f'{folder}/rank{rank}')
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


def test_processes_may_differ_in_the_number_of_calls(traces):
    first, second = (ranks[len(SETTINGS)] for ranks in traces)
    assert torch.equal(first, second)
    one = uneven(torch.nn.Identity(), slice(None), [[1]] * len(first), hooked=False)
    torch.testing.assert_close(first, one, rtol=1e-6, atol=1e-6)


def test_with_the_hook_a_process_may_not_call_it_at_all(traces):
    first, second = (ranks[len(SETTINGS) + 1] for ranks in traces)
    assert torch.equal(first, second)
    gamma_neg, positives = first[:, 0].tolist(), first[:, 2].tolist()
    assert positives == [12, 0, 12, 8, 16]
    assert gamma_neg[0] == 4 and gamma_neg[1] == gamma_neg[2] and len(set(gamma_neg)) == 4
