"""MMEngine's strategy for fully sharded training, with what its recipes, detectors and checkpoints need."""

from functools import partial

from mmengine._strategy import FSDPStrategy as UpstreamStrategy
from mmengine.device import get_device
from mmengine.optim import BaseOptimWrapper, OptimWrapper
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.utils import clip_grad_norm_

from mmasl.registry import STRATEGIES


def clip_grad(model: FullyShardedDataParallel, optim_wrapper: OptimWrapper) -> None:
    """As ``OptimWrapper._clip_grad``, on every process, also on one that has no shard of a trained parameter."""
    norm = model.clip_grad_norm_(**optim_wrapper.clip_grad_kwargs)
    optim_wrapper.message_hub.update_scalar(f'train/{optim_wrapper.grad_name}', float(norm))


@STRATEGIES.register_module()
class FSDPStrategy(UpstreamStrategy):
    """MMEngine's ``FSDPStrategy`` (parameters, gradients and optimizer state in shards) made to train the same model.

    - The optimizer is built while the parameters are whole. Upstream builds it on flat shards, all of them
      one-dimensional, so that ``paramwise_cfg.flat_decay_mult=0`` silently takes the weight decay from every weight.
    - ``clip_grad`` goes by the norm of the whole gradient. Upstream clips each shard by a norm of its own.
    - The optimizer's state can be loaded: torch 2.1 changed the order of the arguments that upstream passes.
    - Parameters without dimensions (``Scale`` in FCOS, ATSS and GFL heads), which FSDP refuses, are wrapped as vectors
      of one element; checkpoints have them as they were.
    - Without an accelerator it runs on CPUs, to try things.

    Args:
        state_dict_cfg (str | dict): As upstream's. With 'full' a checkpoint is one file, that of a training without
            shards; with 'local' it is a folder that only the same number of processes can load.
        kwargs: As upstream's.

    Example:
        >>> from mmengine.registry import STRATEGIES
        >>> STRATEGIES.get('mmasl.FSDPStrategy')  # in a config: strategy = dict(type='mmasl.FSDPStrategy')
        <class 'mmasl.engine.strategies.fsdp_strategy.FSDPStrategy'>
    """

    def __init__(self, *, state_dict_cfg: str | dict = 'full', **kwargs):
        super().__init__(state_dict_cfg=state_dict_cfg, **kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        self.scalars = {name: param for name, param in model.named_parameters() if param.ndim == 0}
        self._reshape_parameters((1,))
        if get_device() == 'cpu':
            self.model_wrapper = {'device_id': 'cpu', **(self.model_wrapper or {})}
            # torch takes what it has moved for a copy: on a CPU it is the buffer that is freed, or used again
            self.state_dict_config.offload_to_cpu = self.optim_state_dict_config.offload_to_cpu = False
        return super()._wrap_model(model)

    def build_optim_wrapper(self, optim_wrapper, model: nn.Module | None = None) -> BaseOptimWrapper:
        with FullyShardedDataParallel.summon_full_params(model, writeback=False):
            self._reshape_parameters(())
            built = super().build_optim_wrapper(optim_wrapper, model)
            self._reshape_parameters((1,))
        if getattr(built, 'clip_func', None) is clip_grad_norm_:
            built._clip_grad = partial(clip_grad, model, built)
        return built

    def model_state_dict(self) -> dict:
        return self._reshape(super().model_state_dict(), ())

    def load_model_state_dict(self, state_dict: dict, **kwargs) -> None:
        super().load_model_state_dict(self._reshape(state_dict, (1,)), **kwargs)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        optimizer = self.optim_wrapper.optimizer
        state_dict = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(state_dict)

    def _reshape_parameters(self, shape: tuple[int, ...]) -> None:
        for param in self.scalars.values():
            param.data = param.data.reshape(shape)

    def _reshape(self, state_dict: dict, shape: tuple[int, ...]) -> dict:
        """Give the parameters without dimensions this shape, as far as ``state_dict`` has them whole."""
        for name in self.scalars:
            if name in state_dict and state_dict[name].numel() == 1:
                state_dict[name] = state_dict[name].reshape(shape)
        return state_dict
