"""The benchmarks refuse wrong numbers and report what they measure. No time is asserted."""

import json
from pathlib import Path

import data_loading
import data_pipeline
import detection_losses
import loss
import loss_cases
import metrics_at_scale
import pytest
import torch
from loss_report import bar_table, bars, compare, read_runs, run_name

from tests.test_ops.triton_device import use_interpreter


@pytest.fixture
def few(monkeypatch):
    """Workloads of a few numbers."""
    for name, kind in (('128x80', 'dense'), ('44800x80', 'index'), ('softmax 128x1000', 'softmax')):
        monkeypatch.setitem(loss_cases.WORKLOADS, name, loss_cases.Workload(8, 5, kind))


NAMES = ['mmasl plain', 'torch BCE-with-logits', 'copy of the same bytes']


def run(out, *more):
    paths = ['--out', str(out / 'loss.jsonl'), '--figures', str(out)]
    return loss.main(['--workloads', '128x80', '44800x80', '--repeats', '2', *paths, *more])


def test_it_writes_numbers_table_and_figure(few, tmp_path, capsys):
    assert run(tmp_path, '--contenders', *NAMES) == 0
    (result,) = read_runs(tmp_path / 'loss.jsonl')
    assert result['machine']['threads'] == 1 and result['machine']['cpu']
    assert [row['contender'] for row in result['rows']] == NAMES * 4
    for row in result['rows']:
        assert 0 < row['ns_min'] <= row['ns_median'] <= row['ns_max']
    # The copy's memory is known: its buffer holds logits, labels and gradient once, read and written.
    memory = {(row['workload'], row['contender']): row['peak_memory'] for row in result['rows']}
    assert memory['128x80', NAMES[2]] == 1.5 and memory['44800x80', NAMES[2]] == 1
    assert (tmp_path / f'{run_name(result)}.png').stat().st_size > 0
    assert '### 44800x80, trained logits' in (text := capsys.readouterr().out) and '### Targets' in text
    assert run(tmp_path, '--contenders', *NAMES, '--check', '--tolerance', '1e9') == 0
    assert read_runs(tmp_path / 'loss.jsonl', 'loss') == [result]
    assert 'no ratio changed' in capsys.readouterr().out


def test_the_page_has_the_tables_of_the_stored_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(loss, 'PAGE', tmp_path / 'loss.md')
    assert loss.main(['--report']) == 0
    assert (tmp_path / 'loss.md').read_text() == (Path(loss.__file__).parent / 'loss.md').read_text()


def test_every_backend_of_both_losses_passes_the_gate(few):
    for workload in ('128x80', '44800x80', 'softmax 128x1000'):
        case = loss_cases.make_case(workload, 'initial', 'cpu', torch.float32)
        case.contenders = {name: f for name, f in case.contenders.items() if 'torch.compile' not in name}
        assert len(case.ours) >= 2 and loss_cases.gate(case) == []


def test_float16_passes_the_gate_however_many_rows_divide_its_gradient(monkeypatch):
    monkeypatch.setattr(loss_cases, 'GATED_LOGITS', 1000 * 80)
    for rows in (44_800, 358_400):
        case = loss_cases.make_case(f'{rows}x80', 'trained', 'cpu', torch.float16, ['mmasl plain'])
        assert len(case.pred) == rows and loss_cases.gate(case) == []


def test_a_loss_of_zero_does_not_pass_the_gate(monkeypatch):
    """Though it is divided by all rows, the gate sees only a part of them."""
    monkeypatch.setattr(loss_cases, 'GATED_LOGITS', 16 * 80)
    case = loss_cases.make_case('358400x80', 'trained', 'cpu', torch.bfloat16, ['mmasl plain'], rows=4096)
    right = case.contenders['mmasl plain']
    assert loss_cases.gate(case) == []
    case.contenders['mmasl plain'] = lambda pred, target: right(pred, target) - right(pred, target).detach()
    (failure,) = loss_cases.gate(case)
    assert 'mmasl plain: error of the loss' in failure


def test_the_gpu_workloads_pass_the_gate_in_the_interpreter(few):
    use_interpreter()
    names = ['mmasl triton', 'mmasl triton, range checks']
    for workload in ('128x80', '44800x80', 'softmax 128x1000'):
        case = loss_cases.make_case(workload, 'initial', 'cpu', torch.bfloat16, names, backends_of='cuda')
        assert case.ours == names and loss_cases.gate(case) == []


def test_bars_are_judged_by_the_ratios_of_the_minima():
    ours, peers = 'mmasl cpu, AVX-512', {'torch BCE-with-logits': 4.0, 'MMPretrain AsymmetricLoss': 30.0}
    rows = [dict(workload='44800x80', regime='trained', contender=name, ns_min=ns) for name, ns in peers.items()]
    rows.append(rows[0] | dict(contender=ours, ns_min=3.4, peak_memory=1.0, peak_memory_scaled=2.2))
    entries = {e['what']: (round(e['value'], 2), e['met']) for e in bars({'machine': {'gpu': None}, 'rows': rows})}
    assert entries == {
        '44800x80, trained: times faster than MMPretrain AsymmetricLoss': (8.82, True),
        '44800x80, trained, AVX-512: time ÷ torch BCE-with-logits': (0.85, False),
        'peak memory ÷ logits, gradient included': (1.0, True),
        'the same with an upstream gradient of 2': (2.2, False),
    }
    assert '≤ 0.8 | 0.85 | **missed** |' in bar_table(bars({'machine': {'gpu': None}, 'rows': rows}))


def test_a_wrong_gradient_stops_it_before_any_speed(few, tmp_path, monkeypatch, capsys):
    from mmasl.ops.asymmetric_loss import plain

    right = plain._negative

    def wrong(*arguments):
        value, slope = right(*arguments)
        return value, slope if slope is None else 1.001 * slope

    monkeypatch.setattr(plain, '_negative', wrong)
    assert run(tmp_path, '--contenders', *NAMES) == 1
    assert 'mmasl plain: error of the gradient' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_check_lists_the_ratios_that_changed():
    def result(ours):
        rows = [('mmasl cpu', ours), ('torch BCE-with-logits', 2.0)]
        return {'rows': [dict(workload='w', regime='r', contender=name, ns_min=ns) for name, ns in rows]}

    assert compare(result(1.0), result(1.1), 0.25) == []
    assert compare(result(1.0), result(2.0), 0.25) == ['w r mmasl cpu: ratio to BCE 0.50 -> 1.00']


def test_the_interval_of_a_median_is_that_of_the_sign_test():
    pytest.importorskip('mmpretrain')
    from loss_in_training import median_interval

    assert median_interval([5, 4, 3, 2, 1]) is None
    assert median_interval([9, 8, 7, 6, 5, 4, 3, 2, 1]) == (2, 8)  # 1 - 2 * (1 + 9) / 2**9 = 96.1 %


def test_bad_arguments(few, tmp_path, capsys):
    with pytest.raises(SystemExit, match='--contenders: expected among .* got .*nobody'):
        run(tmp_path, '--contenders', 'nobody')
    assert run(tmp_path, '--check') == 1
    assert 'loss.jsonl, found none' in capsys.readouterr().err


def test_it_prints_time_and_memory_of_each_kind_of_target(tmp_path, capsys):
    assert detection_losses.main(['--rows', '2000', '--repeats', '2', '--out', str(tmp_path / 'out.jsonl')]) == 0
    rows = json.loads((tmp_path / 'out.jsonl').read_text())['rows']
    kinds = ('class index', '(labels, scores)', 'dense scores')
    assert [row['target'] for row in rows[::3]] == [*kinds, *(f'{kind}, probabilities' for kind in kinds[:2])]
    memory = {(row['target'], row['loss']): row['peak_memory'] for row in rows}
    for kind in kinds[:2]:
        assert memory[kind, detection_losses.OURS] < 2.2 and memory[kind, detection_losses.ASYMMETRIC] < 2.2
    assert memory['class index', 'MMDetection FocalLoss'] > 8
    assert all(0 < row['ns_min'] <= row['ns_median'] for row in rows)
    assert '| class index | MMDetection FocalLoss |' in capsys.readouterr().out


def test_a_difference_stops_it_before_any_speed(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(detection_losses.SAME, 'gamma_neg', 2.01)
    assert detection_losses.main(['--rows', '200', '--out', str(tmp_path / 'out.jsonl')]) == 1
    assert 'class index: the gradient of ours differs from MMDetection FocalLoss by' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_data_loading(tmp_path):
    assert data_loading.generate_coco(tmp_path, images=50, objects=400) > 400 * 400
    assert data_loading.generate_open_images(tmp_path, images=60) > 60 * 40
    rows = [data_loading.measure(case, str(tmp_path)) for case in data_loading.CASES]
    assert [row['images'] for row in rows] == [50, 60, 60]
    ours, theirs = (data_loading.load(case, str(tmp_path)) for case in data_loading.CASES[1:])
    assert [ours.get_data_info(i) for i in range(60)] == [theirs.get_data_info(i) for i in range(60)]


def test_metrics_at_scale(tmp_path, capsys):
    argv = ['--samples', '50', '--classes', '20', '--batch', '16', '--out', str(tmp_path / 'out.json')]
    metrics_at_scale.main(argv)
    (row,) = json.loads((tmp_path / 'out.json').read_text())['rows']
    assert row['samples'] == 50 and 90 < row['mAP'] <= 100 and row['peak_gib'] > 0
    assert '| samples | classes |' in capsys.readouterr().out


def test_data_pipeline(tmp_path, capsys):
    data_pipeline.main(['--number', '2', '--repeats', '1', '--out', str(tmp_path / 'out.json')])
    result = json.loads((tmp_path / 'out.json').read_text())
    assert all(row['images_per_second'] > 0 for row in result['rows'])
    for job in ('plain', 'augmented'):
        assert next(row['ratio'] for row in result['rows'] if row['job'] == job) == 1  # ours
    assert list(result['profile']) == ['LoadImageFromFile', 'SquishResize', 'Cutout', 'RandAugment', 'PackInputs']
    assert '| RandAugment |' in capsys.readouterr().out
