"""Train a classifier or a detector."""

import sys

from mmasl.cli.flags import make_parser
from mmasl.errors import command


def parse_args(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from a checkpoint, or from the last one in the work directory',
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision (needs a GPU)')
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate during training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='multiply the learning rate by processes x batch size / auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--no-persistent-workers', action='store_true', help='set persistent_workers=False in the data loaders'
    )
    return parser.parse_args(argv)


if __name__ == '__main__':
    parse_args()  # --help and mistakes are answered before what is imported below, which takes seconds

from mmengine.config import Config
from mmengine.runner import Runner

from mmasl.cli import checkpoints, preflight
from mmasl.cli import run as cli


def merge_args(cfg: Config, args) -> None:
    """Apply the arguments to the config."""
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        cli.enable_amp(cfg)
    if args.auto_scale_lr or (cfg.get('auto_scale_lr') or {}).get('enable'):
        cli.enable_auto_scale_lr(cfg)
    if args.resume == 'auto':
        last = checkpoints.latest(cfg.work_dir)
        cfg.resume = last is not None
        if last is not None:
            cfg.load_from = last
        found = f'continuing from {last}' if last else f'no checkpoint in {cfg.work_dir}, starting from the beginning'
        cli.say(f'--resume: {found}')
    elif args.resume is not None:
        cfg.resume = True
        cfg.load_from = args.resume
    cli.add_hook(cfg, 'ExactResumeHook')
    cli.add_hook(cfg, 'StopAtNaNHook')
    cli.add_hook(cfg, 'CheckModelHook')
    cli.use_safe_checkpoints(cfg)
    if cfg.get('resume'):
        checkpoints.skip_pretrained(cfg)
    cli.set_dataloaders(cfg, args)


def read_start(cfg: Config) -> dict | None:
    """Return the checkpoint that training starts from, or None; it is compared with the model later."""
    if not cfg.get('load_from'):
        return None
    key = '--resume' if cfg.get('resume') else 'load_from'
    checkpoint = checkpoints.read(cfg.load_from, key, of_strategy=preflight.reads_folders(cfg))
    if cfg.get('resume'):
        checkpoints.check_resumable(checkpoint, cfg.load_from)
    return checkpoint


def report(runner: Runner) -> None:
    """Print where the results are."""
    info = runner.message_hub.runtime_info
    best = [path for key, path in sorted(info.items()) if key.startswith('best_ckpt') and path]
    parts = [f'last checkpoint {info["last_ckpt"]}'] if 'last_ckpt' in info else ['no checkpoint was written']
    parts += [f'best {", ".join(map(str, best))}'] if best else []
    cli.say('done: ' + '; '.join([*parts, f'logs in {runner.log_dir}']))


@command
def main(argv=None) -> None:
    args = parse_args(argv)
    cfg = cli.load_config(args)
    preflight.check_scope(cfg)
    preflight.check_sections(cfg, 'train')
    preflight.check_typed(cfg)
    merge_args(cfg, args)
    preflight.check_amp(cfg)
    preflight.check_strategy(cfg)
    preflight.check_components(cfg, 'train')
    preflight.check_data(cfg, 'train')
    checkpoints.check_pretrained(cfg)
    checkpoint = read_start(cfg)
    preflight.check_folder(cfg.work_dir, '--work-dir')
    runner = cli.build_runner(cfg, checkpoint, complete=bool(cfg.get('resume')))
    runner.train()
    report(runner)


if __name__ == '__main__':
    sys.exit(main())
