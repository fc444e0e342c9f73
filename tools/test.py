"""Evaluate a checkpoint of a classifier or a detector."""

import sys

from mmasl.cli.flags import as_thr, make_parser
from mmasl.errors import UserError, command, positive


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--split', choices=['val', 'test'], default='test', help='which data to evaluate on')
    parser.add_argument(
        '--thr',
        type=as_thr,
        help='probability from which a label is predicted: a number, or a file of '
        'tools/analysis_tools/tune_threshold.py',
    )
    parser.add_argument('--out', '--dump', metavar='FILE', help='write the predictions to a .pkl file')
    parser.add_argument(
        '--out-item',
        choices=['pred', 'metrics'],
        default='pred',
        help='what --out writes: predictions (.pkl) or metrics (.json, .yaml or .pkl)',
    )
    parser.add_argument('--amp', action='store_true', help='evaluate in mixed precision')
    parser.add_argument('--show', action='store_true', help='show each picture with its prediction in a window')
    parser.add_argument('--show-dir', metavar='DIR', help='draw the predictions into a folder')
    parser.add_argument('--interval', type=positive, default=1, help='show or draw every n-th picture')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that --show waits at a picture')
    parser.add_argument('--tta', action='store_true', help='average the predictions over flipped pictures')
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

import copy
import os
from collections import Counter

import mmengine
from mmengine.config import Config, ConfigDict

from mmasl.cli import checkpoints, preflight
from mmasl.cli import run as cli
from mmasl.cli.components import find_component, parameters, type_name, walk
from mmasl.engine.check_classes import innermost

PICKLES = ('.pkl', '.pickle')


def check_out(args) -> None:
    """Raise if ``--out`` cannot be written, before the evaluation and not after it."""
    suffixes = PICKLES if args.out_item == 'pred' else ('.json', '.yaml', '.yml', *PICKLES)
    if args.out is not None and not args.out.endswith(suffixes):
        raise UserError(
            f'--out {args.out}: the name must end in {" or ".join(suffixes)} for --out-item {args.out_item}'
        )
    if args.out is None and args.out_item == 'metrics':
        raise UserError('--out-item needs --out, which names the file to write')
    if args.out is not None:
        preflight.check_folder(os.path.dirname(args.out) or '.', '--out')


def merge_args(cfg: Config, args) -> None:
    """Apply the arguments to the config."""
    cfg.load_from = args.checkpoint
    cfg.resume = False
    if cfg.get('strategy') and os.path.isfile(args.checkpoint):
        # Only training needs shards; a checkpoint file holds the whole model.
        cfg.strategy, cfg.runner_type = None, 'Runner'
    checkpoints.skip_pretrained(cfg)
    cli.add_hook(cfg, 'CheckModelHook')
    if args.amp:
        cfg.test_cfg.fp16 = True
    if args.thr is not None:
        set_thresholds(cfg, args.thr)
    if args.show or args.show_dir:
        enable_drawing(cfg, args)
    if args.tta:
        enable_tta(cfg)
    if args.out and args.out_item == 'pred':
        add_dump(cfg, args.out)
    cli.set_dataloaders(cfg, args)


def take_validation(cfg: Config) -> None:
    """Evaluate on the validation data, on which for example thresholds are chosen."""
    if cfg.get('val_dataloader') is None or cfg.get('val_evaluator') is None:
        raise UserError(f'--split val: {cfg.filename} has no val_dataloader with a val_evaluator')
    cfg.test_dataloader, cfg.test_evaluator = copy.deepcopy((cfg.val_dataloader, cfg.val_evaluator))
    cfg.test_cfg = cfg.get('test_cfg') or {}


def set_thresholds(cfg: Config, thr: float | str) -> None:
    """Set the threshold, or one threshold per class, in the metrics that have one."""
    thr, found = preflight.check_thresholds(cfg, thr, '--'), False
    for path, node in walk(cfg.test_evaluator, ('test_evaluator',)):
        if type_name(node.get('type', '')).endswith('MultiLabelMetric'):
            if isinstance(thr, list) and 'mmasl' not in str(node['type']):
                raise UserError(
                    f'{".".join(path)} ({type_name(node["type"])}) has one threshold for all classes; '
                    '--cfg-options test_evaluator.type=mmasl.MultiLabelMetric takes one for each'
                )
            node['thr'], found = thr, True
    if not found:
        raise UserError('--thr: only MultiLabelMetric has a threshold, and test_evaluator has none')


def enable_drawing(cfg: Config, args) -> None:
    """Turn on the visualization hook, whose arguments have other names in MMPretrain than in MMDetection."""
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise UserError(f'--show and --show-dir need default_hooks.visualization, which {cfg.filename} does not have')
    component = find_component(hook.type, cfg.get('default_scope'), ('default_hooks', 'visualization'))
    of_mmdet = component is not None and 'draw' in parameters(component)[0]
    steps = [type_name(node['type']) for _, node in walk(cfg.test_dataloader.dataset) if 'type' in node]
    if of_mmdet and not any('Load' in step for step in steps):
        raise UserError(f'--show and --show-dir draw detections on image files, but {cfg.filename} loads none')
    hook['draw' if of_mmdet else 'enable'] = True
    # MMDetection puts a relative path inside the work directory.
    hook['test_out_dir' if of_mmdet else 'out_dir'] = args.show_dir and os.path.abspath(args.show_dir)
    hook.update(show=args.show, wait_time=args.wait_time, interval=args.interval)


def say_shared_names(dataset) -> None:
    """Say which drawings replace each other, because OpenMMLab's hooks name them after the pictures without folders."""
    parts = [part for part in innermost(dataset) if hasattr(part, 'get_data_info')]
    paths = (part.get_data_info(index).get('img_path') for part in parts for index in range(len(part)))
    names = Counter(os.path.basename(path) for path in paths if path)
    shared = {name: count for name, count in names.items() if count > 1}
    if shared:
        cli.say(
            f'--show-dir: {sum(shared.values())} pictures have the name of another (such as {next(iter(shared))}), and '
            'only the last drawing of a name is kept; tools/infer.py --show-dir keeps all of them'
        )


def enable_tta(cfg: Config) -> None:
    """Set test-time augmentation: the config's own, or averaging over horizontal flips."""
    dataset = next(innermost(cfg.test_dataloader.dataset))
    detection = cfg.get('default_scope') == 'mmdet'
    if 'tta_model' not in cfg:
        average = {'type': 'mmpretrain.AverageClsScoreTTA'}
        nms = {'type': 'nms', 'iou_threshold': 0.5}
        merge = {'type': 'DetTTAModel', 'tta_cfg': {'nms': nms, 'max_per_img': 100}}
        cfg.tta_model = ConfigDict(merge if detection else average)
    if 'tta_pipeline' not in cfg:
        pack = dataset.pipeline[-1].to_dict()
        if detection:
            kept = pack.get('meta_keys', ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
            pack['meta_keys'] = (*kept, *(key for key in ('flip', 'flip_direction') if key not in kept))
        flips = [{'type': 'RandomFlip', 'prob': prob} for prob in (1.0, 0.0)]
        cfg.tta_pipeline = [*dataset.pipeline[:-1], {'type': 'TestTimeAug', 'transforms': [flips, [pack]]}]
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline


def add_dump(cfg: Config, file: str) -> None:
    """Make the evaluator write the predictions; MMDetection has its own class, which packs masks."""
    kind = 'mmdet.DumpDetResults' if cfg.get('default_scope') == 'mmdet' else 'mmengine.DumpResults'
    dump = {'type': kind, 'out_file_path': file}
    evaluator = cfg.test_evaluator
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        evaluator.metrics = [*preflight.as_list(evaluator.metrics), dump]
    else:
        cfg.test_evaluator = [*preflight.as_list(evaluator), dump]


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    check_out(args)
    cfg = cli.load_config(args)
    preflight.check_scope(cfg)
    if args.split == 'val':
        take_validation(cfg)
    preflight.check_sections(cfg, 'test')
    merge_args(cfg, args)
    preflight.check_strategy(cfg)
    preflight.check_components(cfg, 'test')
    preflight.check_data(cfg, 'test')
    checkpoint = checkpoints.read(args.checkpoint, 'checkpoint', of_strategy=preflight.reads_folders(cfg))
    preflight.check_folder(cfg.work_dir, '--work-dir')
    runner = cli.build_runner(cfg, checkpoint)
    if args.show_dir:
        say_shared_names(runner.test_loop.dataloader.dataset)
    metrics = runner.test()
    if args.out and args.out_item == 'metrics' and runner.rank == 0:
        mmengine.dump(metrics, args.out)
    cli.say(
        f'done: logs in {runner.log_dir}'
        + (f'; {args.out_item} in {args.out}' if args.out else '')
        + (f'; drawings in {args.show_dir}' if args.show_dir else '')
    )


if __name__ == '__main__':
    sys.exit(main())
