"""The cost of ``score_thr`` with ASL: boxes that enter NMS, post-processing time and mAP, for several margins.

    python tools/studies/score_thr.py    # trains FCOS on DigitScenes once for each margin, then measures

A negative at or below the margin m has no loss, so training leaves background scores near m, and ``test_cfg.score_thr``
decides how many of them are passed on. Models are trained with one thread. Each result is kept, so a stopped command
continues where it was stopped. Times are the minimum of three passes over the scenes on this machine, from the output
of the head to the final boxes, including NMS. At the end the results are gathered, printed and drawn.
"""

import argparse
import functools
import sys
import tempfile
import time
from pathlib import Path

import report
import torch
from experiment import ROOT, train_and_test, trial_spec
from grid import check_failures, finished, gather, run_grid
from mmengine.config import Config

from mmasl.analysis.report import pyplot, save_figure, table
from mmasl.errors import command

CONFIG = ROOT / 'configs' / 'digit_scenes_det' / 'fcos_digitnet_fpn_asl_1xb16_digitscenes-96px.py'
MARGINS = (0.0, 0.05, 0.1, 0.2)
THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
LOSS = 'model.bbox_head.loss_cls'
PASSES = 3


def train_and_measure(spec: dict) -> dict:
    """Train the config with the margin of ``spec``, and measure with each of its thresholds."""
    from mmdet.apis import init_detector

    config = ROOT / spec['config']
    with tempfile.TemporaryDirectory() as folder:
        train_and_test(config, spec['overrides'], spec['seed'], spec['split'], folder)
        cfg = Config.fromfile(config)
        cfg.merge_from_dict(spec['overrides'])
        checkpoint = (Path(folder) / 'last_checkpoint').read_text().strip()
        model = init_detector(cfg, checkpoint, device='cpu')
    return measure(model, cfg, spec['thresholds'])


@torch.no_grad()
def measure(model: torch.nn.Module, cfg: Config, thresholds: list[float]) -> dict:
    """Measure the boxes that enter NMS, the seconds and the mAP on the validation scenes for each threshold.

    The result also has quantiles of the scores of the head.

    Args:
        model: A dense single-stage detector in evaluation mode.
        cfg: Its config, with ``val_dataloader`` and a ``val_evaluator`` that is a ``CocoMetric``.
        thresholds: Values of ``score_thr``.
    """
    from mmdet.registry import METRICS
    from mmengine.runner import Runner

    loader = Runner.build_dataloader(cfg.val_dataloader, seed=0)
    batches = []
    for batch in loader:
        data = model.data_preprocessor(batch)
        batches.append((model.bbox_head(model.extract_feat(data['inputs'])), data['data_samples']))
    scores = torch.cat([level.sigmoid().flatten() for outs, _ in batches for level in outs[0]])
    at = torch.tensor([0.5, 0.9, 0.99])
    # These are all classes at all points, so the few positives do not change the quantiles.
    found = dict(score_quantiles=dict(zip(('50', '90', '99'), scores.quantile(at).tolist(), strict=True)), rows=[])
    number = sum(len(samples) for _, samples in batches)
    for threshold in thresholds:
        test_cfg = Config(dict(model.test_cfg, score_thr=threshold))
        entering, seconds = 0, []
        for outs, samples in batches:
            metas = [sample.metainfo for sample in samples]
            predict = functools.partial(model.bbox_head.predict_by_feat, *outs, batch_img_metas=metas, cfg=test_cfg)
            entering += sum(len(boxes) for boxes in predict(with_nms=False))
            seconds.append([])
            for _ in range(PASSES):
                start = time.perf_counter()
                results = predict(rescale=True)
                seconds[-1].append(time.perf_counter() - start)
            for sample, boxes in zip(samples, results, strict=True):
                sample.pred_instances = boxes
        metric = METRICS.build(cfg.val_evaluator)
        metric.dataset_meta = loader.dataset.metainfo
        metric.process({}, [sample.to_dict() for _, samples in batches for sample in samples])
        found['rows'].append(
            dict(
                score_thr=threshold,
                boxes=round(entering / number, 2),
                milliseconds=round(1000 * sum(map(min, seconds)) / number, 3),
                # CocoMetric has no result if there is no box
                mAP=round(100 * metric.evaluate(number).get('coco/bbox_mAP', 0.0), 2),
            )
        )
    return found


def describe(found: dict) -> str:
    """Return the best mAP of one margin as text."""
    best = max(found['rows'], key=lambda row: row['mAP'])
    return f'mAP {best["mAP"]:.1f} at score_thr {best["score_thr"]:g}'


def draw(measured: dict[float, dict]):
    """Draw the three measures over ``score_thr``, with one line for each margin."""
    axes = dict(boxes='boxes entering NMS, an image', milliseconds='post-processing, ms an image', mAP='mAP, %')
    figure, panels = pyplot().subplots(1, 3, figsize=(10, 3.4))
    for panel, (key, label) in zip(panels, axes.items(), strict=True):
        for margin, found in measured.items():
            thresholds = [row['score_thr'] for row in found['rows']]
            panel.plot(thresholds, [row[key] for row in found['rows']], 'o-', ms=3, label=f'm = {margin:g}')
        panel.set(xlabel='score_thr', ylabel=label)
        panel.grid(alpha=0.3)
    panels[0].set_yscale('log')
    panels[0].legend(fontsize=8)
    figure.tight_layout()
    return figure


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--margins', nargs='+', type=float, default=MARGINS)
    parser.add_argument('--thresholds', nargs='+', type=float, default=THRESHOLDS)
    parser.add_argument('--epochs', type=int, help="length of each training (default: the config's)")
    parser.add_argument('--scenes', nargs=2, type=int, metavar=('TRAIN', 'VAL'), help="(default: the config's)")
    parser.add_argument('--seed', type=int, default=0)
    report.add_paths(parser, 'score_thr')
    args = parser.parse_args(argv)
    overrides = {} if args.epochs is None else {'train_cfg.max_epochs': args.epochs}
    for split, number in zip(('train', 'val'), args.scenes or (), strict=False):
        overrides[f'{split}_dataloader.dataset.num_scenes'] = number
    make = functools.partial(trial_spec, CONFIG, seed=args.seed, thresholds=list(args.thresholds))
    cells = {f'm{m:g}': make({**overrides, f'{LOSS}.clip': m}, margin=m) for m in args.margins}
    check_failures(run_grid(cells, args, train_and_measure, describe), args)
    gather(args.cells, args.results)
    done = finished(cells, args.cells, args.results).values()
    measured = {cell['spec']['margin']: cell['result'] for cell in done}
    save_figure(draw(measured), args.images / 'score_thr', kinds=['png'])
    for margin, found in measured.items():
        quantiles = ', '.join(f'{q} %: {score:.3f}' for q, score in found['score_quantiles'].items())
        print(f'\nm = {margin:g} (scores of all points and classes: {quantiles})')
        print(table(list(found['rows'][0]), [[f'{value:g}' for value in row.values()] for row in found['rows']]))


if __name__ == '__main__':
    sys.exit(main())
