"""``Features``: fixed-length vectors of pictures, texts, sounds or tables, with many labels each."""

import json
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch.utils.data import Dataset

from mmasl.errors import DataError
from mmasl.registry import DATASETS

INDEX = 'features.json'  # the index file of a folder


@DATASETS.register_module()
class Features(Dataset):
    """Vectors and labels from one ``.npz`` file, or from a folder that ``tools/misc/extract_features.py`` wrote.

    A file has the arrays ``train_x``, ``train_y``, ``test_x`` and ``test_y``, and optionally ``val_x``, ``val_y`` and
    ``classes`` (names)::

        np.savez('my.npz', train_x=..., train_y=..., test_x=..., test_y=...)

    x is ``(N, D)`` and holds numbers; y is ``(N, C)`` and holds 1 (positive), 0 (negative) and -1 (unknown). Without
    validation arrays, every fifth training sample after shuffling is held out for validation.

    A sample is a dict of ``inputs`` ``(D,)`` float32 and ``targets`` ``(C,)`` float32.

    Args:
        data_root: Path of the file or the folder.
        split: 'train', 'val' or 'test'.

    Raises:
        ValueError: For another split, a file without these arrays, or arrays that do not fit each other.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), 'my.npz')
        >>> x, y = np.zeros((10, 3)), np.eye(10)[:, :2]
        >>> np.savez(path, train_x=x, train_y=y, test_x=x, test_y=y)
        >>> len(Features(path, 'train')), len(Features(path, 'val')), Features(path, 'test')[0]['targets']
        (8, 2, tensor([1., 0.]))
    """

    how_to_get = 'a .npz with train_x, train_y, test_x and test_y, or a folder of tools/misc/extract_features.py'

    def __init__(self, data_root: str | Path, split: str = 'train') -> None:
        if split not in ('train', 'val', 'test'):
            raise ValueError(f"split must be 'train', 'val' or 'test', got {split!r}")
        arrays = read_features(data_root)
        self.inputs, self.targets = (torch.from_numpy(arrays[f'{split}_{name}']) for name in 'xy')
        self.metainfo = dict(classes=tuple(arrays['classes'].tolist()))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return dict(inputs=self.inputs[index], targets=torch.from_numpy(self.get_data_info(index)['gt_score']))

    def get_data_info(self, index: int) -> dict[str, np.ndarray]:
        """Return the labels of a sample in the form of MMPretrain's data sets."""
        return dict(gt_score=self.targets[index].numpy())


def read_features(path: str | Path) -> dict[str, np.ndarray]:
    """Return ``<split>_x`` and ``<split>_y`` of the three splits in float32, and the names of the ``classes``.

    Raises:
        ValueError: Under the conditions of :class:`Features`.
    """
    file = Path(path, INDEX) if Path(path).is_dir() else Path(path)
    return _read(str(path), str(file.resolve()), file.stat().st_mtime_ns if file.exists() else 0)


@lru_cache(maxsize=2)  # training, validation and model read the same file
def _read(path: str, *identity) -> dict[str, np.ndarray]:
    try:
        arrays = _read_folder(Path(path)) if Path(path).is_dir() else dict(np.load(path))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f'{path}: expected {Features.how_to_get}: {error}') from error
    splits = ('train', 'val', 'test') if {'val_x', 'val_y'} & set(arrays) else ('train', 'test')
    missing = {f'{split}_{name}' for split in splits for name in 'xy'} - set(arrays)
    if missing:
        raise DataError(f'{path}: expected {Features.how_to_get}, missing {", ".join(sorted(missing))}')
    if 'val_x' not in arrays:
        held_out = np.zeros(len(arrays['train_x']), bool)
        held_out[np.random.default_rng(0).permutation(len(held_out))[::5]] = True
        for name in 'xy':
            array = arrays[f'train_{name}']
            arrays[f'train_{name}'], arrays[f'val_{name}'] = array[~held_out], array[held_out]
    width, num_classes = arrays['train_x'].shape[-1], arrays['train_y'].shape[-1]
    for split in ('train', 'val', 'test'):
        x, y = (arrays[f'{split}_{name}'] for name in 'xy')
        if x.shape != (len(x), width) or y.shape != (len(x), num_classes):
            raise DataError(
                f'{path}: expected {split}_x ({len(x)}, {width}) and {split}_y ({len(x)}, {num_classes}), '
                f'got {x.shape} and {y.shape}'
            )
        if not np.isfinite(x).all() or not np.isin(y, (-1, 0, 1)).all():
            raise DataError(f'{path}: expected finite {split}_x, and {split}_y of 1, 0 and -1 (unknown)')
        arrays[f'{split}_x'], arrays[f'{split}_y'] = x.astype(np.float32), y.astype(np.float32)
    arrays.setdefault('classes', np.array([str(index) for index in range(num_classes)]))
    if len(arrays['classes']) != num_classes:
        raise DataError(f'{path}: expected {num_classes} names in classes, got {len(arrays["classes"])}')
    return arrays


def _read_folder(folder: Path) -> dict[str, np.ndarray]:
    index = json.loads((folder / INDEX).read_text())
    arrays = {'classes': np.array(index['classes'])}
    for split, shards in index['shards'].items():
        for name in 'xy':
            arrays[f'{split}_{name}'] = np.concatenate([np.load(folder / f'{shard}_{name}.npy') for shard in shards])
    return arrays
