"""The benchmark of a GPU, as far as it goes without one: tiny inputs in Triton's interpreter."""

import json

import gpu
import pytest
import torch

from tests.test_ops.triton_device import use_interpreter


@pytest.fixture
def dry_run(tmp_path):
    use_interpreter()

    def run(*arguments, status=0):
        assert gpu.main(['--device', 'cpu', '--out', str(tmp_path), *arguments]) == status
        return json.loads((tmp_path / 'dry-run.json').read_text()), (tmp_path / 'dry-run.md').read_text()

    return run


def test_every_section_writes_its_part(dry_run, monkeypatch):
    monkeypatch.setattr(gpu, 'SPEED', [('128x80', torch.float32), ('44800x80', torch.float16)])
    monkeypatch.setattr(gpu, 'TRAINED', ('fcos',))
    pytest.importorskip('mmdet')
    result, text = dry_run()
    assert result['tests'] == dict(tests=3, failures=0, errors=0, skipped=0, finished=True)
    assert list(result['speed']) == ['float32', 'float16']
    for of_dtype in result['speed'].values():
        names = [row['contender'] for row in of_dtype['rows']]
        assert names[0] == gpu.OURS and gpu.BCE in names and names[-1] == gpu.FLOOR
    (row,) = result['training']
    assert list(row['step_ms']) == ['focal loss', 'ASL']
    assert [line for line in result['left_out'] if line.startswith('graph')] == ['graph was left out: it needs a GPU']
    for part in ('no GPU (a dry run', '3 run, 0 failed', '## Speed, float16', '### Targets', '| fcos | ASL |'):
        assert part in text


def test_a_wrong_kernel_has_no_speed(dry_run, monkeypatch):
    monkeypatch.setattr(gpu, 'SPEED', [('128x80', torch.float32)])
    monkeypatch.setattr(gpu, 'gate', lambda case: ['the gradient is wrong'])
    result, text = dry_run('--sections', 'speed', status=1)
    assert result['speed'] == {}
    assert result['failed'] == ["speed 128x80 float32: the gate failed: ['the gradient is wrong']"]
    assert '## Failed' in text


def test_it_stops_in_time_and_says_what_is_missing(dry_run):
    result, text = dry_run('--sections', 'speed', 'training', '--minutes', '0')
    assert result['speed'] == {} and len(result['left_out']) == len(gpu.SPEED) + len(gpu.TRAINED)
    assert '- speed 358400x80 bfloat16 was left out: the time is over' in text


def test_a_contender_that_does_not_run_is_left_out(dry_run, monkeypatch):
    def broken(*arguments, **options):
        case = make_case(*arguments, **options)

        def fail(pred, target):
            raise RuntimeError('no kernel image')

        case.contenders[gpu.BCE] = fail
        return case

    make_case = gpu.make_case
    monkeypatch.setattr(gpu, 'make_case', broken)
    monkeypatch.setattr(gpu, 'SPEED', [('44800x80', torch.float32)])
    result, _ = dry_run('--sections', 'speed')
    assert gpu.BCE not in [row['contender'] for row in result['speed']['float32']['rows']]
    assert '44800x80, torch BCE-with-logits was left out: RuntimeError: no kernel image' in result['left_out']


@pytest.mark.skipif(torch.cuda.is_available(), reason='without a GPU')
def test_without_a_gpu_it_names_the_dry_run(tmp_path, capsys):
    assert gpu.main(['--out', str(tmp_path)]) == 1
    assert '--device cpu is a dry run' in capsys.readouterr().err
