"""Errors of the user, which tools print as one line; other exceptions keep their traceback, some with a hint."""

import argparse
import difflib
import functools
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence

# (exception, pattern in its text, hint). The hint is one line after the traceback of an exception that no check found.
HINTS = (
    (
        OSError,
        'No space left on device|Disk quota exceeded|File too large',
        'make room on the disk, then go on from the last checkpoint with --resume',
    ),
    (
        RuntimeError,
        r'DataLoader worker \(pid',
        'memory is what runs out most often: try fewer num_workers, smaller batches, or no cache in the data set, '
        'then go on with --resume',
    ),
    (
        RuntimeError,
        'out of memory',
        'try a smaller train_dataloader.batch_size, or --amp; --auto-scale-lr adapts the learning rate',
    ),
    (
        Exception,
        r"(?:failed to load image: |cannot identify image file ')([^'\n]+)",
        'the picture {} cannot be decoded: replace it, or take it out of the annotations',
    ),
    (
        Exception,  # OpenCV raises it for an empty file without naming the file
        r'buf\.empty\(\)',
        'a picture file is empty: `find DIR -size 0` names it; replace it, or take it out of the annotations',
    ),
    (
        TypeError,
        r"unexpected keyword argument '(\w+)'",
        "if '{}' comes from a dict that the config inherits, write _delete_=True in the dict that replaces it",
    ),
    (
        ValueError,
        'need at least one array to concatenate',
        'a data set of the config has no picture left: its annotation file, its classes or its filter_cfg leave none',
    ),
    (
        KeyError,
        r'(\S+) is not in the \S+ registry',
        "check the spelling of '{}' and its prefix (mmasl.), or import its file by custom_imports",
    ),
    (
        (ImportError, AssertionError),
        '(?i)mmcv|mmdet|mmpretrain|mmengine|pkg_resources',
        'python -m mmasl.check_env says which package is missing or does not fit, and what to do',
    ),
)


class UserError(Exception):
    """Raised for a mistake of the user; the message says what is wrong, where it is, and what to write instead."""

    def __init__(self, message: str):
        super().__init__(' '.join(message.split()))


class DataError(UserError, ValueError):
    """Raised for a wrong file of a data set; the message names the file and the entry."""


class MissingFileError(UserError, FileNotFoundError):
    """Raised for a file of a data set that does not exist."""


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the entry of ``known`` that is closest to ``name``, or None if none is close."""
    by_lower = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ``"; did you mean 'x'?"``, or an empty string if no entry of ``known`` is close to ``name``."""
    near = closest(name, known, cutoff)
    return f"; did you mean '{near}'?" if near else ''


def first_names(names: Sequence, number: int = 5) -> str:
    """Return the first few ``names``.

    Example:
        >>> first_names(('cat', 'dog', 'cow'), 2)
        'cat, dog, ...'
    """
    return ', '.join(map(str, names[:number])) + (', ...' if len(names) > number else '')


def positive(text: str) -> int:
    """Return ``text`` as an integer above 0; the function serves as the ``type`` of a command's argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected an integer above 0, got {text}')
    return int(text)


def hint_for(error: BaseException) -> str | None:
    """Return the hint of ``HINTS`` for ``error``, or None if there is none.

    Example:
        >>> hint_for(OSError(28, 'No space left on device'))
        'make room on the disk, then go on from the last checkpoint with --resume'
    """
    for kind, pattern, hint in HINTS:
        # The text of a worker's exception contains the worker's traceback, with the message at its end.
        found = list(re.finditer(pattern, str(error))) if isinstance(error, kind) else []
        if found:
            return hint.format(*(group.strip() for group in found[-1].groups()))
    return None


def command(main: Callable[..., None]) -> Callable[..., int]:
    """Turn ``main(argv)`` into a command that returns the exit status.

    A ``UserError`` becomes one line on stderr. Any other exception keeps its traceback, followed by the hint if
    ``HINTS`` has one.
    """

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
        except Exception as error:
            hint = hint_for(error)
            if hint is None:
                raise
            traceback.print_exc()
            print(f'hint: {hint}', file=sys.stderr)
            return 1
        return 0

    return run
