"""Time forward + backward of every backend of the losses and of their peers, in one run on the same inputs.

Each workload first passes a correctness gate; a backend that fails it ends the run before any speed is printed. The
command writes a line into --out and a figure into work_dirs/loss, and prints which targets are met.

    python tools/benchmarks/loss.py                          # one CPU thread, about five minutes
    python tools/benchmarks/loss.py --threads 1 2 --seconds 5
    python tools/benchmarks/loss.py --device cuda --dtype bfloat16
    python tools/benchmarks/loss.py --check                  # measure again and compare with the stored run
    python tools/benchmarks/loss.py --report                 # measure nothing, write loss.md from the stored runs

This command compares 10^6 to 10^8 logits. The variable makes glibc take new pages for every buffer; otherwise it would
reuse small buffers, and page faults are most of the time of a large copy.

    MALLOC_MMAP_THRESHOLD_=1048576 python tools/benchmarks/loss.py --name loss_size \\
        --workloads 12500x80 358400x80 1250000x80 --regimes trained
"""

import argparse
import sys
from pathlib import Path

import torch
from loss_cases import BCE, CROSS_ENTROPY, REGIMES, WORKLOADS, gate, make_case
from loss_report import RESULTS, bar_table, bars, compare, draw, keep_run, machine, read_runs, run_name, table
from loss_timing import measure, peak_memory
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path(__file__).resolve().parent / 'loss.md'
INTRODUCTION = """`python tools/benchmarks/loss.py` measured these tables, and `--report` wrote them into this page.
Section titles name the machine and the number of threads. In the tables

- a title such as "128x80, trained logits" gives the number of rows and of classes. Half of the negatives are above
  the margin with initial logits, and 5 % with trained logits;
- the times are those of forward + backward. A column ÷ X is the minimum divided by that of X, where "copy" is a copy
  of as many bytes as the loss must read and write;
- peak memory counts what is allocated beyond logits and labels, the gradient included.
"""
DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--dtype', choices=list(DTYPES), default='float32', help='dtype of the logits')
    parser.add_argument(
        '--threads',
        type=int,
        nargs='+',
        default=[1],
        help='numbers of CPU threads; only the first run has the reference and torch.compile, which are slow',
    )
    usual = [name for name, workload in WORKLOADS.items() if not workload.only]
    parser.add_argument('--workloads', nargs='+', choices=list(WORKLOADS), default=usual)
    parser.add_argument('--regimes', nargs='+', choices=list(REGIMES), default=list(REGIMES))
    parser.add_argument('--contenders', nargs='+', help='only these; the ratios need torch BCE-with-logits among them')
    parser.add_argument('--seconds', type=float, default=10, help='time for the timed rounds of a case')
    parser.add_argument('--repeats', type=int, help='number of rounds instead of --seconds')
    parser.add_argument('--out', type=Path, default=RESULTS, help='file with a line for each run')
    parser.add_argument('--name', default='loss', help='name of the runs in --out (default: %(default)s)')
    parser.add_argument('--figures', type=Path, default=ROOT / 'work_dirs' / 'loss', help='folder of the figures')
    parser.add_argument('--check', action='store_true', help='compare the ratios with those of the run in --out')
    parser.add_argument('--report', action='store_true', help='write loss.md from the stored runs; measure nothing')
    parser.add_argument('--tolerance', type=float, default=0.25, help='relative change of a ratio that --check reports')
    args = parser.parse_args(argv)
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: torch finds no GPU')
    if args.check and len(args.threads) > 1:
        parser.error(f'--check: expected one number in --threads, got {args.threads}')
    return args


def run(args, threads: int) -> dict | None:
    """Return the result of all workloads, or None if the gate failed."""
    torch.set_num_threads(threads)
    result = {'machine': machine(args.device, threads), 'dtype': args.dtype, 'rows': []}
    jobs = [(w, r) for w in args.workloads for r in args.regimes if r in WORKLOADS[w].regimes]
    for workload, regime in (progress := tqdm(jobs, unit='case')):
        progress.set_description(f'{workload} {regime}')
        case = make_case(workload, regime, args.device, DTYPES[args.dtype], args.contenders)
        if threads != args.threads[0]:
            case.contenders = {name: f for name, f in case.contenders.items() if 'reference' not in name}
        failures = gate(case)
        if failures:
            print('\n'.join(['the correctness gate failed, so no speed is reported:', *failures]), file=sys.stderr)
            return None
        rows = measure(case, args.seconds, args.repeats, (*case.ours, BCE, CROSS_ENTROPY))
        for row in rows:
            if row['contender'] in case.ours:
                row['peak_memory_scaled'] = peak_memory(case, row['contender'], upstream=2.0)
        result['rows'] += rows
    result['machine']['load_after'] = machine(args.device, threads)['load']
    result['bars'] = bars(result)
    return result


def text_of(result: dict) -> str:
    return f'{table(result)}\n### Targets\n\n{bar_table(result["bars"])}'


def write_page() -> None:
    """Write the tables of all stored runs into ``loss.md``."""
    parts = ['# The loss and its peers\n', INTRODUCTION]
    for name in ('loss', 'loss_size'):
        for run in read_runs(RESULTS, name):
            parts.append(f'## {run_name(run)}{", sizes" if name == "loss_size" else ""}\n\n{text_of(run)}')
    PAGE.write_text('\n'.join(parts), encoding='utf-8')


def main(argv=None):
    args = parse_args(argv)
    if args.report:
        write_page()
        return 0
    runs = {run_name(old): old for old in read_runs(args.out, args.name)}
    name = run_name(dict(machine=machine(args.device, args.threads[0]), dtype=args.dtype))
    if args.check and name not in runs:
        print(f'--check: expected the run {name} in {args.out}, found {", ".join(runs) or "none"}', file=sys.stderr)
        return 1
    for threads in args.threads:
        result = run(args, threads)
        if result is None:
            return 1
        if not args.check:
            keep_run(args.out, args.name, result)
        draw(result, args.figures / run_name(result))
        print(text_of(result))
    if args.check:
        changes = compare(runs[name], result, args.tolerance)
        print('\n'.join(changes) or f'no ratio changed by more than {args.tolerance:.0%}')
        return 1 if changes else 0
    return 0


if __name__ == '__main__':
    sys.exit(main())
