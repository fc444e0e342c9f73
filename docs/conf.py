"""Sphinx over the Markdown files where they are, in the whole repository: a link between them holds here and there.

Run by ``make docs``; a link that leads nowhere is an error.
"""

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx

import mmasl

project = 'mmasl'
author = copyright = 'the authors of mmasl'
version = release = mmasl.__version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx_copybutton']
root_doc = 'docs/index'
include_patterns = [
    '*.md',
    'docs/**',
    'configs/README.md',
    'configs/**/README.md',
    'mmasl/**/README.md',
    'tools/**/README.md',
    'tools/benchmarks/loss.md',
]
exclude_patterns = ['docs/_build', 'mmasl/.mim', '.venv*', '**/work_dirs']

myst_enable_extensions = ['dollarmath', 'amsmath']
myst_heading_anchors = 3

autodoc_typehints = 'none'  # they stand in the signature
autodoc_member_order = 'bysource'
autodoc_mock_imports = ['triton']
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # a NamedTuple's fields are documented once

html_theme = 'furo'
html_title = f'mmasl {release}'
html_copy_source = False
html_static_path = ['_static']
html_css_files = ['mmasl.css']
html_math_renderer = 'mathml'


def mathml(self, node: nodes.math | nodes.math_block) -> None:
    """Write a formula as MathML, which every browser draws by itself, with no script from elsewhere."""
    if isinstance(node, nodes.math_block):
        formula = latex2mathml.converter.convert(node.astext(), display='block')
        self.body.append(f'<div class="math">{formula}</div>')
    else:
        self.body.append(latex2mathml.converter.convert(node.astext()))
    raise nodes.SkipNode


def keep_spreads(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Keep a number and its spread in one line of a narrow table cell."""
    for text in list(doctree.findall(nodes.Text)):
        if ' ± ' in text:
            text.parent.replace(text, nodes.Text(text.replace(' ± ', '\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}')))


def setup(app: Sphinx) -> None:
    app.connect('doctree-resolved', keep_spreads)
    app.add_html_math_renderer('mathml', inline_renderers=(mathml, None), block_renderers=(mathml, None))
