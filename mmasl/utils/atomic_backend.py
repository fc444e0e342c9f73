"""Local files that are there whole or not at all, for everything that MMEngine writes through its file backends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


class AtomicLocalBackend(LocalBackend):
    """Writes beside the file and renames, so that a killed process or a full disk leaves the old file as it was.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), 'a.txt')
        >>> AtomicLocalBackend().put_text('whole', file)
        >>> file.read_text(), len(list(file.parent.iterdir()))
        ('whole', 1)
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        with beside(filepath) as part:
            super().put(obj, part)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        with beside(filepath) as part:
            super().put_text(obj, part, encoding)


@contextmanager
def beside(path: str | Path) -> Iterator[str]:
    """Give the name of a file to write instead of ``path``, which takes its place when all went well."""
    part = f'{path}.part'
    try:
        yield part
        with open(part, 'rb') as file:
            os.fsync(file.fileno())  # or the rename may reach the disk before the content does
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def write_atomically() -> None:
    """Make MMEngine write local files in this way from now on, in this process."""
    register_backend('local', AtomicLocalBackend, prefixes='', force=True)
