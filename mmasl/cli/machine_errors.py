"""Which exceptions are the machine's or the data's fault: they, too, become one line that says how to go on."""

import errno
import os
import re

from mmengine.config import Config

from mmasl.cli import checkpoints


def explain(error: Exception, cfg: Config) -> str | None:
    """Return one line about what broke ``error``'s run, or None where it is something else."""
    return explain_disk(error, cfg) or explain_worker(error, cfg) or explain_picture(error)


def explain_disk(error: Exception, cfg: Config) -> str | None:
    """A file that cannot be written, or not to its end."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f'{error.filename or cfg.work_dir} cannot be written: {error.strerror}; make room{go_on(cfg)}'
    return None


def explain_worker(error: Exception, cfg: Config) -> str | None:
    """A process of the data loader that is gone; torch's message has its number and the signal."""
    text = f'{error.__cause__} {error}'  # the cause names the signal
    died = re.search(r'DataLoader worker \(pid.*?\d\) (is killed by signal: \w+|exited unexpectedly)', text)
    if isinstance(error, RuntimeError) and died:
        hint = 'Memory is what runs out most often: fewer num_workers, smaller batches, or no cache in the data set'
        return f'{died[0]}. {hint}{go_on(cfg)}'
    return None


def explain_picture(error: Exception) -> str | None:
    """A picture that cannot be decoded; a worker's exception has the message at the end of a traceback's text."""
    if 'buf.empty()' in str(error):  # OpenCV knows no name
        return 'a picture file is empty: `find DIR -size 0` names it; replace it, or take it out of the annotations'
    found = re.findall(r"(?:failed to load image: |cannot identify image file ')([^'\n]+)", str(error))
    if not found:
        return None
    path = found[-1].strip()
    size = f' (is it whole? it has {os.path.getsize(path):,} bytes)' if os.path.isfile(path) else ''
    return f'the picture {path} cannot be decoded{size}: replace it, or take it out of the annotations'


def go_on(cfg: Config) -> str:
    """Return how to continue a training that has a checkpoint."""
    last = checkpoints.latest(cfg.work_dir) if cfg.get('work_dir') else None
    return f', then go on from {last} with --resume' if last else ''
