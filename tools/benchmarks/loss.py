"""Times every backend of the asymmetric loss against its peers, forward + backward, in one run on the same inputs.

Each workload first passes a correctness gate; a backend that fails it ends the run before any speed is printed.
Writes JSON, a table and a figure under --out.

    python tools/benchmarks/loss.py                          # on the CPU, one thread
    python tools/benchmarks/loss.py --threads 2 --workloads 128x9605
    python tools/benchmarks/loss.py --device cuda
    python tools/benchmarks/loss.py --check OLD.json         # measure again and compare with an earlier result
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from loss_cases import REGIMES, SCALING, WORKLOADS, Case, gate, make_case
from loss_report import compare, draw, machine, table
from loss_timing import peak_memory, time_interleaved
from tqdm import tqdm

REPEATS = {'cpu': 21, 'cuda': 51}
LARGE = 1 << 24  # logits; above, a quarter of the repeats


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads (one is what the bars are judged by)')
    usual = [workload for workload in WORKLOADS if workload not in SCALING]
    parser.add_argument('--workloads', nargs='+', choices=list(WORKLOADS), default=usual)
    parser.add_argument('--regimes', nargs='+', choices=list(REGIMES), default=list(REGIMES))
    parser.add_argument('--contenders', nargs='+', help='only these (the ratios need torch BCE-with-logits among them)')
    parser.add_argument('--repeats', type=int, help='rounds of interleaved timing')
    parser.add_argument('--out', type=Path, default=Path(__file__).parent / 'results' / 'loss')
    parser.add_argument('--check', type=Path, metavar='OLD.json', help='compare the new ratios with those of a result')
    parser.add_argument('--tolerance', type=float, default=0.25, help='relative change of a ratio that --check reports')
    args = parser.parse_args(argv)
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: torch sees no GPU')
    if args.check is not None and not args.check.is_file():
        parser.error(f'--check: no such file: {args.check}')
    return args


def measure(case: Case, repeats: int) -> list[dict]:
    """One row a contender: times in ns per logit (median, min, max of the rounds) and peak extra memory."""
    times = time_interleaved(case, repeats)
    rows = []
    for name, seconds in times.items():
        per_logit = sorted(1e9 * s / case.numel for s in seconds)
        rows.append(
            {
                'workload': case.workload,
                'regime': case.regime,
                'contender': name,
                'ns_median': per_logit[len(per_logit) // 2],
                'ns_min': per_logit[0],
                'ns_max': per_logit[-1],
                'peak_memory': peak_memory(case, name),
            }
        )
    return rows


def main(argv=None):
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    result = {'machine': machine(args.device, args.threads), 'rows': []}
    jobs = [(workload, regime) for workload in args.workloads for regime in args.regimes]
    for workload, regime in (progress := tqdm(jobs, unit='case')):
        progress.set_description(f'{workload} {regime}')
        case = make_case(workload, regime, args.device, args.contenders)
        failures = gate(case)
        if failures:
            print('\n'.join(['correctness gate failed, no speed is reported:', *failures]), file=sys.stderr)
            return 1
        repeats = args.repeats or REPEATS[args.device] // (4 if case.numel > LARGE else 1)
        result['rows'] += measure(case, repeats)
    result['machine']['load_after'] = machine(args.device, args.threads)['load']
    args.out.mkdir(parents=True, exist_ok=True)
    stem = f'{result["machine"]["name"]}-{args.threads}threads' if args.device == 'cpu' else result['machine']['name']
    (args.out / f'{stem}.json').write_text(json.dumps(result, indent=1) + '\n')
    (args.out / f'{stem}.md').write_text(table(result))
    draw(result, args.out / stem)
    print(table(result))
    if args.check is not None:
        changes = compare(json.loads(args.check.read_text()), result, args.tolerance)
        print('\n'.join(changes) or f'no ratio changed by more than {args.tolerance:.0%}')
        return 1 if changes else 0
    return 0


if __name__ == '__main__':
    sys.exit(main())
