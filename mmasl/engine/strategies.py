"""MMEngine's strategy for fully sharded training, repaired for recipes, detectors and checkpoints."""

from functools import partial

from mmengine._strategy import FSDPStrategy as UpstreamStrategy
from mmengine.device import get_device
from mmengine.optim import BaseOptimWrapper, OptimWrapper
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.utils import clip_grad_norm_

from mmasl.registry import STRATEGIES


def clip_grad(model: FullyShardedDataParallel, optim_wrapper: OptimWrapper) -> None:
    """Clip as ``OptimWrapper._clip_grad`` does, on every process, even one without a shard of a trained parameter."""
    norm = model.clip_grad_norm_(**optim_wrapper.clip_grad_kwargs)
    optim_wrapper.message_hub.update_scalar(f'train/{optim_wrapper.grad_name}', float(norm))


@STRATEGIES.register_module()
class FSDPStrategy(UpstreamStrategy):
    """MMEngine's ``FSDPStrategy``, repaired so that sharded training gives the same model as training without shards.

    FSDP keeps parameters, gradients and the optimizer's state in shards. The repairs are:

    - The optimizer is built on complete parameters. MMEngine builds it on flat shards, which are one-dimensional, so
      that ``paramwise_cfg.flat_decay_mult=0`` silently removes the weight decay from every weight.
    - ``clip_grad`` uses the norm of the complete gradient. MMEngine clips each shard by the shard's own norm.
    - The optimizer's state can be loaded. torch 2.1 changed the order of the arguments that MMEngine passes.
    - Parameters without dimensions (``Scale`` in FCOS, ATSS and GFL heads), which FSDP refuses, become vectors of one
      element while they are sharded. Checkpoints keep their original shape.
    - Without an accelerator the strategy runs on CPUs.

    Args:
        state_dict_cfg (str | dict): MMEngine's argument. With 'full', a checkpoint is one file like that of a training
            without shards. With 'local', it is a folder that only the same number of processes can load.
        kwargs: MMEngine's other arguments.

    Example:
        >>> from mmengine.registry import STRATEGIES
        >>> STRATEGIES.get('mmasl.FSDPStrategy')  # in a config: strategy = dict(type='mmasl.FSDPStrategy')
        <class 'mmasl.engine.strategies.FSDPStrategy'>
    """

    def __init__(self, *, state_dict_cfg: str | dict = 'full', **kwargs):
        super().__init__(state_dict_cfg=state_dict_cfg, **kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        self.scalars = {name: param for name, param in model.named_parameters() if param.ndim == 0}
        self._reshape_parameters((1,))
        if get_device() == 'cpu':
            self.model_wrapper = {'device_id': 'cpu', **(self.model_wrapper or {})}
            # torch assumes that offloading makes a copy, but on a CPU it returns the buffer, which is freed or reused.
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
        """Give ``shape`` to the parameters without dimensions that are complete in ``state_dict``."""
        for name in self.scalars:
            if name in state_dict and state_dict[name].numel() == 1:
                state_dict[name] = state_dict[name].reshape(shape)
        return state_dict
