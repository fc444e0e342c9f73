"""The measurement of margin and prior: one cell of one epoch, and what is kept of them."""

import prior_and_margin as tool
import pytest

from mmasl.files import write_json


def test_a_cell_shows_prior_and_margin(tmp_path, monkeypatch, capsys):
    cells = tool.make_cells(tool.CONFIG, epochs=1, scenes=32, seeds=1)
    assert len(cells) == 6
    name = 'clip0.05_prior0.01_seed0'
    result = tool.run_cell(cells[name])
    assert all(len(result[series]) == 2 for series in tool.SERIES) and 0 <= result['mAP'] <= 100
    assert result['negatives'][0] == pytest.approx(0.01, rel=0.3) and result['loss'][0] > 0
    assert result['active'][0] == 0
    monkeypatch.setattr(tool, 'SHOWN', (1, 2))
    write_json(tmp_path / 'cells' / f'{name}.json', dict(cell=name, spec=cells[name], result=result, seconds=1.0))
    paths = dict(cells=tmp_path / 'cells', results=tmp_path / 'results.jsonl', images=tmp_path)
    arguments = [text for key, path in paths.items() for text in (f'--{key}', str(path))]
    assert tool.main(['--report', '--epochs', '1', '--scenes', '32', *arguments]) == 0
    table = capsys.readouterr().out
    assert '| bias_prob | clip | loss at 1 | loss at 2 | active at 1 |' in table and '| 0.01 | 0.05 |' in table
    assert (tmp_path / 'prior_and_margin.png').stat().st_size > 0
