"""Measure time and memory of our losses and of MMDetection's, forward + backward, on 44,800 anchors x 80 classes.

The inputs are what MMDetection's heads pass. For each pair, the command first checks that loss and gradient agree; a
difference ends the run before any speed is printed. Then it times both on the same inputs, and ours also with
asymmetry, which MMDetection does not have. Memory is the peak beyond inputs and targets, the returned gradient
included, in units of the logits' bytes.

    python tools/benchmarks/detection_losses.py              # one thread
    python tools/benchmarks/detection_losses.py --threads 2
"""

import argparse
import statistics
import sys
from functools import partial
from pathlib import Path

import torch
from loss_cases import POSITIVES, Case
from loss_report import RESULTS, keep_run, machine, processor
from loss_timing import peak_memory, time_interleaved
from mmdet.models.losses import FocalLoss, QualityFocalLoss, VarifocalLoss
from tqdm import tqdm

from mmasl.analysis.report import table
from mmasl.models.losses import AsymmetricLoss, AsymmetricQualityLoss
from mmasl.testing import TOLERANCE, largest_error

ROWS, CLASSES = 44_800, 80  # FCOS, two images
ASYMMETRY = dict(gamma_neg=4.0, clip=0.05)
QUALITY = dict(gamma_pos=2.0)
VARIFOCAL = dict(gamma_pos=0.0, alpha=0.75, iou_weighted=True)
SAME = dict(gamma_neg=2.0, clip=0.0)
OURS, ASYMMETRIC = 'ours, the same function', 'ours, with asymmetry'


def make_cases(rows: int = ROWS, classes: int = CLASSES) -> list[Case]:
    """Make one case per kind of target, each with MMDetection's loss and with ours, without and with asymmetry."""
    generator = torch.Generator().manual_seed(0)
    pred = 1.5 * torch.randn(rows, classes, generator=generator) - 5
    labels = torch.randint(classes, (rows,), generator=generator)
    labels[torch.rand(rows, generator=generator) > POSITIVES] = classes
    scores = torch.rand(rows, generator=generator) * (labels < classes)
    dense = torch.zeros(rows, classes + 1).scatter_(1, labels[:, None], scores[:, None])[:, :classes].contiguous()
    focal = dict(gamma_pos=2.0, alpha=0.25)
    activated = dict(activated=True)
    kinds = {
        'class index': (labels, FocalLoss(), AsymmetricLoss, focal),
        '(labels, scores)': ((labels, scores), QualityFocalLoss(), AsymmetricQualityLoss, QUALITY),
        'dense scores': (dense, VarifocalLoss(), AsymmetricQualityLoss, VARIFOCAL),
        'class index, probabilities': (labels, FocalLoss(**activated), AsymmetricLoss, focal | activated),
        '(labels, scores), probabilities': (
            (labels, scores),
            QualityFocalLoss(**activated),
            AsymmetricQualityLoss,
            QUALITY | activated,
        ),
    }
    cases = []
    for kind, (target, theirs, ours, constants) in kinds.items():
        leaf = (pred.sigmoid() if 'probabilities' in kind else pred.clone()).requires_grad_()
        losses = {
            f'MMDetection {type(theirs).__name__}': theirs,
            OURS: ours(**constants, **SAME),
            ASYMMETRIC: ours(**constants, **ASYMMETRY),
        }
        contenders = {name: partial(loss, avg_factor=rows) for name, loss in losses.items()}
        cases.append(Case(kind, '', leaf, target, contenders, reference=next(iter(contenders.values()))))
    return cases


def differences(case: Case) -> list[str]:
    """Return a line for each difference between our symmetric loss and MMDetection's beyond the tolerance."""
    (theirs, *_), found = case.contenders, []
    results = []
    for name in (theirs, OURS):
        loss = case.contenders[name](case.pred, case.target)
        (gradient,) = torch.autograd.grad(loss, case.pred)
        results.append((loss.detach(), gradient * len(case.pred)))  # before the division by avg_factor
    for what, expected, actual in zip(('loss', 'gradient'), *results, strict=True):
        error = largest_error(actual, expected.double(), torch.float32)
        if not error <= TOLERANCE[torch.float32]:
            found.append(f'{case.workload}: the {what} of ours differs from {theirs} by {error:.2g}')
    return found


def measure(case: Case, repeats: int) -> list[dict]:
    """Return one row per contender; ratios are those of the minima, since noise only adds time."""
    seconds = {name: sorted(samples) for name, samples in time_interleaved(case, 0, repeats).items()}
    theirs = next(iter(seconds.values()))[0]
    return [
        dict(
            target=case.workload,
            loss=name,
            ns_median=round(1e9 * statistics.median(samples) / case.numel, 3),
            ns_min=round(1e9 * samples[0] / case.numel, 3),
            times_faster=round(theirs / samples[0], 2),
            peak_memory=round(peak_memory(case, name), 3),
        )
        for name, samples in seconds.items()
    ]


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--repeats', type=int, default=11, help='rounds of interleaved timing')
    parser.add_argument('--rows', type=int, default=ROWS, help='number of anchors')
    parser.add_argument('--out', type=Path, default=RESULTS, help='file with a line for each run')
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    info, rows = machine('cpu', args.threads), []
    for case in (progress := tqdm(make_cases(args.rows), unit='case')):
        progress.set_description(case.workload)
        wrong = differences(case)
        if wrong:
            print('\n'.join(['the correctness gate failed, so no speed is reported:', *wrong]), file=sys.stderr)
            return 1
        rows += measure(case, args.repeats)
    info['load_after'] = machine('cpu', args.threads)['load']
    head = ['target', 'loss', 'ns/logit: median', 'min', 'times as fast', 'peak memory / logits']
    keys = ('target', 'loss', 'ns_median', 'ns_min', 'times_faster', 'peak_memory')
    body = [[value if isinstance(value := row[key], str) else f'{value:.2f}' for key in keys] for row in rows]
    text = (
        f'Forward + backward of {args.rows:,} x {CLASSES} logits on {processor(info)} with torch {info["torch"]} '
        f'on {info["date"]}:'
    )
    keep_run(args.out, 'detection_losses', dict(machine=info, rows=rows))
    print(f'{text}\n\n{table(head, body)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
