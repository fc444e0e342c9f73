"""What can be imported with which OpenMMLab packages absent. Each case runs in a process of its own."""

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import mmasl
from tests.test_tools.tool_runs import TOOLS

PACKAGE = Path(mmasl.__file__).parent
OPENMMLAB = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain')


def run(code, block=()):
    """The output of ``code`` in a fresh Python where the packages of ``block`` cannot be imported."""
    code = f'import sys\nsys.modules.update(dict.fromkeys({list(block)}))\n' + textwrap.dedent(code)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_blocking_blocks():
    with pytest.raises(AssertionError, match='No module named .mmdet'):
        run('import mmdet.models', block=['mmdet'])


def test_import_loads_little_beside_torch():
    code = """
        import torch
        before = set(sys.modules)
        from mmasl import asymmetric_loss
        print(*{name.split('.')[0] for name in set(sys.modules) - before})
    """
    assert set(run(code).split()) <= {'mmasl', 'decimal', '_decimal'}


def test_check_env_works_without_torch():
    code = """
        from mmasl import check_env
        assert check_env.main() == 1
    """
    assert 'torch' in run(code, block=['torch', *OPENMMLAB])


def test_functional_api_needs_no_openmmlab_package():
    code = """
        import torch, mmasl
        pred = torch.tensor([[2.0, -1.0], [0.5, 0.0]], requires_grad=True)
        loss = mmasl.asymmetric_loss(pred, torch.tensor([[1, 0], [-1, 1]]))
        loss.backward()
        assert pred.grad[1, 0] == 0 and pred.grad.abs().sum() > 0
        index = mmasl.asymmetric_loss(pred, torch.tensor([0, 2]), reduction='none')
        assert index.shape == pred.shape
    """
    run(code, block=OPENMMLAB)


def test_the_modules_need_no_openmmlab_package():
    code = """
        import torch
        from mmasl import AdaptiveAsymmetricLoss, AsymmetricLoss, AsymmetricQualityLoss, SoftmaxAsymmetricLoss
        pred = torch.tensor([[2.0, -1.0], [0.5, 0.0]], requires_grad=True)
        adaptive = AdaptiveAsymmetricLoss(total_steps=9)
        for loss in (adaptive, AsymmetricLoss(), AsymmetricQualityLoss(), SoftmaxAsymmetricLoss()):
            assert f'gamma_neg={float(loss.gamma_neg)}' in repr(loss), loss
            (gradient,) = torch.autograd.grad(loss(pred, torch.tensor([0, 1])), pred)
            assert gradient.abs().sum() > 0
    """
    run(code, block=OPENMMLAB)


def test_measures_and_thresholds_need_no_openmmlab_package():
    code = """
        import numpy as np
        from mmasl.evaluation import choose_thresholds, multilabel_metrics, read_thresholds
        scores, targets = np.array([[0.9, 0.2], [0.6, 0.7]]), np.array([[1, 0], [0, 1]])
        thr = choose_thresholds(scores, targets, per_class=True)
        assert multilabel_metrics(scores, targets, thr)['OF1'] == 100 and read_thresholds(0.5) == 0.5
    """
    run(code, block=[*OPENMMLAB, 'torch'])


def test_the_registry_finds_the_losses_and_metrics_that_register_nothing_themselves():
    code = """
        import mmasl, mmasl.evaluation
        from mmengine.registry import METRICS, MODELS
        for name in ('AdaptiveAsymmetricLoss', 'AsymmetricLoss', 'AsymmetricQualityLoss', 'SoftmaxAsymmetricLoss'):
            assert MODELS.get(f'mmasl.{name}') is getattr(mmasl, name) is MODELS.children['mmasl'].get(name), name
        for name in ('FrequencyGroupMetric', 'MultiLabelMetric'):
            assert METRICS.get(f'mmasl.{name}') is getattr(mmasl.evaluation, name), name
    """
    run(code, block=['mmcv', 'mmdet', 'mmpretrain'])


@pytest.mark.parametrize('scope', ['mmpretrain', None])
def test_classification_needs_no_mmdet_and_no_compiled_ops_and_no_custom_imports(scope):
    code = f"""
        import torch
        from mmengine import registry
        scope = {scope!r}
        if scope:
            registry.init_default_scope(scope)
        registry.MODELS.build(dict(type='mmasl.AsymmetricLoss'))
        registry.METRICS.build(dict(type='mmasl.MultiLabelMetric'))
        assert scope or 'mmpretrain' not in sys.modules  # it is imported after mmasl.registry

        from mmpretrain.registry import DATASETS, METRICS, MODELS
        from mmpretrain.structures import DataSample
        head = MODELS.build(dict(
            type='mmpretrain.MultiLabelLinearClsHead', num_classes=80, in_channels=8,
            loss=dict(type='mmasl.AsymmetricLoss')))
        dataset = DATASETS.build(dict(type='mmasl.DigitScenes', split='train', num_scenes=2, pipeline=[]))
        samples = [DataSample().set_gt_label(dataset[i]['gt_label']) for i in range(2)]
        loss = head.loss((torch.randn(2, 8),), samples)['loss']
        loss.backward()
        assert loss > 0 and head.fc.weight.grad.abs().sum() > 0
        metric = METRICS.build(dict(type='mmasl.MultiLabelMetric'))
        metric.process(None, [s.to_dict() for s in head.predict((torch.randn(2, 8),), samples)])
        assert 0 <= metric.evaluate(2)['multi-label/mAP'] <= 100
        names = ['IgnoreAwareMixup', 'IgnoreAwareCutMix']
        augments = dict(augments=[dict(type='mmasl.' + name, alpha=1.0) for name in names])
        preprocessor = MODELS.build(dict(type='mmpretrain.ClsDataPreprocessor', batch_augments=augments))
        assert [type(augment).__name__ for augment in preprocessor.batch_augments.augments] == names
    """
    run(code, block=['mmdet', 'mmcv._ext'])


def test_detection_needs_no_mmpretrain():
    code = """
        from mmdet.registry import MODELS
        from mmengine.registry import init_default_scope
        init_default_scope('mmdet')
        loss = dict(type='mmasl.AsymmetricLoss', use_sigmoid=True)
        assert type(MODELS.build(loss)).__module__ == 'mmasl.models.losses.asymmetric_loss'
        head = MODELS.build(dict(type='FCOSHead', num_classes=3, in_channels=32, feat_channels=32, loss_cls=loss))
        assert head.cls_out_channels == 3
    """
    run(code, block=['mmpretrain'])


# The rooms of the package from the ground up. A module imports from its own room and from floors below it.
FLOORS = (
    ('compat', 'errors', 'files', 'registry'),
    ('ops',),
    ('functional', 'testing'),
    ('analysis', 'datasets', 'evaluation'),
    ('models',),
    ('apis', 'engine'),
    ('check_env', 'cli'),
)
WITHOUT_OPENMMLAB = ('analysis', 'check_env', 'compat', 'errors', 'files', 'functional', 'ops', 'testing')


def imported(path):
    """The full names of all that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: imports are absolute here'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def rooms_and_imports():
    for path in sorted(PACKAGE.rglob('*.py')):
        room = path.relative_to(PACKAGE).parts[0].removesuffix('.py')
        if room != '__init__':
            yield from ((path, room, name.split('.')) for name in imported(path))


def test_every_room_has_a_floor():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == '.py' or (path / '__init__.py').is_file()}
    rooms -= {'__init__'}
    assert rooms == {room for floor in FLOORS for room in floor}


def test_no_import_runs_upwards():
    floor_of = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    upwards = [
        f'{path.relative_to(PACKAGE)} imports mmasl.{name[1]}'
        for path, room, name in rooms_and_imports()
        if name[0] == 'mmasl' and len(name) > 1 and name[1] != room and floor_of[name[1]] >= floor_of[room]
    ]
    assert upwards == []


def test_these_rooms_import_no_openmmlab_package():
    found = [
        f'{path.relative_to(PACKAGE)} imports {name[0]}'
        for path, room, name in rooms_and_imports()
        if room in WITHOUT_OPENMMLAB and name[0] in OPENMMLAB
    ]
    assert found == []


RUN_TOOL = """
import runpy, sys
sys.argv[1:] = {arguments!r}
try:
    runpy.run_path({tool!r}, run_name='__main__')
finally:
    print('slow imports:', [name for name in ('torch', 'mmengine', 'numpy') if name in sys.modules])
"""
QUICK = [
    tool
    for tool in sorted(path.relative_to(TOOLS).as_posix() for path in TOOLS.rglob('*.py'))
    if 'parse_args()  # --help' in (TOOLS / tool).read_text()
]


def test_the_tools_that_users_run_are_among_them():
    assert {'train.py', 'test.py', 'infer.py', 'model_converters/export.py'} <= set(QUICK)


def answer(tool: str, *arguments: str, status: int) -> None:
    code = RUN_TOOL.format(tool=str(TOOLS / tool), arguments=list(arguments))
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert done.stdout.endswith('slow imports: []\n')
    assert 'usage:' in done.stdout or 'error: ' in done.stderr


@pytest.mark.parametrize('tool', QUICK)
@pytest.mark.parametrize('flag, status', [('--help', 0), ('--no-such-flag', 2)])
def test_help_and_mistakes_wait_for_no_import(tool, flag, status):
    answer(tool, flag, status=status)


def test_a_mistake_after_options_waits_for_no_import():
    answer('train.py', 'config.py', '--cfg-options', 'a=1', '--no-such-flag', status=2)
