"""How Sphinx makes the site, by `python -m docs`.

Its sources are those of the whole repository, so that a link between two pages is the same there and in the site.
"""

import importlib.util
import os
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.inspect import TypeAliasForwardRef
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)

project = "fastattn"
author = "the developers of fastattn"
copyright = "the developers of fastattn, BSD-3-Clause"
version = release = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "version"
]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "examples/*/README.md",
    "examples/attention_dates/attention_dates.ipynb",
    "benchmarks/README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
exclude_patterns = ["docs/_*", ".*", "**/__pycache__", "build", "dist"]
nitpicky = True
suppress_warnings = ["myst-nb.lexer"]  # of a notebook that is not run
default_role = "py:obj"

# The tutorial on serving runs the server: it is left out of a build without what that needs.
if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn", "prometheus_client")):
    exclude_patterns.append("docs/tutorials/serving.md")
    suppress_warnings += ["toc.excluded", "toc.not_readable"]

# Markdown.
myst_enable_extensions = ["dollarmath", "deflist", "attrs_inline"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

# Notebooks are run, but for the example, which is kept with what it printed.
nb_execution_mode = "force"
nb_execution_excludepatterns = ["examples/*/*"]
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_merge_streams = True
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))  # where `fastattn` is

# Docstrings: prose with shapes, in reStructuredText, without sections.
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "forget, weights"}  # each layer has them: docs/api/layers.md says what they are
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "Array": "Array"}
import_module("fastattn.sklearn")  # before one of these is mocked, at which scikit-learn would look
autodoc_mock_imports = [name for name in ("torch", "onnx") if importlib.util.find_spec(name) is None]
TypeAliasForwardRef.__repr__ = lambda self: self.name  # an alias that is a part of a union, by its name alone
python_use_unqualified_type_names = True
# What other packages have, and what is no public name of a module, has no entry here to link to.
nitpick_ignore_regex = [
    ("py:obj", r".*"),
    ("py:(class|exc)", r"(?!fastattn\.).*"),
    ("py:class", r"fastattn\.layers\.(as_one|base|lstm|recurrent)\.\w+"),
    ("py:class", r"fastattn\.models\.(base|config|initial|recurrent|searching)\.\w+"),
    ("py:class", r"fastattn\.training\.(checkpoints|parallel|run|settings|text_model)\.\w+"),
    ("py:class", r"fastattn\.data\.corpus\.Rows"),
]

# Pages that open from a folder: what they load is beside them.
html_theme = "furo"
html_title = "fastattn"
html_static_path = ["_static"]
templates_path = ["_templates"]
html_css_files = ["fastattn.css"]
html_js_files = ["fastattn.js"]
html_additional_pages = {"index": "front.html"}  # where a folder is opened, and leads to the first page
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # a browser does not read other pages from files
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0a5c8a", "color-brand-content": "#0a5c8a"},
    "dark_css_variables": {"color-brand-primary": "#7cc4ee", "color-brand-content": "#7cc4ee"},
    "footer_icons": [],
}
pygments_dark_style = "github-dark"


def _mathml(node: nodes.Node, block: bool) -> str:
    try:
        return latex2mathml.tex2mathml(node.astext(), as_block=block)
    except MathError as error:
        logger.warning("no formula: %s", error, location=node)
        return ""


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(f'<span class="math">{_mathml(node, False)}</span>')
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{_mathml(node, True)}</div>\n')
    raise nodes.SkipNode


def level_of_captions(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """A caption of the navigation has the role of a heading, which must say its level."""
    tree = context.get("furo_navigation_tree")
    if tree:
        context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')


def module_of_source(app: Sphinx, module: str, name: str) -> str | None:
    """Where the source of a name stands: what a mock has decorated says the mock's own module."""
    return module if autodoc_mock_imports and module.startswith("fastattn.interop") else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Formulas are MathML, which browsers show without a script or a font from elsewhere."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("viewcode-follow-imported", module_of_source)
    app.connect("html-page-context", level_of_captions, priority=900)  # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}


html_math_renderer = "mathml"
