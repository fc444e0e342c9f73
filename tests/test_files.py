import json

import pytest

from mmasl.files import write_json


def test_writing_replaces_the_whole_file_or_nothing(tmp_path):
    path = tmp_path / 'new' / 'a.json'
    write_json(path, dict(a=1))
    with pytest.raises(TypeError):
        write_json(path, dict(a=object()))
    assert json.loads(path.read_text()) == dict(a=1) and list(path.parent.iterdir()) == [path]
