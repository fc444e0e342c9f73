"""Train cross-entropy, focal loss, ASL and adaptive ASL on scenes of real handwriting, and compare them.

    python tools/demo.py            # a few minutes on two cores; writes into work_dirs/demo

The command prints a table and writes it as JSON and CSV. It also draws a figure (PNG, SVG) with mAP, and with the mean
confidence in positives and negatives (p_t of Eq. 9) on held-out scenes after every epoch. All losses have the same
number of epochs. Their settings were chosen on validation scenes, as a line below the table explains. The demo trains
with one seed; configs/digit_scenes/README.md has several.
"""

import argparse
import csv
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mmasl.errors import UserError, command, positive

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Demo:
    """The trainings and the outputs of a demo; ``demo_det.py`` and ``demo_photos.py`` define two more.

    Args:
        name: Name of the output folder.
        title: Title of the table.
        config: Path of the configs below ``configs/``, with ``{row}``.
        losses: Label of each loss, in the order of the tables.
        rows: Value of ``{row}`` for each loss.
        changes: Overrides for losses that differ from their config.
        caption: Sentence that says how the settings were chosen.
        train: Function that trains and evaluates one specification in its own process, and returns the columns.
        columns: Label of each result.
        logged: For each value of a curve, its metric in MMEngine's log and a factor.
        curves: Line style and label of each curve that is drawn.
        axis: Label of the curves' axis.
        items: Word for the samples.
        sizes: For each split, the largest number of samples and the key of its data loader that sets the number.
    """

    name: str
    title: str
    config: str
    losses: dict[str, str]
    rows: dict[str, str]
    changes: dict[str, dict]
    caption: str
    train: Callable[[dict], dict]
    columns: dict[str, str]
    logged: dict[str, tuple[str, float]]
    curves: dict[str, tuple[str, str]]
    axis: str
    items: str
    sizes: dict[str, tuple[int, str]]


def train(spec: dict) -> dict[str, float]:
    """Run one of the trainings in its own process."""
    from studies.experiment import train_and_test

    metrics = train_and_test(spec['config'], spec['overrides'], spec['seed'], work_dir=spec['work_dir'])
    metrics['p_pos'], metrics['p_neg'] = metrics['pt_pos'], 1 - metrics['pt_neg']
    return {key: round(metrics[key], 4) for key in CLASSIFICATION.columns}


CLASSIFICATION = Demo(
    name='demo',
    title='DigitScenes, unseen handwriting',
    config='digit_scenes/digitnet-{row}_ft-1xb16_digitscenes-48px.py',
    losses={'ce': 'cross-entropy', 'fl': 'focal loss', 'asl': 'ASL', 'asl-ad': 'ASL, adaptive'},
    rows={'ce': 'ce', 'fl': 'fl', 'asl': 'pm', 'asl-ad': 'asl-ad'},  # pm is the best of the stored trials of ASL
    changes={'asl-ad': {'model.head.loss': dict(_delete_=True, type='mmasl.AdaptiveAsymmetricLoss')}},
    caption='Settings are the best of stored trials on validation scenes: 5 learning rates for cross-entropy and for '
    'focal loss, 15 trials of ASL (γ₊, γ₋, m, learning rate), which chose γ₊=γ₋=2, m=0.4. Adaptive ASL has its '
    'defaults and the best rate of ASL with γ₊=0.',
    train=train,
    columns={
        'mAP': 'mAP %',
        'CF1': 'CF1 %',
        'OF1': 'OF1 %',
        'p_pos': 'mean p, pos.',
        'p_neg': 'mean p, neg.',
        'delta_p': 'Δp',
    },
    logged={name: (f'multi-label/{name}', 1.0) for name in ('mAP', 'pt_pos', 'pt_neg')},
    curves={'pt_pos': ('-', 'positives'), 'pt_neg': ('--', 'negatives')},
    axis='mean $p_t$ on held-out scenes',
    items='scenes',
    sizes={split: (most, 'dataset.num_scenes') for split, most in dict(train=4000, val=500, test=4000).items()},
)


def make_specs(demo: Demo, out: Path, epochs: int | None, samples: int, seed: int) -> dict[str, dict]:
    """Return the specification of each training; with ``epochs=None`` it has as many as the config."""
    overrides = {f'{split}_dataloader.{key}': min(samples, most) for split, (most, key) in demo.sizes.items()}
    overrides['train_cfg.val_interval'] = 1
    if epochs is not None:
        overrides['train_cfg.max_epochs'] = epochs
    return {
        loss: dict(
            config=str(ROOT / 'configs' / demo.config.format(row=demo.rows[loss])),
            overrides=overrides | demo.changes.get(loss, {}),
            seed=seed,
            work_dir=str(out / loss),
        )
        for loss in demo.losses
    }


def read_log(demo: Demo, work_dir: Path) -> list[dict]:
    """Return the points of the curves that a training has logged so far, one per epoch."""
    from mmasl.analysis.report import read_scalars

    curve = []
    for entry in read_scalars(work_dir):
        if all(name in entry for name, _ in demo.logged.values()):
            point = {key: round(factor * entry[name], 4) for key, (name, factor) in demo.logged.items()}
            curve.append(dict(epoch=entry['step'], **point))
    return curve


def watch(demo: Demo, out: Path, epochs: int, done: threading.Event, console: Console) -> None:
    """Show the progress of each training until ``done``, by bars on a terminal or by a line every 20 seconds."""
    start = time.monotonic()
    if not console.is_terminal:
        while not done.wait(20):
            state = ', '.join(
                f'{label} {len(read_log(demo, out / loss))}/{epochs}' for loss, label in demo.losses.items()
            )
            print(f'{time.monotonic() - start:4.0f} s, epochs: {state}', flush=True)
        return
    columns = TextColumn('{task.description:>14}'), BarColumn(), TextColumn('{task.fields[note]}'), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        tasks = {loss: progress.add_task(label, total=epochs, note='') for loss, label in demo.losses.items()}
        while True:
            last = done.wait(1)
            for loss, task in tasks.items():
                curve = read_log(demo, out / loss)
                note = f'epoch {len(curve)}/{epochs}, held-out mAP {curve[-1]["mAP"]:.1f}' if curve else 'not started'
                progress.update(task, completed=len(curve), note=note)
            if last:
                return


def draw(demo: Demo, results: dict[str, dict], path: Path) -> None:
    """Draw bars of mAP and the curves of the training as ``path``.png and ``path``.svg."""
    from mmasl.analysis.report import pyplot, save_figure

    figure, (left, right) = pyplot().subplots(1, 2, figsize=(9, 3.6), width_ratios=(1, 2))
    for number, (loss, result) in enumerate(results.items()):
        colour = f'C{number}'
        bar = left.bar(demo.losses[loss], result['mAP'], color=colour)
        left.bar_label(bar, fmt='%.1f')
        epochs = [point['epoch'] for point in result['curve']]
        for key, (style, name) in demo.curves.items():
            values = [point[key] for point in result['curve']]
            right.plot(epochs, values, style, color=colour, label=f'{demo.losses[loss]}, {name}')
    left.set_ylabel(f'mAP on test {demo.items}, %')
    left.tick_params(axis='x', labelsize=7, rotation=15)
    left.margins(y=0.1)
    right.set_xlabel('epoch')
    right.set_ylabel(demo.axis)
    right.legend(fontsize=7, ncols=len(demo.losses), loc='lower right')
    right.grid(alpha=0.3)
    caption = textwrap.fill(demo.caption, 150)
    figure.text(0.01, 0.01, caption, fontsize=7)
    figure.tight_layout(rect=(0, 0.04 * (caption.count('\n') + 1), 1, 1))
    save_figure(figure, path)


def write(demo: Demo, results: dict[str, dict], out: Path) -> None:
    """Write ``demo.json`` (with the curves), ``demo.csv`` and the figure."""
    from mmasl.files import write_json

    write_json(out / 'demo.json', results)
    with open(out / 'demo.csv', 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['loss', *demo.columns, 'seconds'])
        for loss, result in results.items():
            writer.writerow([demo.losses[loss], *(result[key] for key in demo.columns), result['seconds']])
    draw(demo, results, out / 'demo')


def table(demo: Demo, results: dict[str, dict]) -> Table:
    """Return the table that is printed."""
    table = Table(title=demo.title)
    table.add_column('loss', no_wrap=True)
    for label in [*demo.columns.values(), 'seconds']:
        table.add_column(label, justify='right')
    for loss, result in results.items():
        cells = [f'{result[key]:.{1 if "%" in label else 3}f}' for key, label in demo.columns.items()]
        table.add_row(demo.losses[loss], *cells, f'{result["seconds"]:.0f}')
    return table


def make_parser(demo: Demo, description: str, epochs: int | None = None) -> argparse.ArgumentParser:
    """Return a parser with the arguments that the demos share; with ``epochs=None`` the config has the default."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    out = ROOT / 'work_dirs' / demo.name
    parser.add_argument('--out', type=Path, default=out, help='folder of the results, whose old results are removed')
    what = f'length of each training (default: {epochs or "that of the config"})'
    parser.add_argument('--epochs', type=positive, default=epochs, help=what)
    most = demo.sizes['train'][0]
    what = f'number of training {demo.items} (default: {most})'
    parser.add_argument(f'--{demo.items}', dest='samples', type=positive, default=most, help=what)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=positive, default=2, help='number of single-thread trainings at a time')
    return parser


def run(demo: Demo, specs: dict[str, dict], args: argparse.Namespace) -> None:
    """Train, show progress, print the table and write it.

    Raises:
        UserError: If a training has failed.
    """
    from mmengine import Config
    from studies.grid import run_cells

    console, samples = Console(), min(args.samples, demo.sizes['train'][0])
    epochs = args.epochs or Config.fromfile(next(iter(specs.values()))['config']).train_cfg.max_epochs
    for loss in demo.losses:
        shutil.rmtree(args.out / loss, ignore_errors=True)
    shutil.rmtree(args.out / 'cells', ignore_errors=True)
    print(
        f'Training with {", ".join(demo.losses.values())}: {samples} {demo.items} and {epochs} epochs each, '
        f'{args.workers} at a time with one thread each'
    )
    done, results = threading.Event(), {}
    watcher = threading.Thread(target=watch, args=(demo, args.out, epochs, done, console), daemon=True)
    watcher.start()
    try:
        cells = run_cells(specs, args.out / 'cells', demo.train, args.workers, log=args.out / 'trainings.log')
        for loss, cell in cells:
            results[loss] = cell
    finally:
        done.set()
        watcher.join()
    failed = [
        f'{demo.losses[loss]} failed: {type(cell).__name__}: {cell}'
        for loss, cell in results.items()
        if isinstance(cell, BaseException)
    ]
    if failed:
        raise UserError(f'{"; ".join(failed)}; the log of the trainings is {args.out / "trainings.log"}')
    results = {
        loss: {**results[loss]['result'], 'seconds': results[loss]['seconds'], 'curve': read_log(demo, args.out / loss)}
        for loss in demo.losses
    }
    write(demo, results, args.out)
    console.print(table(demo, results))
    print(demo.caption)
    print(f'wrote demo.json, demo.csv, demo.png and demo.svg in {args.out}')


@command
def main(argv=None) -> None:
    args = make_parser(CLASSIFICATION, __doc__).parse_args(argv)
    specs = make_specs(CLASSIFICATION, args.out, args.epochs, args.samples, args.seed)
    run(CLASSIFICATION, specs, args)


if __name__ == '__main__':
    sys.exit(main())
