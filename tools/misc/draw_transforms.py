"""Draw the authors' transforms beside upstream's in one PNG.

Example:
    python tools/misc/draw_transforms.py docs/images/transforms.png
"""

import argparse
import sys
from pathlib import Path


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description='Draw the transforms of the paper beside those of upstream.')
    parser.add_argument('out', type=Path, help='the PNG to write')
    parser.add_argument('--tile', type=int, default=110, help='side of each small picture in pixels')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

import mmcv
import numpy as np
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_image

SIZE, MARGIN, COLUMNS = 448, 20, 8
PART = slice(150, 230), slice(80, 160)  # a part of the picture in which pixels can be seen
RESIZES = {
    'mmasl.SquishResize = torchvision on Pillow': dict(type='mmasl.SquishResize', scale=SIZE),
    "MMCV's Resize, default backend: not antialiased": dict(type='Resize', scale=(SIZE, SIZE)),
}
ROWS = {
    'mmasl.Cutout, the paper: half the side, one random color': dict(type='mmasl.Cutout', factor=0.5),
    "MMPretrain's Cutout: one color for all, never cut off at the top or the left": dict(
        type='Cutout', shape=SIZE // 2, prob=1.0
    ),
    "mmasl.RandAugment, that of the authors' script": dict(type='mmasl.RandAugment'),
    "MMPretrain's RandAugment, timm_increasing at level 9 of 10": dict(
        type='RandAugment', policies='timm_increasing', num_policies=2, magnitude_level=9
    ),
}


def examples(image: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Return the title of each row of the sheet and its pictures (BGR)."""
    sizes = {title: TRANSFORMS.build(cfg)(dict(img=image.copy()))['img'] for title, cfg in RESIZES.items()}
    squished, plain = sizes.values()
    difference = np.abs(squished.astype(int) - plain) * 8
    rows = {
        'The picture; a part of it by mmasl.SquishResize (as Pillow), by the default of Resize; eightfold difference': [
            squished,
            *(picture[PART] for picture in (squished, plain, difference.clip(0, 255).astype(np.uint8))),
        ]
    }
    for title, cfg in ROWS.items():
        transform = TRANSFORMS.build(cfg)
        rows[title] = [transform(dict(img=squished.copy()))['img'] for _ in range(COLUMNS)]
    return rows


def draw(rows: dict[str, list[np.ndarray]], tile: int) -> Image.Image:
    """Draw the rows on one sheet."""
    sheet = Image.new('RGB', (COLUMNS * tile, len(rows) * (tile + MARGIN)), 'white')
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, (title, pictures) in enumerate(rows.items()):
        top = row * (tile + MARGIN)
        pen.text((3, top + 2), title, fill='black', font=font)
        for column, picture in enumerate(pictures):
            nearest = picture.shape[0] < SIZE
            small = Image.fromarray(mmcv.bgr2rgb(picture)).resize((tile - 2, tile - 2), 0 if nearest else 1)
            sheet.paste(small, (column * tile + 1, top + MARGIN - 1))
    return sheet


def main(argv=None) -> None:
    args = parse_args(argv)
    init_default_scope('mmpretrain')
    image = mmcv.rgb2bgr(load_sample_image('china.jpg'))
    np.random.seed(args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    draw(examples(image), args.tile).quantize(256, dither=0).save(args.out, optimize=True)
    print(f'{args.out}: {len(ROWS) + 1} rows')


if __name__ == '__main__':
    sys.exit(main())
