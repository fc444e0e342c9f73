"""tools/misc/draw_transforms.py draws every row."""

from PIL import Image

from tests.test_tools.tool_runs import load_main


def test_the_sheet(tmp_path, capsys):
    out = tmp_path / 'deep' / 'sheet.png'
    load_main('misc/draw_transforms')([str(out), '--tile', '40'])
    assert f'{out}: 5 rows' in capsys.readouterr().out
    assert Image.open(out).size == (8 * 40, 5 * 60)
