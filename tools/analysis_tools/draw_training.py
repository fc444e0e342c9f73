"""Draw the logs of trainings: the mean probabilities (Fig. 4), or the adapted asymmetry and the gap (Fig. 9).

    python tools/analysis_tools/draw_training.py fig4 work_dirs/ce work_dirs/fl work_dirs/asl
    python tools/analysis_tools/draw_training.py fig9 work_dirs/target0 work_dirs/target0.1 --labels 0 0.1

The command reads the JSON logs of work directories, and writes a .png, a .svg and a .csv into ``--out``. Fig. 4 needs
the log of mmasl.ProbabilityGapHook, which works with any loss; ``--cfg-options
default_hooks.gap.type=mmasl.ProbabilityGapHook`` adds it to a training. Fig. 9 needs the log of mmasl.AsymmetryHook,
which works with mmasl.AdaptiveAsymmetricLoss.
"""

import argparse
import sys
from pathlib import Path

from mmasl.cli.flags import Parser
from mmasl.errors import UserError, command, positive

FIGURES = {
    'fig4': dict(keys=('pt_pos', 'pt_neg', 'delta_p'), hook='mmasl.ProbabilityGapHook'),
    'fig9': dict(keys=('gamma_neg', 'delta_p'), hook='mmasl.AsymmetryHook'),
}


def parse_args(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('figure', choices=FIGURES)
    parser.add_argument('logs', type=Path, nargs='+', help='work directories or scalars.json files')
    parser.add_argument('--labels', nargs='+', help='a name for each log (default: the names of the folders)')
    parser.add_argument(
        '--smooth', type=positive, default=1, metavar='N', help='draw the mean of the last N logged values (default: 1)'
    )
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/analysis'), help='folder of the figure (default: %(default)s)'
    )
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

import csv

from mmasl.analysis.report import pyplot, read_scalars, save_figure

SYMBOLS = dict(pt_pos='$p_t^+$', pt_neg='$p_t^-$', delta_p=r'$\Delta p$', gamma_neg=r'$\gamma_-$')


def read_log(path: Path, figure: str) -> dict[int, list[float]]:
    """Return the figure's values of each logged iteration, from one JSON log or from all runs in a work directory.

    Raises:
        UserError: If there is no log, or if it lacks the figure's values.
    """
    keys, hook = FIGURES[figure]['keys'], FIGURES[figure]['hook']
    entries = list(read_scalars(path))
    if not entries:
        raise UserError(f'{path}: expected a work directory with a JSON log (<time>/vis_data/scalars.json)')
    # The values of a resumed run replace those of the earlier run for the same iteration.
    curve = {entry['step']: [entry[key] for key in keys] for entry in entries if all(key in entry for key in keys)}
    if not curve:
        raise UserError(
            f'{path}: the log has no {", ".join(keys)}; train with --cfg-options default_hooks.gap.type={hook}'
        )
    return dict(sorted(curve.items()))


def smooth(values: list[float], window: int) -> list[float]:
    """Return for each value the mean of the last ``window`` values up to it.

    Example:
        >>> smooth([0.0, 2.0, 4.0], 2)
        [0.0, 1.0, 3.0]
    """
    return [sum(part) / len(part) for i in range(len(values)) if (part := values[max(0, i + 1 - window) : i + 1])]


def draw_fig4(curves: dict[str, dict], window: int):
    """Draw a panel per training with the confidence in positives and in negatives."""
    figure, panels = pyplot().subplots(1, len(curves), figsize=(0.6 + 2.8 * len(curves), 3), sharey=True, squeeze=False)
    for panel, (label, curve) in zip(panels[0], curves.items(), strict=True):
        for number, key in enumerate(('pt_pos', 'pt_neg')):
            panel.plot(list(curve), smooth([values[number] for values in curve.values()], window), label=SYMBOLS[key])
        last = smooth([values[2] for values in curve.values()], window)[-1]
        panel.set(xlabel='iteration', title=f'{label}\n{SYMBOLS["delta_p"]} = {last:.2f} at the end', ylim=(0, 1))
        panel.title.set_fontsize(9)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel('mean probability of the right answer')
    panels[0][0].legend()
    return figure


def draw_fig9(curves: dict[str, dict], window: int):
    """Draw the asymmetry on the left and the gap on the right, with one line per training."""
    figure, panels = pyplot().subplots(1, 2, figsize=(7.6, 3))
    for number, (panel, key) in enumerate(zip(panels, ('gamma_neg', 'delta_p'), strict=True)):
        for label, curve in curves.items():
            panel.plot(list(curve), smooth([values[number] for values in curve.values()], window), label=label)
        panel.set(xlabel='iteration', ylabel=SYMBOLS[key])
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    return figure


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    labels = args.labels or [path.name for path in args.logs]
    if len(set(labels)) != len(args.logs):
        raise UserError(f'--labels: expected {len(args.logs)} different names, got {", ".join(labels)}')
    curves = {label: read_log(path, args.figure) for label, path in zip(labels, args.logs, strict=True)}
    drawing = (draw_fig4 if args.figure == 'fig4' else draw_fig9)(curves, args.smooth)
    drawing.tight_layout()
    save_figure(drawing, args.out / args.figure)
    with open(args.out / f'{args.figure}.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['training', 'iteration', *FIGURES[args.figure]['keys']])
        writer.writerows([label, step, *values] for label, curve in curves.items() for step, values in curve.items())
    print(f'{args.figure} is in {args.out}')


if __name__ == '__main__':
    sys.exit(main())
