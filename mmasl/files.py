"""Files and folders that are complete or absent: the project's one way to write results."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: str | Path) -> Iterator[str]:
    """Yield the name of a file to write instead of ``path``; it takes the place of ``path`` when the block succeeds.

    A process that is killed, or a full disk, leaves the old file as it was.

    Args:
        path: The file, which may exist. Its folder is made.

    Example:
        >>> out = Path(tempfile.mkdtemp(), 'deep', 'a.txt')
        >>> with atomic_file(out) as part:
        ...     _ = Path(part).write_text('a')
        ...     out.exists()
        False
        >>> [path.name for path in out.parent.iterdir()]
        ['a.txt']
    """
    part = f'{path}.part'
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        with open(part, 'rb') as file:
            os.fsync(file.fileno())  # or the rename may reach the disk before the content does
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder; it takes the place of ``path`` when the block succeeds.

    Args:
        path: The folder, which may exist: it is then replaced with all its content. Its parents are made.

    Example:
        >>> out = Path(tempfile.mkdtemp()) / 'deep' / 'out'
        >>> with atomic_folder(out) as folder:
        ...     _ = (folder / 'a.txt').write_text('a')
        ...     out.exists()
        False
        >>> [path.name for path in out.iterdir()]
        ['a.txt']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f'.{path.name}.', dir=path.parent))
    try:
        partial.chmod(0o755)
        yield partial
        if path.exists():
            shutil.rmtree(path)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: str | Path, content) -> None:
    """Write ``content`` as indented JSON to ``path`` through :func:`atomic_file`.

    Args:
        path: The file; its folder is made.
        content: Anything that JSON can hold.

    Raises:
        TypeError: If JSON cannot hold ``content``; no file is written then.
    """
    text = json.dumps(content, indent=1) + '\n'
    with atomic_file(path) as part:
        Path(part).write_text(text, encoding='utf-8')
