"""Check the Triton kernels on a GPU and measure their speed and memory, in one run of under eight minutes.

    python tools/benchmarks/gpu.py                                # writes results/gpu/NAME-OF-THE-GPU.json and .md
    python tools/benchmarks/gpu.py --sections speed graph --minutes 4
    python tools/benchmarks/gpu.py --device cpu --out /tmp/dry    # a dry run: tiny inputs in Triton's interpreter

The sections are:

tests     run every test that is marked for a GPU; they compare with the float64 reference and with arbitrary precision
speed     time forward + backward and measure peak memory of our kernels, of torch's BCE, torchvision's and
          MMDetection's focal loss, MMPretrain's loss, and the authors' formula (from timm) with and without
          torch.compile; each case first passes a correctness gate, and a table compares the times with their targets
training  time a step of TResNet-L and of FCOS in mixed precision with each loss
graph     capture forward + backward in a CUDA graph, replay it with other logits, compare it with eager mode, time it

A package that is missing, a peer that does not run and a measurement that does not fit into the time are left out, and
the report lists them. The files are written again after each result, so an interrupted run keeps what it measured.
"""

import argparse
import os
from pathlib import Path

SECTIONS = ('tests', 'speed', 'training', 'graph')


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sections', nargs='+', choices=SECTIONS, default=SECTIONS)
    parser.add_argument('--minutes', type=float, default=7.5, help='nothing begins after it (default: %(default)s)')
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda', help='cpu: a dry run')
    parser.add_argument('--out', type=Path, default=Path(__file__).parent / 'results' / 'gpu', help='folder')
    return parser.parse_args(argv)


if __name__ == '__main__' and parse_args().device == 'cpu':  # --help and mistakes are answered before slow imports
    os.environ['TRITON_INTERPRET'] = '1'  # Triton reads it when it is imported

import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from tempfile import TemporaryDirectory

import torch
from loss_cases import AUTHORS, AUTHORS_COMPILED, BCE, FLOOR, Case, gate, make_case
from loss_report import bar_table, bars, machine, table
from loss_timing import capture, eager_seconds, measure, step_of

from mmasl.analysis.report import table as markdown_table
from mmasl.files import atomic_file, write_json

ROOT = Path(__file__).resolve().parents[2]
OURS = 'mmasl triton'
PEERS = (BCE, 'torchvision sigmoid_focal_loss', 'MMDetection FocalLoss', 'MMPretrain AsymmetricLoss', AUTHORS)
CONTENDERS = (OURS, 'mmasl plain', *PEERS, AUTHORS_COMPILED, FLOOR)
SHAPES = ('128x80', '128x9605', '44800x80', '358400x80')
SPEED = [
    *((shape, dtype) for dtype in (torch.float32, torch.bfloat16, torch.float16) for shape in SHAPES),
    ('1024x32000', torch.float32),  # the target of dense labels is about this one
]
REGIME = 'trained'
TRAINED = ('tresnet_l', 'fcos')
DRY_TEST = 'tests/test_ops/test_triton_check.py::test_any_number_of_classes_is_compared'


class Run:
    """The results so far, their files, and the time that is left."""

    def __init__(self, args: argparse.Namespace):
        self.dry, self.device, self.start = args.device == 'cpu', args.device, time.monotonic()
        self.seconds = 60 * args.minutes
        info = machine(args.device, torch.get_num_threads())
        if self.dry:
            info |= dict(name='dry-run', gpu='no GPU (a dry run in the interpreter, whose times mean nothing)')
        self.result = dict(machine=info, failed=[], left_out=[])
        args.out.mkdir(parents=True, exist_ok=True)
        self.stem = args.out / info['name']

    @property
    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.start)

    def begin(self, what: str, needs: float) -> bool:
        """Print what begins; return False if fewer than ``needs`` seconds are left."""
        if self.left < needs:
            self.leave_out(what, 'the time is over')
            return False
        self.say(what)
        return True

    def say(self, text: str) -> None:
        print(f'[{time.monotonic() - self.start:4.0f} s] {text}', flush=True)

    def leave_out(self, what: str, why: str) -> None:
        line = f'{what} was left out: {why}'
        if line not in self.result['left_out']:
            self.say(line)
            self.result['left_out'].append(line)
            self.write()

    def fail(self, line: str) -> None:
        self.say(line)
        self.result['failed'].append(line)
        self.write()

    def write(self) -> None:
        self.result['seconds'] = round(time.monotonic() - self.start, 1)
        write_json(self.stem.with_name(f'{self.stem.name}.json'), self.result)
        with atomic_file(self.stem.with_name(f'{self.stem.name}.md')) as part:
            Path(part).write_text(report(self.result))


def run_tests(run: Run) -> None:
    """Run all tests with the marker ``gpu``; interrupt them after two fifths of the time that is left."""
    with TemporaryDirectory() as folder:
        xml = Path(folder) / 'tests.xml'
        command = [sys.executable, '-m', 'pytest', '-q', '-m', 'gpu', f'--junitxml={xml}', '--maxfail=20']
        command += [DRY_TEST] if run.dry else ['tests', *workers()]
        environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        finished = True
        try:
            process.wait(timeout=0.4 * run.left)
        except subprocess.TimeoutExpired:
            finished = False
            process.send_signal(signal.SIGINT)  # pytest then reports what it has run
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if not xml.is_file():
            return run.fail(f'tests: pytest ended with status {process.returncode} and no report')
        counts = ElementTree.parse(xml).getroot().find('testsuite').attrib
    counts = {key: int(counts[key]) for key in ('tests', 'failures', 'errors', 'skipped')}
    run.result['tests'] = dict(counts, finished=finished)
    if counts['failures'] or counts['errors'] or not counts['tests']:
        run.fail(f'tests: {counts["failures"] + counts["errors"]} of {counts["tests"]} failed')
    run.write()


def workers() -> list[str]:
    """Return the options that run the tests in parallel, since compiling hundreds of kernels takes most of the time."""
    try:
        import xdist  # noqa: F401
    except ImportError:
        return []
    return ['-n', str(min(8, os.cpu_count()))]


def runnable(run: Run, case: Case) -> None:
    """Remove the contenders that do not run here."""
    for name in list(case.contenders):
        try:
            step_of(case, name)()
        except Exception as error:
            del case.contenders[name]
            run.leave_out(f'{case.workload}, {name}', f'{type(error).__name__}: {str(error).splitlines()[0]}')


def run_speed(run: Run) -> None:
    results = run.result['speed'] = {}  # by dtype
    for workload, dtype in SPEED:
        name = str(dtype).removeprefix('torch.')
        if not run.begin(f'speed {workload} {name}', needs=20):
            continue
        case = make_case(workload, REGIME, run.device, dtype, rows=2 if run.dry else None, backends_of='cuda')
        for missing in [name for name in CONTENDERS if name not in case.contenders]:
            run.leave_out(missing, 'it is not installed, or not part of a dry run')
        case.contenders = {name: case.contenders[name] for name in CONTENDERS if name in case.contenders}
        runnable(run, case)
        if OURS not in case.contenders:  # the others are measured all the same
            run.fail(f'speed {workload} {name}: no kernel runs')
        wrong = gate(case)
        if wrong:
            run.fail(f'speed {workload} {name}: the gate failed: {wrong}')
            continue
        of_dtype = results.setdefault(name, dict(machine=run.result['machine'], dtype=name, rows=[]))
        of_dtype['rows'] += measure(case, 0 if run.dry else 2, 1 if run.dry else None, (OURS, BCE))
        of_dtype['bars'] = bars(of_dtype)
        run.write()


def run_training(run: Run) -> None:
    rows = run.result['training'] = []
    try:
        import loss_in_training as training
    except ImportError as error:
        return run.leave_out('training', str(error))
    for name in TRAINED:
        timed = training.MODELS_TIMED[name]
        if run.dry:
            timed = timed._replace(size=(64, 64), batch=2 if name == 'tresnet_l' else 1, pairs=1)
        if run.begin(f'training {name}, {timed.batch} x {timed.size}', needs=40):
            try:
                rows.append(training.measure(name, timed, run.device, amp=not run.dry))
                run.say(training.describe(rows[-1]))
            except Exception as error:  # a package is missing, or the GPU's memory is too small
                run.leave_out(f'training {name}', f'{type(error).__name__}: {str(error).splitlines()[0]}')
        run.write()


def run_graph(run: Run) -> None:
    rows = run.result['graph'] = []
    if run.dry:
        return run.leave_out('graph', 'it needs a GPU')
    for workload in SHAPES:
        if run.begin(f'graph {workload}', needs=10):
            case = make_case(workload, REGIME, run.device, torch.float32, [OURS, BCE])
            runnable(run, case)
            if OURS not in case.contenders:
                continue
            eager = eager_seconds(case, list(case.contenders))
            rows.append({'workload': workload} | {f'eager_us {name}': 1e6 * eager[name] for name in eager})
            rows[-1] |= replayed(case)
            if rows[-1].get('same_bits') is False:
                run.fail(f'graph {workload}: the replay has other bits than eager mode')
            run.write()


def replayed(case: Case) -> dict:
    """Capture our step, replay it with other logits, compare the gradient's bits with eager mode, time the replay."""
    step = step_of(case, OURS)
    replay = capture(step)
    if replay is None:
        return dict(captured=False)
    gradient = case.pred.grad  # the graph's own memory
    with torch.no_grad():
        case.pred.copy_(torch.randn_like(case.pred))
    replay()
    replayed = gradient.clone()
    step()
    same = bool((replayed == case.pred.grad).all())
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(100):
        replay()
    end.record()
    end.synchronize()
    return dict(captured=True, same_bits=same, replay_us=10 * start.elapsed_time(end))


def report(result: dict) -> str:
    """Return all sections so far in Markdown."""
    info, parts = result['machine'], []
    parts.append(f'# {info["gpu"]}\n\nMeasured by `gpu.py` with torch {info["torch"]} on {info["date"]}.')
    if 'tests' in result:
        tests = result['tests']
        text = f'{tests["tests"]} run, {tests["failures"] + tests["errors"]} failed, {tests["skipped"]} skipped'
        parts.append(f'## Tests\n\n{text}' + ('' if tests['finished'] else '; stopped because the time was over'))
    for of_dtype in result.get('speed', {}).values():
        targets = f'### Targets\n\n{bar_table(of_dtype["bars"])}'
        parts.append(f'## Speed, {of_dtype["dtype"]}\n\n{table(of_dtype)}\n{targets}')
    if result.get('training'):
        head = ['model', 'loss', 'step, ms: median', 'min', 'max', 'share of the loss, %']
        body = [
            [row['model'], loss, *(f'{value:.1f}' for value in times), f'{row["share_percent"][loss]:.3f}']
            for row in result['training']
            for loss, times in row['step_ms'].items()
        ]
        parts.append(f'## A training step in mixed precision\n\n{markdown_table(head, body)}')
    if result.get('graph'):
        head = list(dict.fromkeys(key for row in result['graph'] for key in row))
        body = [[_cell(row.get(key, '')) for key in head] for row in result['graph']]
        parts.append(f'## CUDA graph of forward + backward\n\n{markdown_table(head, body)}')
    if result['failed']:
        parts.append('## Failed\n\n' + '\n'.join(f'- {line}' for line in result['failed']))
    if result['left_out']:
        parts.append('## Left out\n\n' + '\n'.join(f'- {line}' for line in result['left_out']))
    return '\n\n'.join(parts) + '\n'


def _cell(value) -> str:
    return f'{value:.1f}' if isinstance(value, float) else str(value)


def main(argv=None) -> int:
    args = parse_args(argv)
    if args.device == 'cuda' and not torch.cuda.is_available():
        print('error: torch finds no GPU; --device cpu is a dry run', file=sys.stderr)
        return 1
    run = Run(args)
    for section in args.sections:
        run.say(section)
        {'tests': run_tests, 'speed': run_speed, 'training': run_training, 'graph': run_graph}[section](run)
    run.write()
    print(report(run.result))
    run.say(f'wrote {run.stem}.json and .md')
    return 1 if run.result['failed'] else 0


if __name__ == '__main__':
    sys.exit(main())
