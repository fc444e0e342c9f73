"""Fine-tune EfficientNet-Lite0 on Pascal VOC 2007 with cross-entropy, focal loss, ASL and adaptive ASL.

    python tools/demo_photos.py data                  # under 20 minutes on two cores
    python tools/demo_photos.py data --missing 0.4    # 40 % of the labels of the training images are missing

If ``data`` does not have the data set, torchvision downloads it (450 MB). The networks start from ImageNet weights that
come with a Python package, train on ``train`` and are tested on ``val``. The output in work_dirs/demo_photos is that of
``tools/demo.py``. The demo trains with one seed; the study in configs/photos/README.md takes several.
"""

import dataclasses
import sys
from pathlib import Path

import demo

from mmasl.errors import UserError, command

PLACES = ('', 'VOC2007', 'VOCdevkit/VOC2007')
URL = 'http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtrainval_06-Nov-2007.tar'
PHOTOS = dataclasses.replace(
    demo.CLASSIFICATION,
    name='demo_photos',
    title='Pascal VOC 2007, val',
    config='photos/efficientnet-lite0-{row}_1xb16_voc07-128px.py',
    rows={loss: loss for loss in demo.CLASSIFICATION.losses},
    changes={},
    caption='Settings are those of configs/photos and are not tuned: one learning rate for all losses; focal loss has '
    'γ=2, ASL has γ₊=0, γ₋=2 and m=0.2, and adaptive ASL has its defaults.',
    axis='mean $p_t$ on 500 held-out images',
    items='images',
    sizes={
        'train': (2501, 'dataset.dataset.indices'),
        'val': (500, 'dataset.dataset.indices'),
        'test': (2510, 'dataset.indices'),
    },
)


def find_voc(data: Path) -> Path:
    """Return the folder VOC2007 in ``data``; download it if it is missing.

    Raises:
        UserError: If it cannot be downloaded.
    """
    for place in PLACES:
        if (data / place / 'ImageSets/Main/train.txt').is_file():
            return data / place
    from torchvision.datasets import VOCDetection

    try:
        VOCDetection(data, year='2007', image_set='trainval', download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f'{data} has no VOC2007, and the download failed ({error}); download {URL} on a machine with a network and '
            f'unpack it in {data}'
        ) from error
    return data / PLACES[-1]


@command
def main(argv=None) -> None:
    parser = demo.make_parser(PHOTOS, __doc__, epochs=4)
    parser.add_argument('data', type=Path, help='folder that has VOC2007, or into which it is downloaded')
    parser.add_argument('--missing', type=float, default=0.0, help='share of the training labels that is missing')
    args = parser.parse_args(argv)
    root = str(find_voc(args.data))
    specs = demo.make_specs(PHOTOS, args.out, args.epochs, args.samples, args.seed)
    for spec in specs.values():
        spec['overrides'] |= {
            'train_dataloader.dataset.dataset.data_root': root,
            'val_dataloader.dataset.dataset.data_root': root,
            'test_dataloader.dataset.data_root': root,
            'train_dataloader.dataset.missing_rate': args.missing,
            'train_dataloader.dataset.seed': args.seed,
        }
    demo.run(PHOTOS, specs, args)


if __name__ == '__main__':
    sys.exit(main())
