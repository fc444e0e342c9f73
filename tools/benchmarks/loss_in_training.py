"""What the loss costs in a training step: its share of the step (profiler), and ASL against cross-entropy in pairs.

A model, its inputs and its initial weights are the same for both losses; steps alternate, each pair in the other order
than the one before, and the difference of a pair is what counts: its median, with a 95 % confidence interval. Writes
JSON beside the results of loss.py. About five minutes on one quiet core, most of it ResNet-101.

    python tools/benchmarks/loss_in_training.py                 # the DigitScenes model and ResNet-101 at 448 px
    python tools/benchmarks/loss_in_training.py --models digitnet --pairs 50
"""

import argparse
import copy
import json
import math
import statistics
import sys
import time
from pathlib import Path

import torch
from loss_report import machine
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from tqdm import tqdm

LOSSES = {
    'cross-entropy': dict(type='CrossEntropyLoss', use_sigmoid=True),
    'ASL': dict(type='mmasl.AsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, clip=0.05),
}
# backbone, neck, features, image size, batch size, pairs of steps
MODELS_TIMED = {
    'digitnet': (dict(type='mmasl.DigitNet'), dict(type='GlobalAveragePooling'), 128, 48, 64, 200),
    'resnet101': (dict(type='ResNet', depth=101), dict(type='GlobalAveragePooling'), 2048, 448, 4, 9),
}
MARK = 'loss forward'


class Marked(nn.Module):
    """A loss whose forward pass shows in the profile, and which keeps the names of its backward nodes."""

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss = loss

    def forward(self, pred, target, **kwargs):
        with record_function(MARK):
            value = self.loss(pred, target, **kwargs)
        nodes, open_ = set(), [value.grad_fn]
        while open_:
            node = open_.pop()
            if node is not None and node is not pred.grad_fn and node not in nodes:
                nodes.add(node)
                open_ += [parent for parent, _ in node.next_functions]
        self.backward_names = {node.name() for node in nodes}
        return value


def make_step(name: str, device: str):
    """``{loss: (step, head)}`` for one model, with equal weights and the same batch."""
    backbone, neck, features, size, batch, _ = MODELS_TIMED[name]
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (batch, 3, size, size), generator=generator, dtype=torch.uint8)
    labels = (torch.rand(batch, 80, generator=generator) < 0.036).float()
    data = dict(inputs=list(inputs), data_samples=[DataSample().set_gt_score(label) for label in labels])
    head = dict(type='MultiLabelLinearClsHead', num_classes=80, in_channels=features, loss=LOSSES['ASL'])
    preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3)
    base = MODELS.build(
        dict(type='ImageClassifier', backbone=backbone, neck=neck, head=head, data_preprocessor=preprocessor)
    )
    base.init_weights()
    steps = {}
    for loss, config in LOSSES.items():
        model = copy.deepcopy(base).to(device).train()
        model.head.loss_module = Marked(MODELS.build(config))
        wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='Adam', lr=1e-5)))
        steps[loss] = (lambda model=model, wrapper=wrapper: model.train_step(data, wrapper)), model.head.loss_module
    return steps


def seconds(step, device: str) -> float:
    start = time.perf_counter()
    step()
    if device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - start


def share(step, loss: Marked, device: str) -> float:
    """The part of a step that the loss takes, forward and backward."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == 'cuda' else [])
    with profile(activities=activities) as record, record_function('step'):
        step()
        if device == 'cuda':
            torch.cuda.synchronize()
    evaluated = {f'autograd::engine::evaluate_function: {name}' for name in loss.backward_names}
    kind = 'device_time_total' if device == 'cuda' else 'cpu_time_total'
    times = {event.key: getattr(event, kind) for event in record.key_averages()}
    whole = times['step'] if device == 'cpu' else sum(e.self_device_time_total for e in record.key_averages())
    return (times[MARK] + sum(times.get(name, 0.0) for name in evaluated)) / whole


def median_interval(values: list[float], coverage: float = 0.95) -> tuple[float, float] | None:
    """The order statistics that hold the median with at least this probability, whatever the distribution.

    None below six values, which cannot give it.
    """
    values, count = sorted(values), len(values)
    outside, below = 0, 0.0  # values left out at each end, and the probability that the median lies there
    while below + math.comb(count, outside) / 2**count <= (1 - coverage) / 2:
        below += math.comb(count, outside) / 2**count
        outside += 1
    return (values[outside - 1], values[count - outside]) if outside else None


def measure(name: str, device: str, pairs: int | None) -> dict:
    steps = make_step(name, device)
    for step, _ in steps.values():
        step()
    pairs = pairs or MODELS_TIMED[name][-1]
    times = {loss: [] for loss in steps}
    for pair in tqdm(range(pairs), desc=name, unit='pair'):
        for loss in list(steps)[:: -1 if pair % 2 else 1]:
            times[loss].append(seconds(steps[loss][0], device))
    difference = [asl - ce for asl, ce in zip(times['ASL'], times['cross-entropy'], strict=True)]
    median = statistics.median(times['cross-entropy'])
    interval = median_interval(difference)
    return {
        'model': name,
        'pairs': pairs,
        'step_ms': {loss: [1e3 * f(t) for f in (statistics.median, min, max)] for loss, t in times.items()},
        'difference_percent': 100 * statistics.median(difference) / median,
        'interval_percent': None if interval is None else [100 * bound / median for bound in interval],
        'share_percent': {loss: 100 * share(step, marked, device) for loss, (step, marked) in steps.items()},
    }


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', choices=list(MODELS_TIMED), default=list(MODELS_TIMED))
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--pairs', type=int, help='pairs of steps (200 for DigitNet, 9 for ResNet-101)')
    parser.add_argument('--out', type=Path, default=Path(__file__).parent / 'results' / 'loss')
    args = parser.parse_args(argv)
    if args.pairs is not None and args.pairs < 2:
        parser.error(f'--pairs: expected at least 2, got {args.pairs}')
    torch.set_num_threads(args.threads)
    init_default_scope('mmpretrain')
    info = machine(args.device, args.threads)
    result = {'machine': info, 'rows': [measure(name, args.device, args.pairs) for name in args.models]}
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f'{info["name"]}-in-training.json'
    path.write_text(json.dumps(result, indent=1) + '\n')
    for row in result['rows']:
        share, interval = row['share_percent'], row['interval_percent']
        if interval is None:
            verdict = 'too few pairs for an interval'
        else:
            verdict = '95 % interval [{:+.2f}, {:+.2f}]: '.format(*interval)
            verdict += 'within noise' if interval[0] <= 0 <= interval[1] else 'a difference'
        print(
            f'{row["model"]}: ASL minus cross-entropy {row["difference_percent"]:+.2f} % of a step ({verdict}; '
            f'{row["pairs"]} pairs); share of the step: ASL {share["ASL"]:.3f} %, '
            f'cross-entropy {share["cross-entropy"]:.3f} %'
        )
    print(f'written to {path}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
