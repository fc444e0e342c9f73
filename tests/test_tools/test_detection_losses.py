"""The benchmark beside MMDetection's losses: its gate, and the memory that does not depend on the machine."""

import json

import detection_losses as tool


def test_it_prints_time_and_memory_of_each_kind_of_target(tmp_path, capsys):
    assert tool.main(['--rows', '2000', '--repeats', '2', '--out', str(tmp_path / 'out.jsonl')]) == 0
    rows = json.loads((tmp_path / 'out.jsonl').read_text())['rows']
    kinds = ('class index', '(labels, scores)', 'dense scores')
    assert [row['target'] for row in rows[::3]] == [*kinds, *(f'{kind}, probabilities' for kind in kinds[:2])]
    memory = {(row['target'], row['loss']): row['peak_memory'] for row in rows}
    for kind in kinds[:2]:
        assert memory[kind, tool.OURS] < 2.2 and memory[kind, tool.ASYMMETRIC] < 2.2
    assert memory['class index', 'MMDetection FocalLoss'] > 8
    assert all(0 < row['ns_min'] <= row['ns_median'] for row in rows)
    assert '| class index | MMDetection FocalLoss |' in capsys.readouterr().out


def test_a_difference_stops_it_before_any_speed(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(tool.SAME, 'gamma_neg', 2.01)
    assert tool.main(['--rows', '200', '--out', str(tmp_path / 'out.jsonl')]) == 1
    assert 'class index: the gradient of ours differs from MMDetection FocalLoss by' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
