"""Write a tiny data set in the on-disk format of a published one, with JPEGs of DigitScenes, to try a config on.

Example:
    python tools/misc/make_miniature.py coco --out data/coco
    python tools/misc/make_miniature.py voc --out data/VOCdevkit --train 16 --val 8
"""

import sys

from mmasl.cli.flags import Parser
from mmasl.datasets.miniatures import DEFAULT_SIZE, NAMES, Size, make_miniature
from mmasl.errors import UserError, command


@command
def main(argv=None):
    parser = Parser(description='Write a tiny data set in the on-disk format of a published one.')
    parser.add_argument('name', choices=NAMES)
    parser.add_argument('--out', required=True, metavar='DIR', help='folder to write; it must be empty or not exist')
    for split in ('train', 'val', 'test'):
        parser.add_argument(
            f'--{split}', type=int, default=getattr(DEFAULT_SIZE, split), help=f'number of images of {split}'
        )
    parser.add_argument('--side', type=int, default=DEFAULT_SIZE.side, help='shorter side of an image in pixels')
    parser.add_argument('--seed', type=int, default=DEFAULT_SIZE.seed, help='seed of the pictures')
    parser.add_argument('--overwrite', action='store_true', help='replace a miniature in DIR')
    args = parser.parse_args(argv)
    size = Size(args.train, args.val, args.test, args.side, args.seed)
    try:
        out = make_miniature(args.name, args.out, size, args.overwrite)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    print(f'{out}: {sum(path.suffix == ".jpg" for path in out.rglob("*"))} images in the format of {args.name}')


if __name__ == '__main__':
    sys.exit(main())
