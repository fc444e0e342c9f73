"""Tiny configs for the tools, and running a tool inside the test's process."""

import functools
import importlib.util
import socket
import sys
from pathlib import Path

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

TOOLS = Path(__file__).parents[2] / 'tools'

RUNTIME = """
loader = dict(batch_size=8, num_workers=0)
shuffled = dict(type='DefaultSampler', shuffle=True)
in_order = dict(type='DefaultSampler', shuffle=False)
train_dataloader = dict(**loader, sampler=shuffled, dataset=dict(split='train', **scenes))
val_dataloader = dict(**loader, sampler=in_order, dataset=dict(split='val', **scenes))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
param_scheduler = [dict(type='MultiStepLR', milestones=[100])]
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg = dict()
test_cfg = dict()
randomness = dict(seed=0)
visualizer = dict(type=visualizer_type, vis_backends=[dict(type='LocalVisBackend')])
"""

CLASSIFICATION = (
    """
default_scope = 'mmpretrain'
scenes = dict(type='mmasl.DigitScenes', num_scenes=16, pipeline=[dict(type='PackInputs')])
val_evaluator = dict(type='MultiLabelMetric', thr=0.02)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=80, to_onehot=True, mean=[127.0], std=[64.0]),
    backbone=dict(type='mmasl.DigitNet'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=80,
        in_channels=128,
        loss=dict(type='mmasl.AsymmetricLoss', gamma_neg=4.0),
    ),
)
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', interval=1), visualization=dict(type='VisualizationHook')
)
visualizer_type = 'UniversalVisualizer'
"""
    + RUNTIME
)

DETECTION = (
    """
default_scope = 'mmdet'
meta = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')
pipeline = [dict(type='Resize', scale=(64, 64)), dict(type='PackDetInputs', meta_keys=meta)]
scenes = dict(type='mmasl.DigitScenes', classes='digit', num_scenes=8, image_size=64, pipeline=pipeline)
val_evaluator = dict(type='CocoMetric', metric='bbox')
model = dict(
    type='FCOS',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[127.0] * 3, std=[64.0] * 3, pad_size_divisor=32),
    backbone=dict(type='mmasl.DigitNet', out_indices=(1, 2, 3)),
    neck=dict(type='FPN', in_channels=[48, 96, 128], out_channels=16, num_outs=3),
    bbox_head=dict(
        type='FCOSHead',
        num_classes=10,
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        strides=[4, 8, 16],
        regress_ranges=((-1, 16), (16, 32), (32, 1e8)),
        norm_cfg=dict(type='GN', num_groups=4),
        loss_cls=dict(type='mmasl.AsymmetricLoss', use_sigmoid=True, gamma_neg=2.0),
        loss_bbox=dict(type='GIoULoss'),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True),
    ),
    test_cfg=dict(nms_pre=100, score_thr=0.001, nms=dict(type='nms', iou_threshold=0.5), max_per_img=20),
)
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
visualizer_type = 'DetLocalVisualizer'
"""
    + RUNTIME
)


def forget_runs() -> None:
    """Forget what MMEngine keeps of a run for the whole process: loggers on closed streams, the last default scope.

    A run that starts in the same second as another one of the same config would go on with its history.
    """
    for manager in (MMLogger, MessageHub, Visualizer, DefaultScope):
        manager._instance_dict.clear()


def load_main(tool: str):
    """Return ``main`` of ``tools/<tool>.py``, which is no package. It forgets the runs before, as a process would."""
    spec = importlib.util.spec_from_file_location(f'mmasl_tools_{tool}', TOOLS / f'{tool}.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)

    @functools.wraps(module.main)
    def main(*args, **kwargs):
        forget_runs()
        return module.main(*args, **kwargs)

    return main


def write_config(folder: Path, text: str, more: str = '') -> str:
    """Write a config and return its path; its name is unique, because MMEngine names its loggers after it."""
    file = folder / f'{folder.name}.py'
    file.write_text(text + more)
    return str(file)


def last_log(work_dir) -> Path:
    """Return the folder of the last run in ``work_dir``."""
    return sorted(path for path in Path(work_dir).iterdir() if (path / 'vis_data').is_dir())[-1]


def free_port() -> str:
    """Return a port that nobody listens at."""
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return str(server.getsockname()[1])


class Refusals:
    """Runs a tool that must refuse, and returns its one line."""

    def __init__(self, tool: str, capsys: pytest.CaptureFixture):
        self.main, self.capsys = load_main(tool), capsys

    def __call__(self, *argv: str, status: int = 1) -> str:
        self.capsys.readouterr()
        try:
            returned = self.main(list(argv))
        except SystemExit as stop:  # argparse
            returned = stop.code
        out, err = self.capsys.readouterr()
        assert returned == status
        assert 'Traceback' not in out + err
        (last,) = (line for line in err.splitlines() if line.startswith('error: '))
        assert err.rstrip().endswith(last)
        return last.removeprefix('error: ')
