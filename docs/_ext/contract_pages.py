"""Pages made from what the code holds: the registry of rules, the vectors, the configuration.

``{rules}``          every rule with its anchor, level, sentence, citation, vectors, and the lines that cite it
``{vectors}``        every vector with its anchor, what it is about, its source and its rules
``{vector-json} ID`` one vector as JSON
``{commands}``       every command with its help
``{configuration}``  every member of a configuration with its type, default and meaning
``{rule}`SLUG```     a link to a rule
"""

from __future__ import annotations

import ast
import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from docutils import nodes
from source_pages import ROOT, sources, tree
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from glassgate.conformance import citations, cli, model
from glassgate.conformance.authoring import SOURCES
from glassgate.contract import Cipher, GatewayConfig, Limits, configuration
from glassgate.contract.rules import CHAPTERS, RULES, Level, Rule

RULES_PAGE = "rules"
VECTORS_PAGE = "vectors"
LEVELS = {
    Level.MUST: "the standard demands it",
    Level.SHOULD: "the standard recommends it",
    Level.CHOICE: "the standards leave room, and this project decided",
}

# ── what the code holds ───────────────────────────────────────────────────────────────────────────────────────────────


@lru_cache
def vector_files() -> tuple[model.VectorFile, ...]:
    """The vectors that come with the package, in the order of the lecture."""
    order = [source.replace("_", "-") for source in SOURCES]
    files = model.load_packaged()
    return tuple(sorted(files, key=lambda file: order.index(file.category) if file.category in order else len(order)))


@lru_cache
def vectors_by_rule() -> Mapping[str, tuple[model.Vector, ...]]:
    """The vectors that cite each rule."""
    found: dict[str, list[model.Vector]] = defaultdict(list)
    for file in vector_files():
        for vector in file.vectors:
            for slug in vector.rules:
                found[slug].append(vector)
    return {slug: tuple(vectors) for slug, vectors in found.items()}


@lru_cache
def lines_by_rule() -> Mapping[str, tuple[tuple[str, str, int], ...]]:
    """Where each rule is cited in the two gateways: file, function and line; what they share is under the owner."""
    names = {str(path): name for name, path in sources().items()}
    found: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for package in ("glassgate.reference", "glassgate.optimized"):
        for place in citations.citations(package):
            found[place.rule].append((names[place.path], place.function, place.line))
    return {slug: tuple(lines) for slug, lines in found.items()}


@lru_cache
def shared_rules() -> frozenset[str]:
    """The rules that the optimized gateway follows in the reference's control plane."""
    return frozenset(place.rule for place in citations.shared("glassgate.optimized", "glassgate.reference"))


# ── rules ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class RulesDirective(SphinxDirective):
    """Every rule, chapter by chapter."""

    def run(self) -> list[nodes.Node]:
        """Make one section for each chapter."""
        for path in [*sources().values(), *_packaged_paths()]:
            self.env.note_dependency(str(path))
        return [_chapter(number, title) for number, title in CHAPTERS.items()]


def _packaged_paths() -> list[Path]:
    return sorted((ROOT / "conformance/glassgate/conformance/vectors").glob("*.json"))


def _chapter(number: str, title: str) -> nodes.section:
    section = nodes.section(ids=[f"chapter-{number.lower()}"], names=[])
    section += nodes.title("", f"{number} {title}")
    section += [_rule(rule) for rule in RULES.values() if rule.requirement == number]
    return section


def _rule(rule: Rule) -> nodes.container:
    box = nodes.container(ids=[rule.slug], classes=["rule"])
    head = nodes.paragraph(classes=["rule-head"])
    head += nodes.reference("", "", nodes.literal("", rule.slug), refid=rule.slug, internal=True)
    head += nodes.Text(" ")
    head += nodes.inline("", rule.level, classes=["level", f"level-{rule.level.lower()}"])
    box += head
    box += nodes.paragraph("", rule.sentence)
    box += _facts(rule)
    return box


def _facts(rule: Rule) -> nodes.field_list:
    facts = nodes.field_list(classes=["facts"])
    facts += _fact("from", [nodes.Text(rule.citation)])
    vectors = vectors_by_rule().get(rule.slug, ())
    facts += _fact("vectors", _joined([_vector_link(vector) for vector in vectors]) or [nodes.Text("none")])
    for gateway in ("reference", "optimized"):
        lines = [place for place in lines_by_rule().get(rule.slug, ()) if place[0].startswith(f"{gateway}/")]
        is_shared = gateway == "optimized" and rule.slug in shared_rules()
        instead = nodes.Text("by the reference's control plane" if is_shared else "not cited")
        facts += _fact(gateway, _joined([_line_link(*place) for place in lines]) or [instead])
    return facts


def _fact(name: str, body: list[nodes.Node]) -> nodes.field:
    return nodes.field("", nodes.field_name("", name), nodes.field_body("", nodes.paragraph("", "", *body)))


def _joined(links: list[nodes.Node]) -> list[nodes.Node]:
    """The links with commas between."""
    joined: list[nodes.Node] = []
    for link in links:
        joined += [nodes.Text(", "), link] if joined else [link]
    return joined


def _line_link(name: str, function: str, line: int) -> nodes.reference:
    shown = f"{name.split('/', 1)[1]}:{line}"
    reference = nodes.reference("", "", nodes.literal("", shown), refuri="", internal=True, reftitle=function)
    reference["glassgate_source"] = (name, line)
    return reference


def _page_link(page: str, anchor: str, shown: str) -> nodes.reference:
    reference = nodes.reference("", "", nodes.literal("", shown), refuri="", internal=True)
    reference["glassgate_page"] = (page, anchor)
    return reference


def _vector_link(vector: model.Vector) -> nodes.reference:
    return _page_link(VECTORS_PAGE, vector.id, vector.id)


class RuleRole(SphinxRole):
    """``{rule}`s17-expired```."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Make the link, or warn."""
        if self.text not in RULES:
            message = self.inliner.reporter.warning(f"no such rule: {self.text}", line=self.lineno)
            return [nodes.literal("", self.text)], [message]
        reference = _page_link(RULES_PAGE, self.text, self.text)
        reference["reftitle"] = RULES[self.text].sentence
        return [reference], []


class LevelsDirective(SphinxDirective):
    """What the levels mean, and how many rules have each."""

    def run(self) -> list[nodes.Node]:
        """Make a list."""
        listed = nodes.bullet_list()
        for level, words in LEVELS.items():
            count = sum(rule.level is level for rule in RULES.values())
            badge = nodes.inline("", level, classes=["level", f"level-{level.lower()}"])
            listed += nodes.list_item("", nodes.paragraph("", "", badge, nodes.Text(f" {words} ({count} rules)")))
        return [listed]


# ── vectors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class VectorsDirective(SphinxDirective):
    """Every vector, category by category."""

    def run(self) -> list[nodes.Node]:
        """Make one section for each file."""
        for path in _packaged_paths():
            self.env.note_dependency(str(path))
        return [_category(file) for file in vector_files()]


def _category(file: model.VectorFile) -> nodes.section:
    section = nodes.section(ids=[f"category-{file.category}"], names=[])
    section += nodes.title("", f"{file.category} ({len(file.vectors)})")
    section += nodes.paragraph("", file.summary)
    section += [_vector(vector) for vector in file.vectors]
    return section


def _vector(vector: model.Vector) -> nodes.container:
    box = nodes.container(ids=[vector.id], classes=["rule"])
    head = nodes.paragraph(classes=["rule-head"])
    head += nodes.reference("", "", nodes.literal("", vector.id), refid=vector.id, internal=True)
    head += nodes.Text(" ")
    head += nodes.inline("", vector.result, classes=["level", f"level-{vector.result}"])
    box += head
    box += nodes.paragraph("", vector.title)
    facts = nodes.field_list(classes=["facts"])
    facts += _fact("from", [nodes.Text(vector.source)])
    facts += _fact("rules", _joined([_page_link(RULES_PAGE, slug, slug) for slug in vector.rules]))
    facts += _fact("steps", [nodes.Text(str(len(vector.steps)))])
    box += facts
    return box


class VectorJsonDirective(SphinxDirective):
    """A file with one vector, as JSON."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make a literal block."""
        for file in vector_files():
            for vector in file.vectors:
                if vector.id == self.arguments[0]:
                    alone = dataclasses.replace(file, vectors=(vector,), notes={})
                    return [nodes.literal_block("", model.dumps(alone), language="json")]
        raise self.error(f"no such vector: {self.arguments[0]}")


# ── configuration ─────────────────────────────────────────────────────────────────────────────────────────────────────

MUST_BE_GIVEN = "must be given"
_KEY = "00" * 32
_EXAMPLE = {
    "tunnel": {
        "session": {
            "send": {"key": _KEY, "implicit_iv": "00" * 8},
            "receive": {"key": _KEY, "implicit_iv": "00" * 8},
        }
    }
}
_TYPES = {
    "MacAddress": "Ethernet address", "IPv4Interface": "address with prefix length", "IPv4Address": "address",
    "int": "integer", "bool": "true or false", "bytes": "hexadecimal octets", "str": "text",
    "int | None": "integer or null",
    "tuple[IPv4Network, ...]": "list of prefixes", "tuple[int, ...]": "list of ports", "Cipher": ", ".join(Cipher),
    'Literal["tcp", "udp"]': "tcp or udp", "str | None": "text", 'Literal["stack"]': "stack", 'Literal["os"]': "os",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Member:
    name: str
    type: str
    default: str
    meaning: str


class ConfigurationDirective(SphinxDirective):
    """Every object of a configuration with its members, in the order of the JSON."""

    def run(self) -> list[nodes.Node]:
        """Make one section for each object."""
        self.env.note_dependency(str(sources()["contract/configuration.py"]))
        defaults = GatewayConfig.from_json(_EXAMPLE).to_json()
        session = defaults["tunnel"]["session"]
        objects: list[tuple[str, type, Mapping[str, Any]]] = [
            ("", GatewayConfig, defaults),
            ("internal", configuration.Internal, defaults["internal"]),
            ("external (kind stack)", configuration.ExternalStack, defaults["external"]),
            ("external (kind os)", configuration.ExternalOs, {"kind": "os"}),
            ("tunnel", configuration.Tunnel, defaults["tunnel"]),
            ("tunnel.session", configuration.Session, session),
            ("tunnel.session.send", configuration.SendKey, session["send"]),
            ("tunnel.session.receive", configuration.ReceiveKey, session["receive"]),
            ("services", configuration.Services, defaults["services"]),
            ("limits", Limits, defaults["limits"]),
        ]
        return [_object(path, kind, values) for path, kind, values in objects]


def _object(path: str, kind: type, defaults: Mapping[str, Any]) -> nodes.section:
    anchor = "configuration-" + (path.replace(".", "-").replace(" ", "-").strip("()").replace("(", "") or "top")
    section = nodes.section(ids=[anchor], names=[])
    section += nodes.title("", "", nodes.literal("", path) if path else nodes.Text("The whole"))
    section += nodes.paragraph("", "", *_prose((kind.__doc__ or "").replace("\n\n", " ")))
    section += _table([_member(field, kind, defaults) for field in dataclasses.fields(kind)])
    return section


def _member(field: dataclasses.Field[Any], kind: type, defaults: Mapping[str, Any]) -> _Member:
    words = _TYPES.get(str(field.type), "object")
    is_needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    value = defaults.get(field.name)
    if is_needed:
        default = MUST_BE_GIVEN
    elif words == "object" or (value is None and field.name not in defaults):
        default = ""
    else:
        default = json.dumps(value)
    return _Member(field.name, words, default, _attribute_docstrings(kind).get(field.name, ""))


def _attribute_docstrings(kind: type) -> dict[str, str]:
    """The strings that stand below the attributes of a class."""
    path = sources()["contract/configuration.py"]
    body = next(node.body for node in tree(path).body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    found = {}
    for node, following in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(following, ast.Expr):
            found[node.target.id] = str(ast.literal_eval(following.value))
    return found


def _table(members: list[_Member]) -> nodes.table:
    table = nodes.table(classes=["members"])
    group = nodes.tgroup(cols=4)
    group += [nodes.colspec(colwidth=width) for width in (18, 18, 24, 40)]
    group += nodes.thead("", _row(*(nodes.Text(head) for head in ("member", "type", "default", "what it is"))))
    body = nodes.tbody()
    for member in members:
        default: nodes.Node = nodes.literal("", member.default) if member.default else nodes.Text("")
        if member.default == MUST_BE_GIVEN:
            default = nodes.emphasis("", MUST_BE_GIVEN)
        meaning = nodes.inline("", "", *_prose(member.meaning))
        body += _row(nodes.literal("", member.name), nodes.Text(member.type), default, meaning)
    group += body
    table += group
    return table


def _row(*cells: nodes.Node) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))


def _prose(text: str) -> list[nodes.Node]:
    """A docstring's text: what stands between double backquotes is literal."""
    parts = " ".join(text.split()).split("``")
    return [nodes.literal("", part) if index % 2 else nodes.Text(part) for index, part in enumerate(parts)]


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class CommandsDirective(SphinxDirective):
    """Every command, and every command of a command, with its help."""

    def run(self) -> list[nodes.Node]:
        """Make one section for each."""
        root = click.Context(cli.glassgate, info_name="glassgate")
        made = []
        for name in cli.COMMANDS:
            command = cli.glassgate.get_command(root, name)
            assert command is not None
            made.append(_command(command, name, root))
        return made


def _command(command: click.Command, name: str, parent: click.Context) -> nodes.section:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=84, max_content_width=84)
    path = context.command_path
    section = nodes.section(ids=[path.replace(" ", "-")], names=[])
    section += nodes.title("", "", nodes.literal("", path))
    section += nodes.literal_block("", command.get_help(context), language="text")
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            below = command.get_command(context, sub)
            assert below is not None
            section += _command(below, sub, context)
    return section


# ── joining ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Give every link to a rule or a vector its address, which depends on the page that it stands in."""
    for reference in doctree.findall(nodes.reference):
        if "glassgate_page" in reference:
            page, anchor = reference["glassgate_page"]
            reference["refuri"] = f"{app.builder.get_relative_uri(docname, page)}#{anchor}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("rules", RulesDirective)
    app.add_directive("levels", LevelsDirective)
    app.add_directive("vectors", VectorsDirective)
    app.add_directive("vector-json", VectorJsonDirective)
    app.add_directive("configuration", ConfigurationDirective)
    app.add_directive("commands", CommandsDirective)
    app.add_role("rule", RuleRole())
    app.connect("doctree-resolved", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
