"""Small runs of the studies of margin and prior and of ``score_thr``."""

import json

import prior_and_margin
import pytest
import score_thr

from mmasl.files import write_json


def test_a_cell_shows_prior_and_margin(tmp_path, monkeypatch, capsys):
    cells = prior_and_margin.make_cells(epochs=1, scenes=32, seeds=1)
    assert len(cells) == 6
    name = 'clip0.05_prior0.01_seed0'
    # without a box above score_thr there would be no mAP
    few = {'val_dataloader.dataset.num_scenes': 8, 'model.test_cfg.score_thr': 0.0}
    result = prior_and_margin.run_cell({**cells[name], 'overrides': {**cells[name]['overrides'], **few}})
    assert all(len(result[series]) == 2 for series in prior_and_margin.SERIES) and 0 <= result['mAP'] <= 100
    assert result['negatives'][0] == pytest.approx(0.01, rel=0.3) and result['loss'][0] > 0
    assert result['active'][0] == 0
    monkeypatch.setattr(prior_and_margin, 'SHOWN', (1, 2))
    write_json(tmp_path / 'cells' / f'{name}.json', dict(cell=name, spec=cells[name], result=result, seconds=1.0))
    paths = dict(cells=tmp_path / 'cells', results=tmp_path / 'results.jsonl', images=tmp_path)
    arguments = [text for key, path in paths.items() for text in (f'--{key}', str(path))]
    assert prior_and_margin.main(['--report', '--epochs', '1', '--scenes', '32', *arguments]) == 0
    table = capsys.readouterr().out
    assert '| bias_prob | clip | loss at 1 | loss at 2 | active at 1 |' in table and '| 0.01 | 0.05 |' in table
    assert (tmp_path / 'prior_and_margin.png').stat().st_size > 0


def test_fewer_boxes_enter_nms_at_a_higher_threshold(tmp_path, capsys):
    arguments = ['--margins', '0.05', '--thresholds', '0.001', '0.05', '1', '--epochs', '1', '--scenes', '32', '8']
    paths = dict(cells=tmp_path / 'cells', results=tmp_path / 'results.jsonl', images=tmp_path)
    arguments += [text for key, path in paths.items() for text in (f'--{key}', str(path))]
    assert score_thr.main([*arguments, '--workers', '1']) == 0
    found = json.loads((tmp_path / 'cells' / 'm0.05.json').read_text())['result']
    boxes = [row['boxes'] for row in found['rows']]
    assert boxes == sorted(boxes, reverse=True) and boxes[0] == 2 * 300 and boxes[-1] == 0
    assert all(row['milliseconds'] > 0 and 0 <= row['mAP'] <= 100 for row in found['rows'])
    assert 0 < found['score_quantiles']['50'] <= found['score_quantiles']['99'] < 1
    assert (tmp_path / 'score_thr.png').read_bytes()[:4] == b'\x89PNG'
    assert '| score_thr | boxes | milliseconds | mAP |' in capsys.readouterr().out
    assert score_thr.main(arguments) == 0  # nothing is trained again
    assert '1 of them finished before' in capsys.readouterr().out
