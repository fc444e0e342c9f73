"""Atomic writing of files and folders: a result is either complete or absent."""

import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: str | Path) -> Iterator[str]:
    """Yield the name of a temporary file, which replaces ``path`` when the block succeeds.

    If the process is killed or the disk is full, the old file stays unchanged.

    Args:
        path: The file, which may exist. Its folder is created if necessary.

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
            os.fsync(file.fileno())  # otherwise the rename may reach the disk before the content
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder, which replaces ``path`` when the block succeeds.

    Args:
        path: The folder. If it exists, it is replaced with all its content. Its parents are created if necessary.

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
        path: The file. Its folder is created if necessary.
        content: Anything that JSON can represent.

    Raises:
        TypeError: If JSON cannot represent ``content``. No file is written then.
    """
    text = json.dumps(content, indent=1) + '\n'
    with atomic_file(path) as part:
        Path(part).write_text(text, encoding='utf-8')


def cpu_name() -> str:
    """Return the name of this machine's processor, which stands in files of results."""
    info = Path('/proc/cpuinfo')
    names = re.findall(r'^model name\s*:\s*(.*)', info.read_text(), re.M) if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()
