"""tools/infer.py: classifiers and detectors, files of results, pictures that are skipped."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from mmasl.apis.pictures import list_pictures
from mmasl.datasets import DigitScenes
from tests.test_tools.tool_runs import CLASSIFICATION, DETECTION, Refusals, load_main, write_config

main = load_main('infer')
train = load_main('train')


@pytest.fixture(scope='module', params=['classification', 'detection'])
def trained(request, tmp_path_factory):
    """A config and its checkpoint."""
    folder = tmp_path_factory.mktemp(f'infer_{request.param}')
    config = write_config(folder, {'classification': CLASSIFICATION, 'detection': DETECTION}[request.param])
    assert train([config, '--work-dir', str(folder / 'wd'), '--no-validate']) == 0
    return config, str(folder / 'wd' / 'epoch_1.pth')


@pytest.fixture(autouse=True)
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('pictures').mkdir()
    for number, sample in enumerate(DigitScenes('test', 3, image_size=64)):
        Image.fromarray(sample['img'][..., ::-1]).save(f'pictures/{number}.png')


def test_a_folder(trained, capsys):
    config, checkpoint = trained
    thr = ['--thr', '0.002' if 'detection' in config else '0']
    assert main([config, checkpoint, 'pictures', *thr, '--out', 'out/all.json', '--show-dir', 'drawn']) == 0
    assert capsys.readouterr().out.splitlines()[-1] == 'done: 3 pictures in out/all.json and drawn'
    rows = json.loads(Path('out/all.json').read_text())
    assert [row['picture'] for row in rows] == [f'pictures/{number}.png' for number in range(3)]
    assert len([path for path in Path('drawn').rglob('*') if path.is_file()]) == 3
    for row in rows:
        assert row['scores'] == sorted(row['scores'], reverse=True) and len(row['classes']) == len(row['scores'])
        assert ('boxes' in row) == ('detection' in config)
    classes = DigitScenes.METAINFO['classes'] if 'classification' in config else tuple('0123456789')
    assert rows[0]['classes'] and set(rows[0]['classes']) <= set(classes)

    assert main([config, checkpoint, 'pictures/0.png', *thr, '--out', 'one.csv']) == 0
    with open('one.csv') as file:
        lines = list(csv.DictReader(file))
    assert [float(line['score']) for line in lines if line['score']] == rows[0]['scores']
    if 'detection' in config and rows[0]['boxes']:
        assert [float(lines[0][edge]) for edge in ('x1', 'y1', 'x2', 'y2')] == rows[0]['boxes'][0]


def test_pictures_of_one_name_are_all_drawn(trained):
    """Drawings of a/0.png and b/0.png have one name, upstream's of x.1.png and x.2.png too; y.jfif needs another."""
    config, checkpoint = trained
    for path in ('a/0.png', 'b/0.png', 'x.1.png', 'x.2.png', 'y.jfif'):
        Path('more', path).parent.mkdir(parents=True, exist_ok=True)
        Path('more', path).write_bytes(Path('pictures/0.png').read_bytes())
    assert main([config, checkpoint, 'more', '--show-dir', 'deep/drawn', '--out', 'all.csv']) == 0
    drawn = {path.relative_to('deep/drawn').as_posix() for path in Path('deep/drawn').rglob('*') if path.is_file()}
    if 'detection' in config:
        assert drawn == {'vis/0.png', 'vis/x.1.png', 'vis/x.2.png', 'vis/y.jfif.png', '2/vis/0.png'}
    else:
        assert drawn == {'0.png', 'x.1.png', 'x.2.png', 'y.png', '2/0.png'}
    assert Path('all.csv').stat().st_mode == Path(config).stat().st_mode


def test_files_of_a_folder_that_are_no_pictures_by_their_suffix():
    for name in ('a.jfif', 'b.gif', 'c.GIF', 'picture', 'labels.csv'):
        Path('pictures', name).write_bytes(Path('pictures/0.png').read_bytes())
    with pytest.warns(UserWarning, match=r'pictures: files without .* left out: .csv \(1\), .gif \(2\), no suffix'):
        found = list_pictures('pictures')
    assert [Path(path).name for path in found] == ['0.png', '1.png', '2.png', 'a.jfif']
    assert list_pictures('pictures/picture') == ['pictures/picture']  # singly, the suffix does not matter
    Path('others').mkdir()
    Path('others/b.gif').touch()
    with pytest.raises(ValueError, match=r'others: expected a folder with pictures .* found none, but .gif \(1\)$'):
        list_pictures('others')


def test_a_broken_picture_is_skipped_and_reported(trained, capsys):
    config, checkpoint = trained
    Path('pictures/1.png').write_bytes(Path('pictures/1.png').read_bytes()[:100])
    Path('pictures/2.png').write_bytes(b'')
    said = Refusals('infer', capsys)(config, checkpoint, 'pictures', '--out', 'all.csv')
    assert said == '2 of 3 pictures could not be read (pictures/1.png, pictures/2.png); the others are in all.csv'
    with open('all.csv') as file:
        errors = {line['picture']: line['error'] for line in csv.DictReader(file)}
    assert errors == {
        'pictures/0.png': '',
        'pictures/1.png': 'it is not a complete picture (100 bytes)',
        'pictures/2.png': 'it is not a complete picture (0 bytes)',
    }


def test_refusals(trained, capsys):
    config, checkpoint = trained
    refuse = Refusals('infer', capsys)
    assert 'must end in .json or .csv' in refuse(config, checkpoint, 'pictures', '--out', 'all.txt')
    assert 'the folder /proc/self is not writable' in refuse(
        config, checkpoint, 'pictures', '--out', '/proc/self/a.csv'
    )
    said = refuse(config, checkpoint, 'pictures', '--thr', '30')
    assert said == '--thr: expected numbers in [0, 1], got [30.0]'
    assert 'pictures is a folder: only the strategy' in refuse(config, 'pictures', 'pictures')
    Path('empty').mkdir()
    assert 'empty: expected a folder with pictures' in refuse(config, checkpoint, 'empty')
    assert 'epoch_2.pth does not exist' in refuse(config, checkpoint.replace('1.pth', '2.pth'), 'pictures')
    assert "--device: torch cannot use 'gpu': " in refuse(config, checkpoint, 'pictures', '--device', 'gpu', status=2)
    if 'detection' in config:
        assert 'is a detector' in refuse(config, checkpoint, 'pictures', '--topk', '3')
    else:
        assert 'absent.json' in refuse(config, checkpoint, 'pictures', '--thr', 'absent.json')
        Path('thr.json').write_text('{"thr": [0.1, 0.2]}')
        said = refuse(config, checkpoint, 'pictures', '--thr', 'thr.json')
        assert said == '--thr thr.json: expected one number or 80, one for each class, got 2'
