"""The command of a ladder, which compares the losses of a folder of configs over several seeds.

A study says what is compared (``digit_scenes_ladder.py``, ``photos_ladder.py``, ...). Its script has these stages:

    tune     # tries learning rates on the validation split
    refine   # tries the losses' own parameters at the best learning rate, if the study has any
    grid     # trains all cells and evaluates them on the test split
    report   # gathers the finished cells in the study's file of results, and writes the tables and the figure

A cell trains one config through MMEngine's runner in one thread and evaluates the last epoch. Each finished cell is
kept as a JSON file, so a stopped command continues where it was stopped. On another machine it continues from the
gathered results. Losses are compared at equal seeds.
"""

import argparse
from functools import partial

import report
from grid import run_grid
from ladder_cells import Study, grid, refining, run_cell, tuning
from ladder_report import write_report

from mmasl.cli.flags import CfgOptions, Parser


def main(study: Study, description: str, argv=None) -> int:
    """Run the command of a study and return its exit status."""
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = dict(tune=tuning, refine=refining, grid=grid) if study.refined else dict(tune=tuning, grid=grid)
    parser.add_argument('stage', nargs='+', choices=[*stages, 'report'])
    parser.add_argument('--regime', nargs='+', choices=study.regimes, default=list(study.regimes))
    parser.add_argument('--losses', nargs='+', choices=study.losses, default=list(study.losses))
    parser.add_argument('--missing', nargs='+', type=float, help=f'shares of missing {study.item}')
    parser.add_argument('--seeds', type=int, default=5, help='number of seeds')
    parser.add_argument('--rates', nargs='+', type=float, default=study.rates, help='learning rates to try')
    parser.add_argument('--epochs', type=int, help="tune: length to try (default: the config's)")
    parser.add_argument('--criterion', nargs='+', action=CfgOptions, default={}, help='tune: alpha=0.6 or the like')
    parser.add_argument(
        '--data-root', nargs='+', action=CfgOptions, default={}, metavar='REGIME=FOLDER', help='where the data are'
    )
    report.add_paths(parser, study.name, study.folder / 'README.md')
    args = parser.parse_args(argv)

    def describe(result):
        return f'{study.measure} {result[study.measure]:.2f}'

    failures = 0
    for stage in args.stage:
        if stage == 'report':
            write_report(study, args)
        else:
            cells = stages[stage](study, args)
            failures += run_grid(cells, args, partial(run_cell, study, args.data_root), describe)
    return 1 if failures else 0
