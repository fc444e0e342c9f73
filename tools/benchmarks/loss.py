"""Times every backend of the losses against their peers, forward + backward, in one run on the same inputs.

Each workload first passes a correctness gate; a backend that fails it ends the run before any speed is printed.
Writes JSON, a table and a figure under --out, and says which bars are met.

    python tools/benchmarks/loss.py                          # on the CPU, one thread: about five minutes
    python tools/benchmarks/loss.py --threads 1 2 --seconds 5
    python tools/benchmarks/loss.py --device cuda --dtype bfloat16
    python tools/benchmarks/loss.py --check OLD.json         # measure again and compare with an earlier result

From 10^6 to 10^8 logits, every buffer on new pages: glibc would hand small ones out again, and page faults are most of
the time of a large copy.

    MALLOC_MMAP_THRESHOLD_=1048576 python tools/benchmarks/loss.py --out tools/benchmarks/results/loss/size \\
        --workloads 12500x80 358400x80 1250000x80 --regimes trained
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from loss_bars import bar_table, bars
from loss_cases import BCE, CROSS_ENTROPY, REGIMES, WORKLOADS, Case, gate, make_case
from loss_report import compare, draw, machine, table
from loss_timing import eager_seconds, peak_memory, time_interleaved
from tqdm import tqdm

DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--dtype', choices=list(DTYPES), default='float32', help='of the logits')
    parser.add_argument(
        '--threads',
        type=int,
        nargs='+',
        default=[1],
        help='CPU threads, one after the other; only the first run has the reference and torch.compile, which are slow',
    )
    usual = [name for name, workload in WORKLOADS.items() if not workload.only]
    parser.add_argument('--workloads', nargs='+', choices=list(WORKLOADS), default=usual)
    parser.add_argument('--regimes', nargs='+', choices=list(REGIMES), default=list(REGIMES))
    parser.add_argument('--contenders', nargs='+', help='only these (the ratios need torch BCE-with-logits among them)')
    parser.add_argument('--seconds', type=float, default=10, help='time for the timed rounds of a case')
    parser.add_argument('--repeats', type=int, help='that many rounds instead')
    parser.add_argument('--out', type=Path, default=Path(__file__).parent / 'results' / 'loss')
    parser.add_argument('--check', type=Path, metavar='OLD.json', help='compare the new ratios with those of a result')
    parser.add_argument('--tolerance', type=float, default=0.25, help='relative change of a ratio that --check reports')
    args = parser.parse_args(argv)
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: torch sees no GPU')
    if args.check is not None and not args.check.is_file():
        parser.error(f'--check: no such file: {args.check}')
    if args.check is not None and len(args.threads) > 1:
        parser.error('--check: expected one number of --threads')
    return args


def measure(case: Case, seconds: float, repeats: int | None) -> list[dict]:
    """One row a contender: times in ns per logit (median, min, max of the rounds) and peak extra memory."""
    times = time_interleaved(case, seconds, repeats)
    rows = []
    for name, samples in times.items():
        per_logit = sorted(1e9 * s / case.numel for s in samples)
        rows.append(
            {
                'workload': case.workload,
                'regime': case.regime,
                'contender': name,
                'rounds': len(per_logit),
                'ns_median': per_logit[len(per_logit) // 2],
                'ns_min': per_logit[0],
                'ns_max': per_logit[-1],
                'peak_memory': peak_memory(case, name),
            }
        )
        if name in case.ours:
            rows[-1]['peak_memory_scaled'] = peak_memory(case, name, upstream=2.0)
    if case.pred.is_cuda:
        eager = eager_seconds(case, [name for name in times if name in case.ours or name in (BCE, CROSS_ENTROPY)])
        for row in rows:
            if row['contender'] in eager:
                row['ns_eager'] = 1e9 * eager[row['contender']] / case.numel
    return rows


def run(args, threads: int) -> dict | None:
    """The result of all workloads, or None where the gate failed."""
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
            print('\n'.join(['correctness gate failed, no speed is reported:', *failures]), file=sys.stderr)
            return None
        result['rows'] += measure(case, args.seconds, args.repeats)
    result['machine']['load_after'] = machine(args.device, threads)['load']
    result['bars'] = bars(result)
    return result


def stem_of(result: dict) -> str:
    info, dtype = result['machine'], result['dtype']
    stem = info['name'] if info['gpu'] else f'{info["name"]}-{info["threads"]}threads'
    return stem if dtype == 'float32' else f'{stem}-{dtype}'


def main(argv=None):
    args = parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for threads in args.threads:
        result = run(args, threads)
        if result is None:
            return 1
        stem = args.out / stem_of(result)
        stem.with_name(f'{stem.name}.json').write_text(json.dumps(result, indent=1) + '\n')
        text = f'{table(result)}\n### Bars\n\n{bar_table(result["bars"])}'
        stem.with_name(f'{stem.name}.md').write_text(text)
        draw(result, stem)
        print(text)
    if args.check is not None:
        changes = compare(json.loads(args.check.read_text()), result, args.tolerance)
        print('\n'.join(changes) or f'no ratio changed by more than {args.tolerance:.0%}')
        return 1 if changes else 0
    return 0


if __name__ == '__main__':
    sys.exit(main())
