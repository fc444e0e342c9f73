"""Train cross-entropy, focal loss and ASL on scenes of real handwriting with the same budget, and compare them.

    python tools/demo.py            # a few minutes on two cores; everything goes into work_dirs/demo

Prints a table and writes it as JSON and CSV, with a figure (PNG, SVG): mAP, and the mean confidence in positives and
negatives (p_t of Eq. 9) on held-out scenes after every epoch. One seed: configs/digit_scenes/README.md has several.
"""

import argparse
import csv
import json
import shutil
import sys
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
LOSSES = {'ce': 'cross-entropy', 'fl': 'focal loss', 'asl': 'ASL'}
COLUMNS = {
    'mAP': 'mAP %',
    'CF1': 'CF1 %',
    'OF1': 'OF1 %',
    'p_pos': 'mean p, pos.',
    'p_neg': 'mean p, neg.',
    'delta_p': 'Δp',
}


def train(spec: dict) -> dict[str, float]:
    """One of the trainings, in a process of its own."""
    from mmasl.utils.experiment import train_and_test

    metrics = train_and_test(spec['config'], spec['overrides'], spec['seed'], work_dir=spec['work_dir'])
    metrics['p_pos'], metrics['p_neg'] = metrics['pt_pos'], 1 - metrics['pt_neg']
    return {key: round(metrics[key], 4) for key in COLUMNS}


def make_specs(out: Path, epochs: int | None, scenes: int, seed: int) -> dict[str, dict]:
    """What each training is to do; ``epochs`` None keeps the config's."""
    overrides = {
        'train_dataloader.dataset.num_scenes': scenes,
        'val_dataloader.dataset.num_scenes': min(scenes, 500),
        'test_dataloader.dataset.num_scenes': min(scenes, 4000),
        'train_cfg.val_interval': 1,
    }
    if epochs is not None:
        overrides['train_cfg.max_epochs'] = epochs
    return {
        loss: dict(
            config=str(ROOT / 'configs' / 'digit_scenes' / f'digitnet-{loss}_ft-1xb16_digitscenes-48px.py'),
            overrides=overrides,
            seed=seed,
            work_dir=str(out / loss),
        )
        for loss in LOSSES
    }


def read_log(work_dir: Path) -> tuple[int, list[dict]]:
    """What a training has logged so far: the number of epochs done, and for each the confidences on held-out scenes."""
    curve = []
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # the last line may be half written
                continue
            if 'multi-label/pt_pos' in entry:
                names = ('mAP', 'pt_pos', 'pt_neg')
                curve.append(dict(epoch=entry['step'], **{name: entry[f'multi-label/{name}'] for name in names}))
    return len(curve), curve


def watch(out: Path, epochs: int, done: threading.Event, console: Console) -> None:
    """Show how far each training is until ``done``: bars on a terminal, a line every 20 seconds elsewhere."""
    start = time.monotonic()
    if not console.is_terminal:
        while not done.wait(20):
            state = ', '.join(f'{label} {read_log(out / loss)[0]}/{epochs}' for loss, label in LOSSES.items())
            print(f'{time.monotonic() - start:4.0f} s, epochs: {state}', flush=True)
        return
    columns = TextColumn('{task.description:>14}'), BarColumn(), TextColumn('{task.fields[note]}'), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        tasks = {loss: progress.add_task(label, total=epochs, note='') for loss, label in LOSSES.items()}
        while True:
            last = done.wait(1)
            for loss, task in tasks.items():
                count, curve = read_log(out / loss)
                note = f'epoch {count}/{epochs}, held-out mAP {curve[-1]["mAP"]:.1f}' if curve else 'waits'
                progress.update(task, completed=count, note=note)
            if last:
                return


def draw(results: dict[str, dict], path: Path) -> None:
    """Bars of mAP, and p_t of positives and negatives over the training, as ``path``.png and ``path``.svg."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(1, 2))
    for number, (loss, result) in enumerate(results.items()):
        colour = f'C{number}'
        bar = left.bar(LOSSES[loss], result['mAP'], color=colour)
        left.bar_label(bar, fmt='%.1f')
        epochs = [point['epoch'] for point in result['curve']]
        for key, style, name in (('pt_pos', '-', 'positives'), ('pt_neg', '--', 'negatives')):
            values = [point[key] for point in result['curve']]
            right.plot(epochs, values, style, color=colour, label=f'{LOSSES[loss]}, {name}')
    left.set_ylabel('mAP on test scenes, %')
    left.tick_params(axis='x', labelsize=8)
    left.margins(y=0.1)
    right.set_xlabel('epoch')
    right.set_ylabel('mean $p_t$ on held-out scenes')
    right.legend(fontsize=7, ncols=3, loc='lower right')
    right.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path.with_suffix('.png'), dpi=130)
    figure.savefig(path.with_suffix('.svg'))
    plt.close(figure)


def write(results: dict[str, dict], out: Path) -> None:
    """``demo.json`` (with the curves), ``demo.csv`` and the figure."""
    from mmasl.utils.grid import write_json

    write_json(out / 'demo.json', results)
    with open(out / 'demo.csv', 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['loss', *COLUMNS, 'seconds'])
        for loss, result in results.items():
            writer.writerow([LOSSES[loss], *(result[key] for key in COLUMNS), result['seconds']])
    draw(results, out / 'demo')


def table(results: dict[str, dict]) -> Table:
    """The table that is printed."""
    table = Table(title='DigitScenes, unseen handwriting')
    table.add_column('loss', no_wrap=True)
    for label in [*COLUMNS.values(), 'seconds']:
        table.add_column(label, justify='right')
    for loss, result in results.items():
        cells = [f'{result[key]:.{1 if "%" in label else 3}f}' for key, label in COLUMNS.items()]
        table.add_row(LOSSES[loss], *cells, f'{result["seconds"]:.0f}')
    return table


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=ROOT / 'work_dirs' / 'demo', help='folder that is written anew')
    parser.add_argument('--epochs', type=int, help="length of each training (default: the config's)")
    parser.add_argument('--scenes', type=int, default=4000, help='number of training scenes')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, default=2, help='single-thread trainings at a time')
    args = parser.parse_args(argv)
    from mmengine import Config

    from mmasl.utils.grid import run_cells

    console = Console()
    specs = make_specs(args.out, args.epochs, args.scenes, args.seed)
    epochs = args.epochs or Config.fromfile(specs['ce']['config']).train_cfg.max_epochs
    for loss in LOSSES:
        shutil.rmtree(args.out / loss, ignore_errors=True)
    shutil.rmtree(args.out / 'cells', ignore_errors=True)
    print(
        f'Training {", ".join(LOSSES.values())}: {args.scenes} scenes, {epochs} epochs each, '
        f'{args.workers} at a time, one thread each'
    )
    done, results = threading.Event(), {}
    watcher = threading.Thread(target=watch, args=(args.out, epochs, done, console), daemon=True)
    watcher.start()
    try:
        for loss, cell in run_cells(specs, args.out / 'cells', train, args.workers, log=args.out / 'trainings.log'):
            results[loss] = cell
    finally:
        done.set()
        watcher.join()
    failed = {loss: cell for loss, cell in results.items() if isinstance(cell, Exception)}
    if failed:
        for loss, error in failed.items():
            print(f'{LOSSES[loss]} failed: {type(error).__name__}: {error}', file=sys.stderr)
        print(f'the log of the trainings is {args.out / "trainings.log"}', file=sys.stderr)
        return 1
    results = {
        loss: {**results[loss]['result'], 'seconds': results[loss]['seconds'], 'curve': read_log(args.out / loss)[1]}
        for loss in LOSSES
    }
    write(results, args.out)
    console.print(table(results))
    print(f'written: {args.out}/demo.json, demo.csv, demo.png, demo.svg')
    return 0


if __name__ == '__main__':
    sys.exit(main())
