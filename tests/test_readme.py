"""Python snippets of the README and the documentation run, and what they link to exists.

docs/own_pictures.md is run command by command, on the folder that its first command writes.
"""

import re
import shlex
from glob import glob
from pathlib import Path

import pytest
from mmengine import registry

from tests.test_tools.tool_runs import load_main

ROOT = Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')
PAGES = [
    *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md')),
    *(page for folder in ('docs', 'configs', 'tools', 'mmasl') for page in sorted((ROOT / folder).rglob('*.md'))),
]
PAGES = [page.relative_to(ROOT) for page in PAGES if not {'.mim', '_build'} & set(page.parts)]
SNIPPETS = [
    (page, snippet)
    for page in PAGES
    if page.name != 'detection.md'  # its detector is trained in test_integration/test_mmdet_heads.py
    for snippet in re.findall(r'```python\n(.*?)```', (ROOT / page).read_text(encoding='utf-8'), re.DOTALL)
]


def test_there_are_snippets():
    assert sum(page == Path('README.md') for page, _ in SNIPPETS) >= 3


@pytest.mark.parametrize(('page', 'snippet'), SNIPPETS, ids=lambda value: str(value)[:30])
def test_snippet_runs(page, snippet):
    names = {}
    exec(compile(snippet, page, 'exec'), names)
    model = names.get('model')  # a config of MMPretrain or MMDetection, or a module
    for head in ('head', 'bbox_head') if isinstance(model, dict) else ():
        for key, loss in model.get(head, {}).items():
            if isinstance(loss, dict):
                loss.pop('_delete_', None)  # the config reader takes it, not the loss
                assert type(registry.MODELS.build(loss)).__module__.startswith('mmasl.models.losses'), key
    names.pop('__builtins__')
    registries = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
    unknown = [kind for kind in own_types(names) if not any(one.get(kind) for one in registries)]
    assert not unknown
    bases = names.get('_base_', [])
    assert all((ROOT / base).exists() for base in ([bases] if isinstance(bases, str) else bases))


def own_types(node):
    """Yield the names of this package's components in a config."""
    if isinstance(node, dict):
        if str(node.get('type', '')).startswith('mmasl.'):
            yield node['type']
        node = list(node.values())
    for part in node if isinstance(node, list | tuple) else ():
        yield from own_types(part)


@pytest.mark.parametrize('page', PAGES, ids=str)
def test_links_and_named_files_exist(page):
    text = (ROOT / page).read_text(encoding='utf-8')
    links = re.findall(r'\]\((?!http)([^)#]+)\)', text)
    if page == Path('README.md'):
        links += re.findall(r'\b((?:configs|tools)/[\w/.-]+\.py)\b', text)
    missing = [link for link in links if not ((ROOT / page).parent / link).exists() and not (ROOT / link).exists()]
    assert not missing


@pytest.mark.parametrize('page', PAGES, ids=str)
def test_code_fits_its_box_on_the_site(page):
    text = (ROOT / page).read_text(encoding='utf-8')
    blocks = re.findall(r'^ *```([^\n]*)\n(.*?)^ *```', text, re.DOTALL | re.MULTILINE)
    lines = [line for info, block in blocks if not info.startswith('{') for line in block.split('\n')]
    wide = [f'line {text[: text.index(line)].count(chr(10)) + 1}: {line}' for line in lines if len(line) > 88]
    assert not wide, f'{page}, code of more than 88 columns, which scrolls sideways: {wide}'


@pytest.mark.parametrize('page', PAGES, ids=str)
def test_make_targets_exist(page):
    targets = set(re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(encoding='utf-8'), re.MULTILINE))
    text = (ROOT / page).read_text(encoding='utf-8')
    assert set(re.findall(r'(?:^|`)(?:WHEELHOUSE=dir )?make ([a-z-]+)', text, re.MULTILINE)) <= targets


OWN_PICTURES = (ROOT / 'docs' / 'own_pictures.md').read_text(encoding='utf-8')
# What a reader sets in the copy of the template, here for seconds on a CPU.
SET = {'size': 32, 'batch_size': 4, 'epochs': 1, 'weights': None}


def commands():
    for block in re.findall(r'```bash\n(.*?)```', OWN_PICTURES, re.DOTALL):
        yield from (shlex.split(line) for line in block.replace('\\\n', ' ').strip().splitlines())


def test_the_page_on_own_pictures(tmp_path, monkeypatch):
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
