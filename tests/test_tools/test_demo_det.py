import csv
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_tiny_detection_demo_writes_table_figure_and_detections(tmp_path):
    out = tmp_path / 'demo'
    sizes = ['--epochs', '1', '--scenes', '32', '--missing', '0.4']
    command = [sys.executable, str(ROOT / 'tools' / 'demo_det.py'), '--out', str(out), *sizes]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((out / 'demo.json').read_text())
    assert list(results) == ['fl', 'asl']
    for result in results.values():
        assert 0 <= result['mAP'] <= result['mAP_50'] <= 100
        assert [point['epoch'] for point in result['curve']] == [1]
    with open(out / 'demo.csv') as file:
        assert [row['loss'] for row in csv.DictReader(file)] == ['focal loss', 'ASL']
    for name in ('demo', 'detections'):
        assert (out / f'{name}.png').read_bytes()[:4] == b'\x89PNG' and '</svg>' in (out / f'{name}.svg').read_text()
    for text in ('focal loss', 'mAP50 %', 'small %', 'detections.png'):
        assert text in done.stdout
