"""Draw scenes of DigitScenes with their labels, and on request their boxes, on one PNG.

Example:
    python tools/misc/draw_contact_sheet.py sheet.png --boxes --options split=test seed=1
"""

import argparse
import sys
from pathlib import Path

from mmasl.cli.flags import CfgOptions


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description='Draw scenes of DigitScenes with their labels on one PNG.')
    parser.add_argument('out', type=Path, help='the PNG to write')
    parser.add_argument('--rows', type=int, default=5)
    parser.add_argument('--columns', type=int, default=7)
    parser.add_argument('--first', type=int, default=0, help='index of the first scene')
    parser.add_argument('--zoom', type=int, default=3, help='pixels of the sheet per pixel of a scene')
    parser.add_argument('--boxes', action='store_true', help='draw the boxes')
    parser.add_argument(
        '--options',
        nargs='+',
        action=CfgOptions,
        default={},
        metavar='KEY=VALUE',
        help='arguments of mmasl.DigitScenes, such as split=test image_size=96 missing_rate=0.2',
    )
    args = parser.parse_args(argv)
    for name, low in (('rows', 1), ('columns', 1), ('first', 0), ('zoom', 1)):
        if getattr(args, name) < low:
            parser.error(f'--{name} must be at least {low}, got {getattr(args, name)}')
    if args.out.suffix.lower() != '.png':
        parser.error(f'out must end in .png, got {args.out}')
    return args


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

from PIL import Image, ImageDraw

from mmasl.datasets import DigitScenes
from mmasl.files import atomic_file

LINE = 12  # height of a line of text in pixels


def colour_of(dataset, label):
    """RGB of a class; light grey where classes have no colour."""
    palette = dataset.metainfo['palette']
    return tuple(palette[label]) if isinstance(palette, list) else (210, 210, 210)


def draw_scene(dataset, index, zoom, boxes):
    """One scene with its label names underneath, each in its colour."""
    info = dataset.get_data_info(index)
    size = info['width'] * zoom
    tile = Image.new('RGB', (size, size + 4 * LINE), (32, 32, 32))
    tile.paste(Image.fromarray(info['img'][..., ::-1]).resize((size, size), Image.Resampling.NEAREST))
    draw = ImageDraw.Draw(tile)
    if boxes:
        for box, label in zip(info['gt_bboxes'], info['gt_bboxes_labels'], strict=True):
            x1, y1, x2, y2 = (float(edge) * zoom for edge in box)
            draw.rectangle((x1, y1, x2 - 1, y2 - 1), outline=colour_of(dataset, label))
    x, y = 2, size
    for label in info['gt_label']:
        name = dataset.metainfo['classes'][label]
        width = draw.textlength(name)
        if x > 2 and x + width > size:
            x, y = 2, y + LINE
        draw.text((x, y), name, fill=colour_of(dataset, label))
        x += width + 8
    return tile


def main(argv=None):
    args = parse_args(argv)
    try:
        indices = range(args.first, args.first + args.rows * args.columns)
        options = {'num_scenes': indices.stop, **args.options}
        dataset = DigitScenes(**options)
        if len(dataset) < indices.stop:
            raise ValueError(f'the sheet needs {indices.stop} scenes, the dataset has {len(dataset)}')
        tiles = [draw_scene(dataset, index, args.zoom, args.boxes) for index in indices]
        width, height = tiles[0].width + 4, tiles[0].height + 4
        sheet = Image.new('RGB', (width * args.columns, height * args.rows))
        for number, tile in enumerate(tiles):
            sheet.paste(tile, (number % args.columns * width, number // args.columns * height))
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(args.out) as part:
            sheet.save(part, format='PNG')
    except (TypeError, ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    print(f'{args.out}: {len(tiles)} scenes')


if __name__ == '__main__':
    main()
