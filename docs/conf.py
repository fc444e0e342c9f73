"""Sphinx over the Markdown files where they are, in the whole repository: a link between them holds here and there.

Run by ``make docs``; a link that leads nowhere is an error.
"""

import mmasl

project = 'mmasl'
author = 'the authors of mmasl'
version = release = mmasl.__version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx.ext.mathjax', 'sphinx_copybutton']
root_doc = 'docs/index'
include_patterns = [
    '*.md',
    'docs/**',
    'configs/README.md',
    'configs/**/README.md',
    'mmasl/**/README.md',
    'tools/**/README.md',
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
