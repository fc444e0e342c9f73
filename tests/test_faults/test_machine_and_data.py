"""Workers that die, pictures that are broken or unusual, logits that blow up, folders that cannot be written to."""

import io
import os
import signal

import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mmasl.engine.hooks.stop_at_nan_hook import not_finite
from mmasl.errors import hint_for
from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, Refusals, write_config

pytestmark = pytest.mark.usefixtures('empty_folder')


# --- workers -----------------------------------------------------------------------------------------------------


class Deadly(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies():
    with pytest.raises(RuntimeError, match='DataLoader worker') as caught:
        next(iter(DataLoader(Deadly(), num_workers=1)))
    assert hint_for(caught.value).startswith('memory is what runs out most often')


# --- pictures ----------------------------------------------------------------------------------------------------

COLOURS = np.zeros((40, 60, 3), np.uint8)
COLOURS[:, :30] = (200, 40, 40)  # red on the left, blue on the right
COLOURS[:, 30:] = (40, 40, 200)


def load(path):
    return LoadImageFromFile()(dict(img_path=str(path)))['img'][..., ::-1].astype(int)


class Pictures(Dataset):
    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return load(self.path).copy()


def truncated_jpeg():
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, 'jpeg')
    return file.getvalue()[: file.tell() // 2]


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('content', [truncated_jpeg(), b'a text file'], ids=['truncated', 'text'])
def test_a_broken_picture_is_named(tmp_path, workers, content):
    path = tmp_path / 'broken.jpg'
    path.write_bytes(content)
    with pytest.raises(Exception) as caught:  # of the type that the decoder has
        next(iter(DataLoader(Pictures(path), num_workers=workers)))
    assert hint_for(caught.value).startswith(f'the picture {path} cannot be decoded')


def test_an_empty_picture(tmp_path):
    (tmp_path / 'empty.png').touch()
    with pytest.raises(Exception) as caught:  # OpenCV's
        Pictures(tmp_path / 'empty.png')[0]
    assert hint_for(caught.value).startswith('a picture file is empty: `find DIR -size 0` names it')


@pytest.mark.parametrize(
    ('name', 'convert', 'tolerance'),
    [
        ('cmyk.jpg', lambda image: image.convert('CMYK'), 12),
        ('palette.png', lambda image: image.convert('P', palette=Image.Palette.ADAPTIVE), 0),
        ('alpha.png', lambda image: image.convert('RGBA'), 0),
    ],
)
def test_pictures_of_other_modes_keep_their_colours(tmp_path, name, convert, tolerance):
    convert(Image.fromarray(COLOURS)).save(tmp_path / name)
    assert np.abs(load(tmp_path / name) - COLOURS).max() <= tolerance


def test_grey_and_16_bits(tmp_path):
    grey = Image.fromarray(COLOURS).convert('L')
    grey.save(tmp_path / 'grey.png')
    assert np.array_equal(load(tmp_path / 'grey.png'), np.asarray(grey)[..., None].repeat(3, 2))
    deep = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / 'deep.png')
    assert np.abs(load(tmp_path / 'deep.png') - (deep[..., None] >> 8)).max() <= 1


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    Image.fromarray(COLOURS).save(tmp_path / 'turned.jpg', quality=95, exif=exif)
    image = load(tmp_path / 'turned.jpg')
    assert image.shape == (60, 40, 3)
    assert image[5, 20, 0] > 150 and image[55, 20, 2] > 150  # left has become top


# --- numbers -----------------------------------------------------------------------------------------------------


@HOOKS.register_module()
class Poison(Hook):
    """Makes the logits of two classes NaN in the third iteration."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 2:
            head = runner.model.head.fc if hasattr(runner.model, 'head') else runner.model.bbox_head.conv_cls
            head.bias.data[[3, 7]] = float('nan')


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        (CLASSIFICATION, 'logits of red 3, red 7 in head.loss_module are not finite; '),
        (DETECTION, 'logits of 3, 7 in bbox_head.loss_cls are not finite; '),
    ],
    ids=['classification', 'detection'],
)
def test_logits_that_are_not_finite(tmp_path, capsys, text, said):
    more = "custom_hooks = [dict(type='mmengine.Poison')]\ntrain_dataloader['batch_size'] = 4\n"
    more += 'train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=3)\n'
    if text is CLASSIFICATION:
        more += "train_dataloader['batch_size'] = 8\n"
    error = Refusals('train', capsys)(write_config(tmp_path, text, more), '--work-dir', 'wd')
    assert error.startswith('iteration 3 (epoch 2): ') and said in error
    assert 'wd/epoch_1.pth is the last checkpoint before it' in error and error.endswith('then --resume')
    assert [path.name for path in (tmp_path / 'wd').glob('*.pth')] == ['epoch_1.pth']
    weights = torch.load('wd/epoch_1.pth', weights_only=False)['state_dict']
    assert all(weight.isfinite().all() for weight in weights.values())


def test_a_class_that_a_head_masks_is_no_fault():
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 0.0], [torch.nan, 0.0, 0.0, torch.inf]])
    assert not_finite('loss', logits) == ('loss', [0, 3], 4)


# --- folders -----------------------------------------------------------------------------------------------------


def test_a_folder_that_not_even_root_can_write_to(tmp_path, capsys):
    said = Refusals('train', capsys)(write_config(tmp_path, CLASSIFICATION), '--work-dir', '/proc/self')
    assert 'the work directory /proc/self is not writable' in said and said.endswith('choose another with --work-dir')
