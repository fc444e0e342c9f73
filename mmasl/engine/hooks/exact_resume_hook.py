"""Makes a resumed training the one that was not interrupted, bit by bit."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmasl.compat import load_afresh
from mmasl.engine.seeding import seed_generators, seed_samples
from mmasl.registry import HOOKS


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Seeds every random number of a training from where in the training it is drawn.

    MMEngine's checkpoints hold no state of the random generators, and its workers begin each start with the same seed.
    With this hook no state has to be kept: the generators are seeded from (seed, rank, iteration) before each iteration
    and from (seed, epoch, position) before each training sample, in whichever process loads it. So a run that goes on
    from a checkpoint ends with the parameters of the run that was not interrupted, whatever the number of workers; and
    dropout masks differ between the processes of a distributed training, which MMEngine seeds alike.

    ``tools/train.py`` adds it to every config. Bitwise equality on a GPU needs ``randomness.deterministic=True`` too.
    Transforms that remember earlier samples (MMDetection's cached Mosaic and MixUp) are beyond it.

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
                'ExactResumeHook: random transforms are not seeded, as the data loader takes no indices of a sampler',
                logger='current',
                level=logging.WARNING,
            )
        elif hasattr(self.sampler, 'seed'):
            # Without a seed in the config the sampler was made with a new one, before the checkpoint was loaded.
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
