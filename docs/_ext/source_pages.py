"""The sources as pages, line by line anchored, and a role that links into them by function.

``{source}`reference/forwarding.py``` links the file, ``{source}`reference/forwarding.py:onward``` the function, class
or method (``Class.method``) of that name. A file or name that is not there is a warning, so the build (``-W``) says
when a page and the code have parted.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "contract": ROOT / "conformance/glassgate/contract",
    "conformance": ROOT / "conformance/glassgate/conformance",
    "reference": ROOT / "reference/glassgate/reference",
    "optimized": ROOT / "optimized/glassgate/optimized",
}


def sources() -> dict[str, Path]:
    """Every source file by its short name, such as ``reference/forwarding.py``."""
    return {
        f"{package}/{path.relative_to(folder).as_posix()}": path
        for package, folder in PACKAGES.items()
        for path in sorted(folder.rglob("*.py"))
    }


@lru_cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a source file."""
    return ast.parse(path.read_text("utf-8"))


def definitions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Functions, classes, methods and constants, by their qualified name."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((prefix + target.id, node) for target in targets if isinstance(target, ast.Name))


def line_of(path: Path, name: str) -> int | None:
    """The line on which a name is defined."""
    for found, node in definitions(tree(path).body):
        if found == name:
            return node.lineno
    return None


def link(app: Sphinx, docname: str, name: str, line: int | None) -> str:
    """The address of a source page, or of a line in it, from the page ``docname``."""
    page = app.builder.get_relative_uri(docname, f"source/{name.removesuffix('.py')}")
    return page if line is None else f"{page}#L-{line}"


class SourceRole(SphinxRole):
    """``{source}`FILE``` and ``{source}`FILE:NAME```."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Make the link, or warn."""
        name, _, wanted = self.text.partition(":")
        path = sources().get(name)
        line = line_of(path, wanted) if path is not None and wanted else None
        shown = f"{wanted}()" if line is not None and _is_function(path, wanted) else wanted or name
        literal = nodes.literal(self.text, shown)
        if path is None or (wanted and line is None):
            message = self.inliner.reporter.warning(f"no such source: {self.text}", line=self.lineno)
            return [literal], [message]
        reference = nodes.reference("", "", literal, refuri="", internal=True)
        reference["glassgate_source"] = (name, line)
        reference["classes"].append("source")
        return [reference], []


def _is_function(path: Path | None, name: str) -> bool:
    assert path is not None
    found = dict(definitions(tree(path).body))[name]
    return isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef)


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Give every link into the sources its address, which depends on the page that it stands in."""
    for reference in doctree.findall(nodes.reference):
        if "glassgate_source" in reference:
            name, line = reference["glassgate_source"]
            reference["refuri"] = link(app, docname, name, line)


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """One page for each source file."""
    formatter = HtmlFormatter(linenos="inline", lineanchors="L", anchorlinenos=True, wrapcode=True)
    for name, path in sources().items():
        text = path.read_text("utf-8")
        code = highlight(text, PythonLexer(), formatter)
        body = f'<div class="source-page"><h1><code>{name}</code></h1>{code}</div>'
        yield f"source/{name.removesuffix('.py')}", {"title": name, "body": body, "parents": []}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_role("source", SourceRole())
    app.connect("doctree-resolved", resolve)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
