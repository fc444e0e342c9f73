"""MMEngine's checkpoint hook for machines that are switched off and disks that are full."""

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmasl.registry import HOOKS
from mmasl.utils.atomic_backend import write_atomically


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """Has at every moment a whole checkpoint on the disk, the one that ``last_checkpoint`` names.

    MMEngine removes the checkpoints that ``max_keep_ckpts`` and ``save_best`` no longer want *before* it writes the new
    one, and writes it in place: a process killed there leaves half a file, or none. Here files are written beside and
    renamed (:mod:`mmasl.utils.atomic_backend`), and old ones are removed when the new one is there.

    ``tools/train.py`` puts it in the place of ``CheckpointHook``; the arguments are the same.

    Example:
        >>> from mmengine.registry import HOOKS
        >>> HOOKS.build(dict(type='mmasl.SafeCheckpointHook', interval=1, max_keep_ckpts=1))
        <mmasl.hooks.safe_checkpoint_hook.SafeCheckpointHook object at ...>
    """

    def before_train(self, runner: Runner) -> None:
        write_atomically()
        super().before_train(runner)
        self.file_backend = LateRemoval(self.file_backend)

    def _save_checkpoint_with_step(self, runner, step, meta) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        self._remove_old()

    def _save_best_checkpoint(self, runner, metrics) -> None:
        super()._save_best_checkpoint(runner, metrics)
        self._remove_old()

    def _remove_old(self) -> None:
        best = getattr(self, 'best_ckpt_path_dict', None) or {'': getattr(self, 'best_ckpt_path', None)}
        self.file_backend.remove_now(wanted={self.last_ckpt, *best.values()})


class LateRemoval:
    """A file backend that removes files no sooner than it is told to."""

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
