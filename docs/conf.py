"""Configuration of Sphinx. `make docs` builds docs/_build/html, with every warning an error."""

import configparser
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

metadata = configparser.ConfigParser()
metadata.read(HERE.parent / "setup.cfg")

project = "mgate"
author = "the mgate authors"
copyright = f"{author}, Apache License 2.0"
release = version = metadata["metadata"]["version"]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
# In our docstrings, single backquotes mark names and code.
default_role = "code"
exclude_patterns = ["_build", "snippets"]
nitpicky = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# A list, because the fields that Sphinx makes of attributes cannot share one text as in "before, after: ...".
napoleon_custom_sections = [("Attributes", "params_style")]

html_theme = "alabaster"
html_theme_options = {
    "description": "Your Python judges every connection, message and subscription.",
    "fixed_sidebar": True,
    # Room for code of 120 columns in a window of 1200 pixels; below its page_width the theme stacks everything.
    "page_width": "1180px",
    "sidebar_width": "190px",
    "body_max_width": "none",
    "font_size": "16px",
    "code_font_size": "12px",
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_show_sourcelink = False
html_show_sphinx = False
