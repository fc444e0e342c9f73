import csv
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def demo(folder, *arguments):
    command = [sys.executable, str(ROOT / 'tools' / 'demo.py'), '--out', str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder.parent)


def test_a_tiny_demo_writes_table_figure_and_curves(tmp_path):
    out = tmp_path / 'demo'
    done = demo(out, '--epochs', '2', '--scenes', '64', '--workers', '2')
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((out / 'demo.json').read_text())
    assert list(results) == ['ce', 'fl', 'asl']
    for result in results.values():
        assert 0 < result['mAP'] < 100 and 0 < result['p_pos'] < 1 and 0 < result['p_neg'] < 1
        assert abs(result['delta_p'] - (result['p_pos'] - (1 - result['p_neg']))) < 1e-3
        assert [point['epoch'] for point in result['curve']] == [1, 2]
    with open(out / 'demo.csv') as file:
        rows = list(csv.DictReader(file))
    assert [row['loss'] for row in rows] == ['cross-entropy', 'focal loss', 'ASL']
    assert float(rows[2]['mAP']) == results['asl']['mAP']
    assert (out / 'demo.png').read_bytes()[:4] == b'\x89PNG' and '</svg>' in (out / 'demo.svg').read_text()
    for text in ('cross-entropy', 'ASL', 'mAP', 'Δp', 'demo.csv'):
        assert text in done.stdout
    assert 'mmengine' not in done.stdout + done.stderr  # the noise of the trainings is in their log
    assert (out / 'trainings.log').stat().st_size


def test_a_training_that_fails_is_reported_in_one_line(tmp_path):
    done = demo(tmp_path / 'demo', '--epochs', '1', '--scenes', '0')
    assert done.returncode == 1
    assert 'ASL failed: ' in done.stderr and 'num_scenes' in done.stderr and 'trainings.log' in done.stderr
    assert 'Traceback' not in done.stdout + done.stderr
