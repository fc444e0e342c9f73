"""Identifies the sources of a compiled library. It needs only the standard library, because setup.py runs it."""

import hashlib
from pathlib import Path


def digest(folder: Path) -> str:
    """Return a hash of the C++ sources of the op in ``folder`` and of the headers that it shares with other ops.

    Example:
        >>> len(digest(Path(__file__).parent / 'asymmetric_loss'))
        16
    """
    paths = sorted([*folder.glob('*.cpp'), *folder.glob('*.h'), *folder.parent.glob('*.h')])
    return hashlib.sha256(b''.join(path.read_bytes() for path in paths)).hexdigest()[:16]
