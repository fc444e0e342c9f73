"""Makes a resumed training equal, bit by bit, to one that was not interrupted."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmasl.compat import load_afresh
from mmasl.engine.seeding import seed_generators, seed_samples
from mmasl.registry import HOOKS


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Seeds the random generators from the position in the training: the iteration, or the sample's place in the epoch.

    MMEngine's checkpoints hold no state of the random generators, and its workers start with the same seed each time.
    This hook needs no state: it seeds the generators from (seed, rank, iteration) before each iteration and from
    (seed, epoch, position) before each training sample, in the process that loads the sample. A resumed run therefore
    ends with the same parameters as a run that was not interrupted, for any number of workers. Dropout masks also
    differ between the processes of a distributed training, which MMEngine gives the same seed.

    ``tools/train.py`` adds the hook to every config. Bitwise equality on a GPU also needs
    ``randomness.deterministic=True``. The hook cannot reproduce transforms that remember earlier samples (MMDetection's
    cached Mosaic and MixUp).

    Example:
        >>> from mmengine.registry import HOOKS
        >>> HOOKS.build(dict(type='mmasl.ExactResumeHook'))  # in a config: custom_hooks = [dict(...)]
        <mmasl.engine.hooks.exact_resume_hook.ExactResumeHook object at ...>
    """

    priority = 'HIGHEST'

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        self.sampler = seed_samples(loader, runner.seed, runner.rank, runner.world_size)
        if self.sampler is None:
            print_log(
                'ExactResumeHook cannot seed the random transforms, because the data loader does not use a sampler',
                logger='current',
                level=logging.WARNING,
            )
        elif hasattr(self.sampler, 'seed'):
            # Without a seed in the config, the sampler got a new seed before the checkpoint was loaded.
            seed = runner.message_hub.runtime_info.get('sampler_seed', self.sampler.seed)
            self.sampler.sampler.seed = seed
            runner.message_hub.update_info('sampler_seed', seed)

    def before_train_epoch(self, runner: Runner) -> None:
        seed_generators(runner.seed, runner.rank, runner.iter)  # for hooks, and samplers without an epoch
        if self.sampler is not None:
            self.sampler.set_epoch(runner.epoch)
            load_afresh(runner.train_loop, self.sampler.sampler)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        seed_generators(runner.seed, runner.rank, runner.iter)
