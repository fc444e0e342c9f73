"""Train FCOS with focal loss and with ASL on scenes of real handwriting, and compare what they detect.

    python tools/demo_det.py                    # a few minutes on two cores; writes work_dirs/demo_det
    python tools/demo_det.py --missing 0.4      # 40 % of the boxes of the training scenes are missing

The command prints COCO's box mAP, also for IoU 0.5 and by size, and writes it as JSON and CSV. It also draws a figure
(PNG, SVG) and a picture that shows the detections with each loss beside the true boxes (``detections``). The demo
trains with one seed; configs/digit_scenes_det/README.md has several.
"""

import sys
from pathlib import Path

import demo

from mmasl.errors import command

SHOWN = 6  # number of test scenes in the picture
SCORE = 0.3  # least score of the boxes that are drawn


def train(spec: dict) -> dict[str, float]:
    """Run one of the trainings in its own process; the detections stay in its folder."""
    from studies.experiment import train_and_test

    dump = dict(type='mmdet.DumpDetResults', out_file_path=str(Path(spec['work_dir']) / 'detections.pkl'))
    overrides = {**spec['overrides'], 'test_evaluator': [dict(type='CocoMetric', metric='bbox'), dump]}
    metrics = train_and_test(spec['config'], overrides, spec['seed'], work_dir=spec['work_dir'])
    return {key: round(100 * metrics[f'bbox_{key}'], 4) for key in DETECTION.columns}


DETECTION = demo.Demo(
    name='demo_det',
    title='DigitScenes, unseen handwriting',
    config='digit_scenes_det/fcos_digitnet_fpn_{row}_1xb16_digitscenes-96px.py',
    losses={'fl': 'focal loss', 'asl': 'ASL'},
    rows={'fl': 'fl', 'asl': 'asl'},
    changes={},
    caption='Settings are the best of stored trials on validation scenes: 6 of focal loss, 8 of ASL.',
    train=train,
    columns={
        'mAP': 'mAP %',
        'mAP_50': 'mAP50 %',
        'mAP_75': 'mAP75 %',
        'mAP_s': 'small %',  # below 32 x 32 pixels; no digit is large
        'mAP_m': 'medium %',
    },
    logged={name: (f'coco/bbox_{name}', 100.0) for name in ('mAP', 'mAP_50')},
    curves={'mAP': ('-', 'mAP'), 'mAP_50': ('--', 'mAP50')},
    axis='on held-out scenes, %',
    items='scenes',
    sizes={split: (most, 'dataset.num_scenes') for split, most in dict(train=1500, val=200, test=1000).items()},
)


def draw_detections(out: Path, dataset: dict) -> None:
    """Draw scenes in columns, with the true boxes and those of each loss in rows, as ``detections.png`` and .svg."""
    from mmengine import load

    from mmasl.analysis.report import pyplot, save_figure
    from mmasl.datasets import DigitScenes

    dataset = DigitScenes(**{key: value for key, value in dataset.items() if key not in ('type', 'pipeline')})
    found = {loss: load(out / loss / 'detections.pkl') for loss in DETECTION.losses}
    titles = ['truth', *(f'{label}, score ≥ {SCORE}' for label in DETECTION.losses.values())]
    plt = pyplot()
    figure, panels = plt.subplots(len(titles), SHOWN, figsize=(2 * SHOWN, 2.1 * len(titles)), squeeze=False)
    for column in range(min(SHOWN, len(dataset))):
        info = dataset.get_data_info(column)
        names = dataset.metainfo['classes']
        columns = [[(i['bbox'], names[i['bbox_label']]) for i in info['instances']]]
        for results in found.values():
            boxes = results[column]['pred_instances']
            kept = boxes['scores'] >= SCORE
            parts = (boxes[key][kept].tolist() for key in ('bboxes', 'labels', 'scores'))
            columns.append([(box, f'{names[label]} {score:.2f}') for box, label, score in zip(*parts, strict=True)])
        for row, drawn in enumerate(columns):
            panel = panels[row][column]
            panel.imshow(info['img'][..., ::-1])
            for (x1, y1, x2, y2), text in drawn:
                panel.add_patch(plt.Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, color='lime'))
                panel.text(x1, y1 - 1, text, color='lime', fontsize=7)
    for row, title in zip(panels, titles, strict=True):
        row[0].set_ylabel(title, fontsize=8)
        for panel in row:
            panel.set(xticks=[], yticks=[])
    figure.tight_layout()
    save_figure(figure, out / 'detections')


@command
def main(argv=None) -> None:
    parser = demo.make_parser(DETECTION, __doc__)
    parser.add_argument('--missing', type=float, default=0.0, help='share of the training boxes that is missing')
    args = parser.parse_args(argv)
    specs = demo.make_specs(DETECTION, args.out, args.epochs, args.samples, args.seed)
    for spec in specs.values():
        spec['overrides'] |= {
            'train_dataloader.dataset.missing_rate': args.missing,
            'train_dataloader.dataset.seed': args.seed,
        }
    demo.run(DETECTION, specs, args)
    from mmengine import Config

    spec = specs['asl']
    cfg = Config.fromfile(spec['config'])
    cfg.merge_from_dict(spec['overrides'])
    draw_detections(args.out, cfg.test_dataloader.dataset)
    print(f'wrote detections.png and detections.svg in {args.out}')


if __name__ == '__main__':
    sys.exit(main())
