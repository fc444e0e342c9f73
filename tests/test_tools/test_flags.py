"""Tools answer ``--help`` and mistakes before they import torch and MMEngine."""

import subprocess
import sys

import pytest

from tests.test_tools.tool_runs import TOOLS

RUN = """
import runpy, sys
sys.argv[1:] = {arguments!r}
try:
    runpy.run_path({tool!r}, run_name='__main__')
finally:
    print('slow imports:', [name for name in ('torch', 'mmengine', 'numpy') if name in sys.modules])
"""
QUICK = [
    tool
    for tool in sorted(path.relative_to(TOOLS).as_posix() for path in TOOLS.rglob('*.py'))
    if 'parse_args()  # --help' in (TOOLS / tool).read_text()
]


def test_the_tools_that_users_run_are_among_them():
    assert {'train.py', 'test.py', 'infer.py', 'model_converters/export.py'} <= set(QUICK)


def answer(tool: str, *arguments: str, status: int) -> None:
    code = RUN.format(tool=str(TOOLS / tool), arguments=list(arguments))
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert done.stdout.endswith('slow imports: []\n')
    assert 'usage:' in done.stdout or 'error: ' in done.stderr


@pytest.mark.parametrize('tool', QUICK)
@pytest.mark.parametrize('flag, status', [('--help', 0), ('--no-such-flag', 2)])
def test_help_and_mistakes_wait_for_no_import(tool, flag, status):
    answer(tool, flag, status=status)


def test_a_mistake_after_options_waits_for_no_import():
    answer('train.py', 'config.py', '--cfg-options', 'a=1', '--no-such-flag', status=2)
