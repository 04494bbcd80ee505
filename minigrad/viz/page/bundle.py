"""Put template, styles, scripts and data together into one HTML file that needs nothing else."""

import base64
import hashlib
import html
import posixpath
import re
from functools import cache
from pathlib import Path
from typing import Any

from minigrad.viz.page.encoding import plain_text, to_json

HERE = Path(__file__).parent
IMPORT = re.compile(r'^import (?:\{([^}]*)\} from )?"(\.[^"]+)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class)\*? (\w+))", re.MULTILINE)


def make_html(title: str, data: Any, live: bool) -> str:
    """Return the page.

    title   heading, of any text
    data    what the scripts read, as JSON has it
    live    whether the page may call the server that it comes from
    """
    script, style = read_scripts(), read_style()
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data: blob:; "
        f"connect-src {chr(39)}{'self' if live else 'none'}{chr(39)}; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": html.escape(plain_text(title)),
        "style": style,
        "data": to_json(data),
        "script": script,
    }
    template = (HERE / "template.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


@cache
def read_style() -> str:
    """Return the style sheet."""
    return (HERE / "page.css").read_text("utf-8")


@cache
def read_scripts(first: str = "main.js") -> str:
    """Return the modules that `first` imports, and itself last, as one script.

    Each module becomes a function that is called once and returns its exports.  An import becomes a look-up.  The
    modules import names, or nothing, in one statement, and export declarations only, so no parser is needed.
    """
    done: dict[str, str] = {}
    _add_module(first, done)
    return "const modules = {};\n" + "".join(done.values())


def _add_module(name: str, done: dict[str, str]) -> None:
    if name in done:
        return
    done[name] = ""  # the modules import each other without cycles
    text = (HERE / "scripts" / name).read_text("utf-8")
    folder = posixpath.dirname(name)
    for _, path in IMPORT.findall(text):
        _add_module(posixpath.normpath(posixpath.join(folder, path)), done)
    done.pop(name)
    done[name] = _wrap_module(name, folder, text)


def _wrap_module(name: str, folder: str, text: str) -> str:
    def look_up(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[2]))
        return "" if match[1] is None else f'const {{{match[1]}}} = modules["{path}"];\n'.replace(" as ", ": ")

    exports = ", ".join(EXPORT.findall(text))
    body = EXPORT.sub("", IMPORT.sub(look_up, text))
    return f'\nmodules["{name}"] = (() => {{\n{body}return {{ {exports} }};\n}})();\n'


@cache
def known_operations() -> frozenset[str]:
    """Return the names of the operations that the page computes, from the scripts that define them."""
    texts = [path.read_text("utf-8") for path in sorted((HERE / "scripts" / "operations").glob("*.js"))]
    return frozenset(re.findall(r'^operation\(\s*"(\w+)"', "\n".join(texts), re.MULTILINE))


def _hash(text: str) -> str:
    """Return the hash of a script or style for a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
