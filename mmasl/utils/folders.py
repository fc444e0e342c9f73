"""Folders that are there completely or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``out`` at the end of the block, unless the block raises.

    Args:
        out: Folder that may exist: it is replaced then, with all that is in it. Its parents are made.

    Example:
        >>> out = Path(tempfile.mkdtemp()) / 'deep' / 'out'
        >>> with whole_folder(out) as folder:
        ...     _ = (folder / 'a.txt').write_text('a')
        ...     out.exists()
        False
        >>> [path.name for path in out.iterdir()]
        ['a.txt']
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f'.{out.name}.', dir=out.parent))
    try:
        partial.chmod(0o755)
        yield partial
        if out.exists():
            shutil.rmtree(out)
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
