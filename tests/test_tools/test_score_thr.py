import json

import score_thr as tool


def test_fewer_boxes_enter_nms_at_a_higher_threshold(tmp_path, capsys):
    arguments = ['--margins', '0.05', '--thresholds', '0.001', '0.05', '1', '--epochs', '1', '--scenes', '32', '8']
    paths = dict(cells=tmp_path / 'cells', results=tmp_path / 'results.jsonl', images=tmp_path)
    arguments += [text for key, path in paths.items() for text in (f'--{key}', str(path))]
    assert tool.main([*arguments, '--workers', '1']) == 0
    found = json.loads((tmp_path / 'cells' / 'm0.05.json').read_text())['result']
    boxes = [row['boxes'] for row in found['rows']]
    assert boxes == sorted(boxes, reverse=True) and boxes[0] == 2 * 300 and boxes[-1] == 0
    assert all(row['milliseconds'] > 0 and 0 <= row['mAP'] <= 100 for row in found['rows'])
    assert 0 < found['score_quantiles']['50'] <= found['score_quantiles']['99'] < 1
    assert (tmp_path / 'score_thr.png').read_bytes()[:4] == b'\x89PNG'
    assert '| score_thr | boxes | milliseconds | mAP |' in capsys.readouterr().out
    assert tool.main(arguments) == 0  # nothing is trained again
    assert '1 of them finished before' in capsys.readouterr().out
