"""Label pictures with a trained classifier, or find objects in them with a trained detector."""

import sys
from pathlib import Path

from mmasl.cli.flags import as_thr, config_parser, usable_device
from mmasl.errors import UserError, command, first_names, positive


def parse_args(argv=None):
    parser = config_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('inputs', nargs='+', help='pictures, and folders of them (their subfolders too)')
    parser.add_argument(
        '--thr',
        type=as_thr,
        help='lowest probability of a label: a number, or a file of tools/analysis_tools/tune_threshold.py '
        '(classifiers: 0.5; detectors: 0.3, a number only)',
    )
    parser.add_argument('--topk', type=positive, help='largest number of labels of a picture')
    parser.add_argument('--out', metavar='FILE', help='write the results to a .json or .csv file')
    parser.add_argument('--show-dir', metavar='DIR', help='draw the results into a folder')
    parser.add_argument('--batch-size', type=positive, default=1, help='pictures in one pass of a classifier')
    parser.add_argument('--device', type=usable_device, help='where to run')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

import csv
import os

from mmengine.config import Config
from mmengine.device import get_device
from tqdm import tqdm

from mmasl.apis.pictures import list_pictures
from mmasl.cli import checkpoints, preflight
from mmasl.cli import run as cli
from mmasl.files import atomic_file, write_json

COLUMNS = ('picture', 'class', 'score', 'x1', 'y1', 'x2', 'y2', 'error')


def check_args(args) -> list[str]:
    """Raise if an argument is wrong, before any work, and return the pictures."""
    if args.out is not None and not args.out.endswith(('.json', '.csv')):
        raise UserError(f'--out {args.out}: the name must end in .json or .csv')
    if args.out is not None:
        preflight.check_folder(os.path.dirname(args.out) or '.', '--out')
    try:
        return list_pictures(args.inputs)
    except ValueError as error:
        raise UserError(str(error)) from error


def results_of(cfg: Config, args, checkpoint: dict, pictures: list[str]):
    """Return an iterator over the results of the classifier or the detector."""
    if cfg.get('default_scope') == 'mmdet':
        return results_of_detector(cfg, args, checkpoint, pictures)
    from mmasl.apis import MultiLabelInferencer

    thr = 0.5 if args.thr is None else args.thr
    inferencer = MultiLabelInferencer(cfg, args.checkpoint, args.device or get_device(), thr=thr, topk=args.topk)
    checkpoints.check_fit(inferencer.model, checkpoint, args.checkpoint, complete=True)
    return inferencer.stream(pictures, args.batch_size, **({'show_dir': args.show_dir} if args.show_dir else {}))


def results_of_detector(cfg: Config, args, checkpoint: dict, pictures: list[str]):
    from mmdet.apis import DetInferencer

    from mmasl.apis import detect

    if args.topk is not None or isinstance(args.thr, list):
        raise UserError(f'{args.config} is a detector: it takes no --topk, and --thr must be a number')
    pipeline = cfg.test_dataloader.dataset.pipeline
    if not any(str(step['type']).endswith('LoadImageFromFile') for step in pipeline):
        cfg.test_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile'), *pipeline]
    inferencer = DetInferencer(cfg, args.checkpoint, args.device or get_device(), show_progress=False)
    checkpoints.check_fit(inferencer.model, checkpoint, args.checkpoint, complete=True)
    return detect(inferencer, pictures, 0.3 if args.thr is None else args.thr, args.show_dir)


def as_row(picture: str, result: dict) -> dict:
    """Return the row of one picture: names of classes (indices if there are no names) and their scores."""
    if 'error' in result:
        return dict(picture=picture, error=result['error'])
    names = result.get('pred_class', result['pred_label'])
    row = dict(picture=picture, classes=list(names), scores=[round(float(score), 6) for score in result['pred_score']])
    if 'pred_bbox' in result:
        row['boxes'] = [[round(float(edge), 2) for edge in box] for box in result['pred_bbox']]
    return row


def write_csv(path: Path, rows: list[dict]) -> None:
    """Write one line per label; a picture without labels or with an error has one line too."""
    with atomic_file(path) as part, open(part, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            boxes = row.get('boxes') or [()] * len(row.get('classes', ()))
            lines = [
                {'class': name, 'score': score, **dict(zip(COLUMNS[3:7], box, strict=False))}
                for name, score, box in zip(row.get('classes', ()), row.get('scores', ()), boxes, strict=True)
            ]
            for line in lines or [{'error': row.get('error', '')}]:
                writer.writerow({'picture': row['picture'], **line})


def describe(row: dict) -> str:
    if 'error' in row:
        return f'{row["picture"]} was skipped: {row["error"]}'
    labels = ', '.join(f'{name} {score:.2f}' for name, score in zip(row['classes'], row['scores'], strict=True))
    return f'{row["picture"]}: {labels or "nothing"}'


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    pictures = check_args(args)
    cfg = cli.read_config(args.config, args.cfg_options)
    preflight.check_scope(cfg)
    preflight.check_sections(cfg, 'test')
    if args.thr is not None:
        args.thr = preflight.check_thresholds(cfg, args.thr, '--')
    checkpoint = checkpoints.read(args.checkpoint, 'checkpoint')
    rows = []
    progress = tqdm(total=len(pictures), unit='picture', disable=None if args.out or args.show_dir else True)
    for picture, result in zip(pictures, results_of(cfg, args, checkpoint, pictures), strict=True):
        rows.append(as_row(picture, result))
        progress.update()
        if args.out is None or 'error' in result:
            progress.write(describe(rows[-1]))
    progress.close()
    if args.out is not None:
        write_json(Path(args.out), rows) if args.out.endswith('.json') else write_csv(Path(args.out), rows)
    outputs = ' and '.join(output for output in (args.out, args.show_dir) if output)
    skipped = [row['picture'] for row in rows if 'error' in row]
    if skipped:
        raise UserError(
            f'{len(skipped)} of {len(rows)} pictures could not be read ({first_names(skipped, 3)}); '
            f'the others are {"in " + outputs if outputs else "above"}'
        )
    cli.say(f'done: {len(rows)} pictures' + (f' in {outputs}' if outputs else ''))


if __name__ == '__main__':
    sys.exit(main())
