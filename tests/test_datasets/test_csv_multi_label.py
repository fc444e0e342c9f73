"""CSVMultiLabel: both forms of the file, and every wrong line is named."""

from pathlib import Path

import pytest

from mmasl.datasets import CSVMultiLabel, csv_multi_label

NAMES = """file,labels,split
a/1.jpg,sea;person,train
a\\2.jpg, sea ; ?person,train

3.jpg,,val
4.jpg,dog;dog,test
"""
VALUES = """\ufefffile,dog,sea,person,split
a/1.jpg,0,1,1,train
a/2.jpg,0,1,-1,train
3.jpg,0,0,0,val
4.jpg, 1,0,0,test
"""


@pytest.fixture(autouse=True)
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ('a/1.jpg', 'a/2.jpg', '3.jpg', '4.jpg'):
        Path('pictures', file).parent.mkdir(parents=True, exist_ok=True)
        Path('pictures', file).touch()


def read(text, split=None, **options):
    Path('labels.csv').write_text(text, encoding='utf-8')
    return CSVMultiLabel('labels.csv', split=split, data_prefix='pictures', **options)


def test_both_forms_say_the_same():
    names, values = (read(text, classes=('dog', 'person', 'sea')) for text in (NAMES, VALUES))
    assert len(names) == len(values) == 4
    for name in ('img_path', 'gt_label'):
        assert [sample[name] for sample in names] == [sample[name] for sample in values]
    assert all((a['gt_score'] == b['gt_score']).all() for a, b in zip(names, values, strict=True))
    assert [Path(sample['img_path']).name for sample in names] == ['1.jpg', '2.jpg', '3.jpg', '4.jpg']
    assert [sample['gt_label'] for sample in names] == [[1, 2], [2], [], [0]]
    assert [sample['gt_score'].tolist() for sample in names] == [[0, 1, 1], [0, -1, 1], [0, 0, 0], [1, 0, 0]]


def test_what_pandas_writes_and_names_that_are_chosen():
    floats = VALUES.replace(',0', ',0.0').replace(',1', ',1.0').replace(',-1', ',-1.0')
    assert [sample['gt_score'].tolist() for sample in read(floats)] == [s['gt_score'].tolist() for s in read(VALUES)]
    both = read(NAMES.replace('dog', 'Sea'), classes=('Sea', 'person', 'sea'))
    assert [sample['gt_label'] for sample in both] == [[1, 2], [2], [], [0]]


def test_classes_are_those_of_all_splits():
    assert {read(NAMES, split).CLASSES for split in ('train', 'val', 'test')} == {('dog', 'person', 'sea')}
    assert read(VALUES, 'val').CLASSES == ('dog', 'sea', 'person')
    assert [len(read(NAMES, split)) for split in ('train', 'val', 'test')] == [2, 1, 1]
    chosen = read(VALUES, classes=('sea', 'dog'))  # columns of other things stay out
    assert chosen[0]['gt_score'].tolist() == [1, 0]


@pytest.mark.parametrize(
    ('text', 'split', 'warned'),
    [(NAMES, None, 1), (VALUES, None, 1), (NAMES, 'train', 0), (NAMES.replace('split', 'part'), None, 0)],
)
def test_splits_that_nobody_chose_are_warned_of(monkeypatch, text, split, warned):
    said = []
    monkeypatch.setattr(csv_multi_label, 'print_log', lambda text, **_: said.append(text))
    read(text, split)
    message = (
        "labels.csv: all rows are used, of every value in the column split (2 of 'train', 1 of 'val', 1 of 'test'), "
        "because split is not set; write split='train' to use only the rows with this value"
    )
    assert said == [message] * warned
    read(NAMES.replace(',val', ',train').replace(',test', ',train'))
    assert len(said) == warned


WRONG = {
    'no file column': ('name,labels\n', r"labels.csv: expected the column file, got \['name', 'labels'\]"),
    'semicolons': ('file;labels\n', r"expected the column file, got \['file;labels'\]; commas separate the columns"),
    'no labels': ('file,split\n1.jpg,train\n', 'expected the column labels, or a column for each class'),
    'value': (VALUES.replace('1,1,train', '1,yes,train'), "line 2: the column person has 'yes', expected 1, 0 or -1"),
    'empty value': (VALUES.replace('0,0,0', '0,,0'), "line 4: the column sea has '', expected 1, 0 or -1"),
    'more cells': (NAMES.replace('3.jpg,,val', '3.jpg,,val,x'), 'labels.csv, line 5: it has more cells'),
    'no file': (NAMES.replace('3.jpg,,', ',dog,'), 'labels.csv, line 5: it has no file'),
    'a column twice': (VALUES.replace('person', 'sea', 1), "labels.csv: the column 'sea' is there twice"),
    'a column without a name': (VALUES.replace('\n', ',\n'), 'labels.csv: a column has no name in the first line'),
    'two spellings': (NAMES.replace('dog', 'Sea'), "labels.csv: 'Sea' and 'sea' need the same spelling; if both are"),
    'known and unknown': (NAMES.replace(',dog', ',dog;?dog'), "labels.csv, line 6: it has both 'dog' and '.dog'"),
    'twice': (NAMES.replace('4.jpg', '3.jpg'), 'labels.csv, line 6: 3.jpg is in line 5 as well'),
}


@pytest.mark.parametrize('what', WRONG)
def test_what_is_wrong_is_said(what):
    text, message = WRONG[what]
    with pytest.raises(ValueError, match=message):
        read(text)


def test_splits_classes_and_files_that_are_not_there():
    with pytest.raises(ValueError, match="no row has the split 'vals', but test, train, val; did you mean 'val'"):
        read(NAMES, 'vals')
    with pytest.raises(ValueError, match="expected the column split, as split='val', got"):
        read(NAMES.replace('split', 'part'), 'val')
    with pytest.raises(ValueError, match="line 6: 'dog' is none of the classes; did you mean 'dogs'"):
        read(NAMES, classes=('dogs', 'person', 'sea'))
    with pytest.raises(ValueError, match="classes: 'dogs' is no class of labels.csv; did you mean 'dog'"):
        read(VALUES, classes=('dogs', 'sea'))
    Path('labels.csv').write_text('file,labels\n1.jpg,é\n', encoding='latin-1')
    with pytest.raises(ValueError, match='labels.csv is not in UTF-8 .*; save it as "CSV UTF-8"'):
        CSVMultiLabel('labels.csv')
    Path('pictures/4.jpg').unlink()
    assert len(read(NAMES, 'train')) == 2
    with pytest.raises(FileNotFoundError, match=r'pictures/4.jpg \(line 6, with 0 others\) does not exist$'):
        read(NAMES)
    with pytest.raises(FileNotFoundError, match='other.csv does not exist$'):
        CSVMultiLabel('other.csv')
