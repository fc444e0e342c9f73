"""docs/own_pictures.md: every command of the page, in its order, on the folder that its first command writes."""

import re
import shlex
from glob import glob
from pathlib import Path

import pytest

from tests.test_tools.tool_runs import load_main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs' / 'own_pictures.md').read_text(encoding='utf-8')
# What a reader sets in the copy of the template, here for seconds on a CPU.
SET = {'size': 32, 'batch_size': 4, 'epochs': 1, 'weights': None}


def commands():
    for block in re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL):
        yield from (shlex.split(line) for line in block.replace('\\\n', ' ').strip().splitlines())


def test_the_page(tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime')
    monkeypatch.chdir(tmp_path)
    ran = []
    for command in commands():
        if command[0] == 'cp':
            source = glob(command[1]) or [str(ROOT / command[1])]
            Path(command[2]).write_bytes(Path(source[0]).read_bytes())
        else:
            tool = command[1].removeprefix('tools/').removesuffix('.py')
            small = ['--train', '8', '--val', '4', '--test', '4', '--side', '48'] if 'miniature' in tool else []
            sized = [str(SET['size']) if word == '224' else word for word in command[2:]]
            assert load_main(tool)([*sized, *small]) in (0, None), command
            ran.append(tool)
        config = Path('my_config.py')
        if config.exists() and 'size = 224' in config.read_text():
            text = config.read_text()
            for name, value in SET.items():
                text, number = re.subn(rf'^{name} = .*$', f'{name} = {value!r}', text, flags=re.MULTILINE)
                assert number == 1
            config.write_text(text.replace('num_workers=4', 'num_workers=0'))
    assert len(ran) == 8 and {Path(tool).name for tool in ran} >= {'train', 'test', 'tune_threshold', 'infer', 'export'}
    assert Path('labels.csv').read_text().startswith('picture,class,score') and Path('model.onnx').exists()
    assert len([path for path in Path('drawn').rglob('*') if path.is_file()]) == 16
