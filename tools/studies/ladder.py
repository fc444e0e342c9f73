"""Compare the losses of a folder of configs over several seeds.

    python tools/studies/ladder.py digit_scenes tune grid report
    python tools/studies/ladder.py photos tune refine grid --data-root voc07=data/VOCdevkit/VOC2007 coco14=data/coco

``ladder_studies.py`` defines the studies. Each has these stages:

    tune     # tries learning rates on the validation split
    refine   # tries the losses' own parameters at the best learning rate, if the study has any
    grid     # trains all cells and evaluates them on the test split
    report   # gathers the finished cells in the study's file of results, and writes the tables and the figure

``grid`` takes the best trial with its ``--rates``, ``--epochs`` and ``--criterion``, so give all stages the same.

A cell trains one config through MMEngine's runner in one thread and evaluates the last epoch. Each finished cell is
kept as a JSON file, so a stopped command continues where it was stopped. On another machine it continues from the
gathered results. Losses are compared at equal seeds. A seed changes the training data and what is missing in them,
their order, and the weights that are not loaded; the evaluated data are the same for all cells.
"""

import argparse
import sys
from functools import partial

import report
from grid import check_failures, run_grid
from ladder_cells import Study, grid, refining, run_cell, tuning
from ladder_report import write_report
from ladder_studies import STUDIES

from mmasl.cli.flags import CfgOptions, Parser
from mmasl.errors import UserError, command, positive


def add_arguments(parser: Parser, study: Study) -> None:
    """Add the arguments of the command of a study."""
    stages = dict(tune=tuning, refine=refining, grid=grid) if study.refined else dict(tune=tuning, grid=grid)
    parser.set_defaults(stages=stages)
    parser.add_argument('stage', nargs='+', choices=[*stages, 'report'])
    parser.add_argument('--regime', nargs='+', choices=study.regimes, default=list(study.regimes))
    parser.add_argument('--losses', nargs='+', choices=study.losses, default=list(study.losses))
    parser.add_argument('--missing', nargs='+', type=float, help=f'shares of missing {study.item}')
    parser.add_argument('--seeds', type=positive, default=3, help='number of seeds')
    parser.add_argument('--rates', nargs='+', type=float, default=study.rates, help='learning rates of the trials')
    parser.add_argument('--epochs', type=positive, help="length of the trials (default: the config's)")
    parser.add_argument('--criterion', nargs='+', action=CfgOptions, default={}, help='trials: alpha=0.6 or the like')
    parser.add_argument(
        '--data-root', nargs='+', action=CfgOptions, default={}, metavar='REGIME=FOLDER', help='where the data are'
    )
    report.add_paths(parser, study.name, study.folder / 'README.md')


@command
def main(argv=None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    titles = '; '.join(f'{study.name}: {study.title}' for study in STUDIES.values())
    parser.add_argument('study', choices=STUDIES, help=titles)
    study, failures = STUDIES[parser.parse_args(argv[:1]).study], 0  # the other arguments depend on it
    add_arguments(parser, study)
    args = parser.parse_args(argv)
    unknown = args.data_root.keys() - (study.regimes.keys() if study.data_roots else set())
    if unknown:
        raise UserError(f'--data-root: {study.name} reads no data of {min(unknown)}')

    def describe(result):
        return f'{study.measure} {result[study.measure]:.2f}'

    for stage in args.stage:
        if stage == 'report':
            write_report(study, args)
        else:
            cells = args.stages[stage](study, args)
            failures += run_grid(cells, args, partial(run_cell, study, args.data_root), describe)
    check_failures(failures, args)


if __name__ == '__main__':
    sys.exit(main())
