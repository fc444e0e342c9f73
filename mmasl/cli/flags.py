"""Parsers and argument types for the command lines of the tools. Importing them needs neither torch nor MMEngine.

A tool calls its ``parse_args`` before its slow imports, so it answers ``--help`` and mistakes at once.
"""

import argparse


class Parser(argparse.ArgumentParser):
    """An argument parser that prints errors as one line, and reads the values of :class:`CfgOptions`."""

    def error(self, message: str):
        self.exit(2, f'error: {message} ({self.prog} --help lists the arguments)\n')

    def parse_args(self, args=None, namespace=None):
        """Parse the arguments. MMEngine reads the options last, because importing it takes a third of a second."""
        parsed = super().parse_args(args, namespace)
        for action in self._actions:
            if isinstance(action, CfgOptions):
                action.read(self, parsed)
        return parsed


class CfgOptions(argparse.Action):
    """MMEngine's ``k=v`` action for a :class:`Parser`. It raises argparse's error for other values."""

    def __call__(self, parser, namespace, values, option_string=None):
        for value in values:
            if not value.partition('=')[0] or '=' not in value:
                raise argparse.ArgumentError(self, f"expected key=value, got '{value}'")
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or ()), *values])

    def read(self, parser: Parser, namespace: argparse.Namespace) -> None:
        """Replace the texts that were collected in ``namespace`` by a dict."""
        texts = getattr(namespace, self.dest)
        if not isinstance(texts, list):  # the default
            return
        from mmengine.config import DictAction

        setattr(namespace, self.dest, {})
        try:
            DictAction(self.option_strings, self.dest)(parser, namespace, texts)
        except AssertionError as error:  # unbalanced brackets
            parser.error(f'argument {self.option_strings[0]}: {error}')


def config_parser(description: str, **kwargs) -> Parser:
    """Return a parser with a config and ``--cfg-options``, whose values :func:`mmasl.cli.run.read_config` takes."""
    parser = Parser(description=description, **kwargs)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
        default={},
        metavar='KEY=VALUE',
        help='settings that replace those of the config: model.head.loss.gamma_neg=2 train_dataloader.batch_size=8; '
        'lists as key="[a,b]" or key=a,b; data_root=DIR moves all paths that the config makes from it',
    )
    return parser


def make_parser(description: str) -> Parser:
    """Return a parser with the arguments that ``tools/train.py`` and ``tools/test.py`` share."""
    parser = config_parser(description)
    parser.add_argument('--work-dir', help='folder for checkpoints and logs (./work_dirs/<name of the config>)')
    parser.add_argument('--no-pin-memory', action='store_true', help='set pin_memory=False in the data loaders')
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='who started this process'
    )
    # torch.distributed.launch passes one of the two, depending on the version of torch.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def as_thr(source: str) -> float | str:
    """Return the value of ``--thr`` as a number or as the name of a file of thresholds.

    Example:
        >>> as_thr('0.3'), as_thr('thresholds.json')
        (0.3, 'thresholds.json')
    """
    try:
        return float(source)
    except ValueError:
        return source


def usable_device(name: str) -> str:
    """Return ``name``, the value of ``--device``, or raise if torch cannot use this device."""
    import torch

    try:
        torch.empty(0, device=name)
    except (AssertionError, RuntimeError) as error:
        raise argparse.ArgumentTypeError(f"torch cannot use '{name}': {str(error).splitlines()[0]}") from error
    return name
