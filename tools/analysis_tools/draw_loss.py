"""Draw the loss (Fig. 2) and the normalised gradient (Fig. 3) of a negative over its probability; print Table 1.

    python tools/analysis_tools/draw_loss.py                                    # the paper's curves
    python tools/analysis_tools/draw_loss.py --curves 4,0.05 0,0.4              # gamma_neg,clip of others

The command writes ``fig2`` and ``fig3`` as .png, .svg and .csv into ``--out``. The dots in Fig. 3 show p*, the
probability beyond which the gradient falls.
"""

import argparse
import sys
from pathlib import Path

from mmasl.cli.flags import Parser
from mmasl.errors import UserError, command


def parse_args(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--curves', nargs='+', metavar='GAMMA,M', help="curves to draw instead of the paper's")
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/analysis'), help='folder of the figures (default: %(default)s)'
    )
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

import csv

import torch

from mmasl.analysis import TABLE_1, gradient_properties, negative_loss, normalised_gradient, p_star
from mmasl.analysis.report import pyplot, save_figure, table

FIGURE_2 = {
    'cross-entropy': dict(gamma_neg=0.0, clip=0.0),
    'focal loss, γ=2': dict(gamma_neg=2.0, clip=0.0),
    'shifted focal loss, γ₋=2, m=0.2': dict(gamma_neg=2.0, clip=0.2),
}
FIGURE_3 = {f'{name}: γ₋={row["gamma_neg"]:g}, m={row["clip"]:g}': row for name, row in TABLE_1.items()}
HEAD = ['loss', 'hard threshold', 'soft threshold', 'discards mislabelled', 'continuous gradient', 'p*']


def parse_curves(texts: list[str]) -> dict[str, dict]:
    """Return the constants of each of ``--curves`` by its label."""
    curves = {}
    for text in texts:
        try:
            gamma, clip = (float(part) for part in text.split(','))
            gradient_properties(gamma, clip)  # checks their ranges
        except ValueError as error:
            raise UserError(f'--curves {text}: expected gamma_neg,clip such as 4,0.05: {error}') from error
        curves[f'γ₋={gamma:g}, m={clip:g}'] = dict(gamma_neg=gamma, clip=clip)
    return curves


def draw(path: Path, function, curves: dict[str, dict], ylabel: str, top: float, marks: bool = False) -> None:
    """Draw ``function`` of p for each of ``curves`` as ``path``.png and .svg, and write its values as ``path``.csv."""
    p = torch.linspace(0, 1, 1001, dtype=torch.float64)
    values = {name: function(p, **constants) for name, constants in curves.items()}
    figure, panel = pyplot().subplots(figsize=(5, 3.6))
    for name, constants in curves.items():
        (line,) = panel.plot(p, values[name], label=name)
        maximum = p_star(**constants) if marks else None
        if maximum is not None:
            panel.plot(maximum, function(maximum, **constants), 'o', color=line.get_color(), markersize=5)
    panel.set(xlabel='probability p of a negative', ylabel=ylabel, xlim=(0, 1), ylim=(0, top))
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    figure.tight_layout()
    save_figure(figure, path)
    with open(f'{path}.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['p', *values])
        writer.writerows(torch.stack([p, *values.values()], 1).tolist())


def properties(curves: dict[str, dict]) -> str:
    """Return Table 1 for these losses, with p* in a further column."""
    rows = []
    for name, constants in curves.items():
        maximum = p_star(**constants)
        marks = ['+' if value else '-' for value in gradient_properties(**constants)]
        rows.append([name, *marks, '-' if maximum is None else f'{maximum:.4f}'])
    return table(HEAD, rows)


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    own = parse_curves(args.curves or [])
    draw(args.out / 'fig2', negative_loss, own or FIGURE_2, 'loss', 3)
    draw(args.out / 'fig3', normalised_gradient, own or FIGURE_3, 'gradient / its maximum', 1.05, marks=True)
    print(f'{properties(own or FIGURE_3)}\n\nfig2 and fig3 are in {args.out}')


if __name__ == '__main__':
    sys.exit(main())
