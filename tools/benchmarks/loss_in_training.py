"""Measure what the loss costs in a training step: its share of a step, and ASL and cross-entropy in pairs of steps.

The model, its inputs and its initial weights are the same for both losses. Steps alternate, and each pair has the
reverse order of the one before. The result is the median difference of the pairs with a 95 % confidence interval; the
profiler measures the share of the loss. The command writes JSON beside the results of loss.py. It takes about five
minutes on one quiet core, most of them for ResNet-101.

    python tools/benchmarks/loss_in_training.py                 # the DigitScenes model and ResNet-101 at 448 px
    python tools/benchmarks/loss_in_training.py --models digitnet --pairs 50
"""

import argparse
import copy
import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from loss_report import RESULTS, keep_run, machine
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function
from tqdm import tqdm

# The others are compared with the first one.
LOSSES = {
    'cross-entropy': dict(type='CrossEntropyLoss', use_sigmoid=True),
    'ASL': dict(type='mmasl.AsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, clip=0.05),
}
LOSSES_OF_DETECTORS = {
    'focal loss': dict(type='FocalLoss', use_sigmoid=True),
    'ASL': dict(type='mmasl.AsymmetricLoss', use_sigmoid=True, gamma_pos=1.0, gamma_neg=2.0, clip=0.0, alpha=0.25),
}
FCOS = 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'


class Timed(NamedTuple):
    """A model (backbone and features of a classifier, or a config of MMDetection), its images, and pairs of steps."""

    backbone: dict | None
    features: int
    size: tuple[int, int]
    batch: int
    pairs: int
    config: str | None = None


MODELS_TIMED = {
    'digitnet': Timed(dict(type='mmasl.DigitNet'), 128, (48, 48), 64, 200),
    'resnet101': Timed(dict(type='ResNet', depth=101), 2048, (448, 448), 4, 9),
    'tresnet_l': Timed(dict(type='TIMMBackbone', model_name='tresnet_l'), 2432, (448, 448), 32, 15),
    'fcos': Timed(None, 0, (800, 1344), 2, 15, FCOS),
}
MARK = 'loss forward'


class Marked(nn.Module):
    """A loss that marks its forward pass in the profile and keeps the names of its backward nodes."""

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


def make_step(timed: Timed, device: str, amp: bool = False) -> dict[str, tuple[Callable, Marked]]:
    """Return ``{loss: (step, module)}`` of one model, with equal weights and one batch; ``amp`` computes in float16."""
    torch.manual_seed(0)
    MMLogger.get_current_instance().setLevel('ERROR')  # otherwise it lists every weight
    with DefaultScope.overwrite_default_scope('mmdet' if timed.config else 'mmpretrain'):
        base, data = (make_detector if timed.config else make_classifier)(timed)
        base.init_weights()
        steps = {}
        for loss, config in (LOSSES_OF_DETECTORS if timed.config else LOSSES).items():
            model = copy.deepcopy(base).to(device).train()
            marked = Marked(MODELS.build(config))
            if timed.config:
                model.bbox_head.loss_cls = marked
            else:
                model.head.loss_module = marked
            kind = dict(type='AmpOptimWrapper', loss_scale='dynamic') if amp else {}
            wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='Adam', lr=1e-5), **kind))
            steps[loss] = partial(model.train_step, data, wrapper), marked
    return steps


def make_images(timed: Timed) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (timed.batch, 3, *timed.size)
    return list(torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8))


def make_classifier(timed: Timed) -> tuple[nn.Module, dict]:
    from mmpretrain.structures import DataSample

    labels = (torch.rand(timed.batch, 80) < 0.036).float()
    data = dict(inputs=make_images(timed), data_samples=[DataSample().set_gt_score(label) for label in labels])
    head = dict(type='MultiLabelLinearClsHead', num_classes=80, in_channels=timed.features, loss=LOSSES['ASL'])
    model = dict(
        type='ImageClassifier',
        backbone=timed.backbone,
        neck=dict(type='GlobalAveragePooling'),
        head=head,
        data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    )
    return MODELS.build(model), data


def make_detector(timed: Timed) -> tuple[nn.Module, dict]:
    """Make a detector with random weights, and a batch with eight boxes in each picture."""
    from mmdet.structures import DetDataSample

    cfg = get_config(timed.config)
    cfg.model.backbone.init_cfg = None
    high, wide = timed.size
    samples = []
    for _ in range(timed.batch):
        corner, extent = torch.rand(8, 2) * torch.tensor([wide, high]) / 2, torch.rand(8, 2) * min(timed.size) / 2
        boxes = torch.cat([corner, corner + extent + 1], 1)
        sample = DetDataSample(metainfo=dict(img_shape=timed.size, ori_shape=timed.size, pad_shape=timed.size))
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.randint(80, (8,)))
        samples.append(sample)
    return MODELS.build(cfg.model), dict(inputs=make_images(timed), data_samples=samples)


def seconds(step, device: str) -> float:
    start = time.perf_counter()
    step()
    if device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - start


def share(step, loss: Marked, device: str) -> float:
    """Return the share of a step that forward and backward of the loss take."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == 'cuda' else [])
    with profile(activities=activities) as record, record_function('step'):
        step()
        if device == 'cuda':
            torch.cuda.synchronize()
    evaluated = {f'autograd::engine::evaluate_function: {name}' for name in loss.backward_names}
    kind = 'device_time_total' if device == 'cuda' else 'cpu_time_total'
    events = record.key_averages()
    times = {event.key: getattr(event, kind) for event in events if event.device_type == DeviceType.CPU}
    kernels = [  # a kernel also counts in the operation that launches it; torch 2.1 knows no annotations
        event
        for event in events
        if event.device_type == DeviceType.CUDA and not getattr(event, 'is_user_annotation', False)
    ]
    whole = times['step'] if device == 'cpu' else sum(event.self_device_time_total for event in kernels)
    return (times[MARK] + sum(times.get(name, 0.0) for name in evaluated)) / whole


def median_interval(values: list[float], coverage: float = 0.95) -> tuple[float, float] | None:
    """Return the order statistics between which the median lies with at least this probability, for any distribution.

    With fewer than six values no such interval exists, and the result is None.
    """
    values, count = sorted(values), len(values)
    outside, below = 0, 0.0  # values left out at each end, and the probability that the median lies there
    while below + math.comb(count, outside) / 2**count <= (1 - coverage) / 2:
        below += math.comb(count, outside) / 2**count
        outside += 1
    return (values[outside - 1], values[count - outside]) if outside else None


def measure(name: str, timed: Timed, device: str, amp: bool = False) -> dict:
    """Return one row: the losses compared with the first one in ``timed.pairs`` pairs of steps."""
    steps = make_step(timed, device, amp)
    for step, _ in steps.values():
        step()
    times = {loss: [] for loss in steps}
    for pair in tqdm(range(timed.pairs), desc=name, unit='pair'):
        for loss in list(steps)[:: -1 if pair % 2 else 1]:
            times[loss].append(seconds(steps[loss][0], device))
    first = next(iter(steps))
    difference = [ours - theirs for ours, theirs in zip(times['ASL'], times[first], strict=True)]
    median = statistics.median(times[first])
    interval = median_interval(difference)
    return {
        'model': name,
        'pairs': timed.pairs,
        'step_ms': {loss: [1e3 * f(t) for f in (statistics.median, min, max)] for loss, t in times.items()},
        'difference_percent': 100 * statistics.median(difference) / median,
        'interval_percent': None if interval is None else [100 * bound / median for bound in interval],
        'share_percent': {loss: 100 * share(step, marked, device) for loss, (step, marked) in steps.items()},
    }


def describe(row: dict) -> str:
    share, interval = row['share_percent'], row['interval_percent']
    if interval is None:
        verdict = 'too few pairs for an interval'
    else:
        verdict = '95 % interval [{:+.2f}, {:+.2f}]: '.format(*interval)
        verdict += 'within noise' if interval[0] <= 0 <= interval[1] else 'beyond noise'
    first = next(iter(share))
    return (
        f'{row["model"]}: ASL minus {first} {row["difference_percent"]:+.2f} % of a step ({verdict}; '
        f'{row["pairs"]} pairs); share of the step: ASL {share["ASL"]:.3f} %, {first} {share[first]:.3f} %'
    )


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', choices=list(MODELS_TIMED), default=['digitnet', 'resnet101'])
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--pairs', type=int, help='pairs of steps (default: 200 for DigitNet, 9 for ResNet-101)')
    parser.add_argument('--amp', action='store_true', help='mixed precision, on a GPU')
    parser.add_argument('--out', type=Path, default=RESULTS, help='file with a line for each run')
    args = parser.parse_args(argv)
    if args.pairs is not None and args.pairs < 2:
        parser.error(f'--pairs: expected at least 2, got {args.pairs}')
    torch.set_num_threads(args.threads)
    info = machine(args.device, args.threads)
    rows = []
    for name in args.models:
        timed = MODELS_TIMED[name]
        rows.append(measure(name, timed._replace(pairs=args.pairs or timed.pairs), args.device, args.amp))
    keep_run(args.out, 'loss_in_training', {'machine': info, 'rows': rows})
    print('\n'.join(map(describe, rows)))
    print(f'wrote {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
