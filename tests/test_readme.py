"""The README's Python snippets run, and what it links to exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')
SNIPPETS = re.findall(r'```python\n(.*?)```', README, re.DOTALL)


def test_there_are_snippets():
    assert len(SNIPPETS) >= 3


@pytest.mark.parametrize('snippet', SNIPPETS, ids=range(len(SNIPPETS)))
def test_snippet_runs(snippet):
    names = {}
    exec(compile(snippet, 'README.md', 'exec'), names)
    for head in ('head', 'bbox_head'):
        for key, loss in names.get('model', {}).get(head, {}).items():
            if isinstance(loss, dict):
                from mmengine.registry import MODELS

                assert type(MODELS.build(loss)).__name__ == 'AsymmetricLoss', key


PAGES = ('README.md', 'CONTRIBUTING.md', 'configs/digit_scenes/README.md', 'docs/detection.md')


@pytest.mark.parametrize('page', PAGES)
def test_links_and_named_files_exist(page):
    text = (ROOT / page).read_text(encoding='utf-8')
    links = re.findall(r'\]\((?!http)([^)#]+)\)', text)
    if page == 'README.md':
        links += re.findall(r'\b((?:configs|tools)/[\w/.-]+\.py)\b', text)
    missing = [link for link in links if not ((ROOT / page).parent / link).exists() and not (ROOT / link).exists()]
    assert not missing


def test_make_targets_exist():
    targets = set(re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(encoding='utf-8'), re.MULTILINE))
    assert set(re.findall(r'`?(?:^|`)(?:WHEELHOUSE=dir )?make (\w+)', README, re.MULTILINE)) <= targets
