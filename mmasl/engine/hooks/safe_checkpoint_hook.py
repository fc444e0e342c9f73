"""MMEngine's checkpoint hook for machines that are switched off and disks that are full."""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmasl.errors import UserError
from mmasl.files import atomic_file
from mmasl.registry import HOOKS


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """Keeps a complete checkpoint on the disk at every moment; ``last_checkpoint`` names it.

    MMEngine removes the checkpoints beyond ``max_keep_ckpts`` and ``save_best`` *before* it writes the new one, and it
    writes the new one in place. A process that is killed then leaves half a file or none. This hook writes a new file
    beside the old ones and renames it (:class:`AtomicLocalBackend`). It removes old files after the new one is
    complete.

    ``tools/train.py`` replaces ``CheckpointHook`` by this hook; the arguments are the same.

    Raises:
        UserError: After the first validation, if ``save_best`` is not one of its metrics.

    Example:
        >>> from mmengine.registry import HOOKS
        >>> HOOKS.build(dict(type='mmasl.SafeCheckpointHook', interval=1, max_keep_ckpts=1))
        <mmasl.engine.hooks.safe_checkpoint_hook.SafeCheckpointHook object at ...>
    """

    def before_train(self, runner: Runner) -> None:
        # From now on, MMEngine writes all local files of this process in this way.
        register_backend('local', AtomicLocalBackend, prefixes='', force=True)
        super().before_train(runner)
        self.file_backend = LateRemoval(self.file_backend)

    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        self._remove_old()

    def _save_best_checkpoint(self, runner, metrics) -> None:
        unknown = [key for key in getattr(self, 'key_indicators', ()) if key not in metrics and key != 'auto']
        if metrics and unknown:
            raise UserError(
                f"default_hooks.checkpoint.save_best: '{unknown[0]}' is none of the metrics {', '.join(metrics)}"
            )
        super()._save_best_checkpoint(runner, metrics)
        self._remove_old()

    def _remove_old(self) -> None:
        best = getattr(self, 'best_ckpt_path_dict', None) or {'': getattr(self, 'best_ckpt_path', None)}
        self.file_backend.remove_now(wanted={self.last_ckpt, *best.values()})


class AtomicLocalBackend(LocalBackend):
    """Writes local files so that a killed process or a full disk leaves the old file as it was.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), 'a.txt')
        >>> AtomicLocalBackend().put_text('complete', file)
        >>> file.read_text(), len(list(file.parent.iterdir()))
        ('complete', 1)
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        with atomic_file(filepath) as part:
            super().put(obj, part)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        with atomic_file(filepath) as part:
            super().put_text(obj, part, encoding)


class LateRemoval:
    """A file backend that postpones all removals until ``remove_now`` is called."""

    def __init__(self, backend) -> None:
        self._backend, self._unwanted = backend, []

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._unwanted.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self._unwanted.append((self._backend.rmtree, path))

    def remove_now(self, wanted: set) -> None:
        for remove, path in self._unwanted:
            if path not in wanted:
                remove(path)
        self._unwanted.clear()
