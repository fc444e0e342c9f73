"""Measure time and memory of ``mmasl.MultiLabelMetric`` on as many samples and classes as the test set of Open Images.

The scores are distributed like those of a trained model: few labels pass the threshold. All labels of a sample are
annotated. The command stores the run and prints a table.

    python tools/benchmarks/metrics_at_scale.py
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from data_loading import peak_memory
from loss_report import RESULTS, keep_run, machine

from mmasl.analysis.report import table
from mmasl.evaluation import MultiLabelMetric


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--samples', type=int, default=125436)
    parser.add_argument('--classes', type=int, default=9605)
    parser.add_argument('--batch', type=int, default=256)
    parser.add_argument('--out', type=Path, default=RESULTS, help='file with a line for each run')
    return parser.parse_args(argv)


def batches(args):
    """Yield data samples as a head writes them."""
    rng = np.random.default_rng(0)
    for start in range(0, args.samples, args.batch):
        shape = min(args.batch, args.samples - start), args.classes
        target = np.zeros(shape, dtype=np.float32)
        rows = np.arange(shape[0])[:, None]
        target[rows, rng.integers(0, args.classes, (shape[0], 3))] = 1
        logits = rng.standard_normal(shape, dtype=np.float32) - 6 + 6 * (target == 1)
        scores = torch.from_numpy(logits).sigmoid()
        yield [dict(pred_score=s, gt_score=t) for s, t in zip(scores, torch.from_numpy(target), strict=True)]


def main(argv=None):
    args = parse_args(argv)
    torch.set_num_threads(1)
    metric = MultiLabelMetric()
    before, process_seconds = peak_memory(), 0.0
    for samples in batches(args):
        start = time.process_time()
        metric.process(None, samples)
        process_seconds += time.process_time() - start
    held = peak_memory()
    start, cpu = time.perf_counter(), time.process_time()
    result = metric.evaluate(args.samples)
    row = dict(samples=args.samples, classes=args.classes)
    row.update(process_cpu_seconds=process_seconds, evaluate_seconds=time.perf_counter() - start)
    row.update(evaluate_cpu_seconds=time.process_time() - cpu)
    row.update(held_gib=(held - before) / 2**30, peak_gib=peak_memory() / 2**30)
    row.update(mAP=result['multi-label/mAP'], mAP_weighted=result['multi-label/mAP_weighted'])
    keep_run(args.out, 'metrics_at_scale', {'machine': machine('cpu', 1), 'rows': [row]})
    print(table(list(row), [[f'{v:,.2f}' if isinstance(v, float) else str(v) for v in row.values()]]))


if __name__ == '__main__':
    main()
