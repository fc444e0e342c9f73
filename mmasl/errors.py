"""A user's mistakes: one line on stderr instead of a traceback."""

import argparse
import difflib
import functools
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """Something that the user wrote is wrong; the message says what, where, and what to write instead."""

    def __init__(self, message: str):
        super().__init__(' '.join(message.split()))


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the entry of ``known`` that ``name`` was most probably meant to be."""
    # A plain list, not lower-cased keys alone: two names may differ by case only.
    by_lower = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ``"; did you mean 'x'?"``, or nothing where no entry of ``known`` is near ``name``."""
    near = closest(name, known, cutoff)
    return f"; did you mean '{near}'?" if near else ''


def positive(text: str) -> int:
    """Return ``text`` as an integer above 0: the ``type`` of a command's argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected an integer above 0, got {text}')
    return int(text)


def command(main: Callable[..., None]) -> Callable[..., int]:
    """Turn ``main(argv)`` into a command: it returns the exit status, and a ``UserError`` is one line on stderr."""

    @functools.wraps(main)
    def run(argv: list[str] | None = None) -> int:
        try:
            main(argv)
        except UserError as error:
            print(f'error: {error}', file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print('interrupted', file=sys.stderr)
            return 130
        return 0

    return run
