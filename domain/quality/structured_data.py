"""Gates on JSON-LD: types, properties and values of schema.org's vocabulary, what search engines ask for, and that it
says what the document says."""

import difflib
import json
import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from domain.assembly import HEADLINE_CHARACTERS_MAX, Document
from domain.quality.findings import Finding, Span
from domain.quality.html_page import HtmlPage, Node
from domain.quality.schema_org import TYPE_NAMES, ancestors_of, properties_of
from domain.quality.source import SourceText
from domain.verdict import Level

_CONTEXT = re.compile(r"https?://(?:www\.)?schema\.org/?")
_ARTICLES = frozenset({"Article"})
_DEPTH_MAX = 30
_REQUIRED: dict[str, tuple[str, ...]] = {
    "Article": ("headline", "author"),
    "BreadcrumbList": ("itemListElement",),
    "Organization": ("name",),
    "Person": ("name",),
    "ListItem": ("position",),
}
_WANTED: dict[str, tuple[str, ...]] = {"Article": ("datePublished", "dateModified", "description")}
# Where a bare text says too little: who wrote it is a person or an organization with a name.
_OBJECTS_ONLY = frozenset({"author", "publisher", "itemListElement"})
_TEXTS = frozenset({"Text", "URL", "CssSelectorType", "XPathType", "PronounceableText"})
_NUMBERS = frozenset({"Number", "Integer", "Float"})
_DATES = frozenset({"Date", "DateTime", "Time"})
_DATA_TYPES = _TEXTS | _NUMBERS | _DATES | {"Boolean", "Duration", "Distance", "Mass", "Energy"}
_DURATION = re.compile(r"P(?=[\dT])(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?")


class Problem(NamedTuple):
    message: str
    fix: str
    level: Level = Level.BLOCK


# --- JSON-LD of any page ---


def page_structured_data_findings(page: HtmlPage) -> list[Finding]:
    """Every JSON-LD script of a page; a whole page without any is told."""
    scripts = [node for node in page.named("script") if _is_json_ld(node)]
    found: list[Finding] = []
    for node in scripts:
        found += _script_findings(page.source, node)
    if page.is_document and not scripts:
        message = "The page has no JSON-LD"
        fix = "describe it as a BlogPosting with a BreadcrumbList"
        found.append(page.source.finding("json_ld_missing", message, fix, span=None, level=Level.WARN))
    return found


def _is_json_ld(node: Node) -> bool:
    return node.attributes.get("type", "").split(";")[0].strip().lower() == "application/ld+json"


def json_ld_values(page: HtmlPage) -> list[Any]:
    """What the scripts that can be read say."""
    values = []
    for node in page.named("script"):
        if _is_json_ld(node):
            try:
                values.append(json.loads("".join(node.element.itertext())))
            except (ValueError, RecursionError):
                continue
    return values


def _script_findings(source: SourceText, node: Node) -> list[Finding]:
    text = "".join(node.element.itertext())
    start = source.text.find(text, node.offset) if text else node.offset
    start = node.offset if start < 0 else start
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        position = start + error.pos if isinstance(error, json.JSONDecodeError) else start
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        message = f"JSON-LD: it is no valid JSON: {reason}"
        return [source.finding("json_ld_error", message, "correct it there", span=source.line_span(position))]
    return [
        _finding(source, problem, _place_of(source, problem, start, start + len(text)))
        for problem in problems_of(value)
    ]


def _place_of(source: SourceText, problem: Problem, start: int, end: int) -> Span:
    """The line of the property or value that the message names."""
    for name in re.findall(r"'([^']+)'|“([^”]+)”", problem.message):
        needle = json.dumps(name[0] or name[1], ensure_ascii=False)
        position = source.text.find(needle, start, end)
        if position >= 0:
            return source.span(position, position + len(needle))
    return source.line_span(start)


def _finding(source: SourceText, problem: Problem, span: Span | None) -> Finding:
    code = "json_ld_error" if problem.level is Level.BLOCK else "json_ld_incomplete"
    return source.finding(code, f"JSON-LD: {problem.message}", problem.fix, span=span, level=problem.level)


def problems_of(value: Any) -> list[Problem]:
    """Problems of a whole JSON-LD value: one object, a list of them, or an object with a graph."""
    roots = value if isinstance(value, list) else [value]
    if not roots:
        return [Problem("it is empty", "describe the page or remove it")]
    problems: list[Problem] = []
    for root in roots:
        if not isinstance(root, dict):
            problems.append(Problem(f"{_shown(root)} is no object", "write an object with @context and @type"))
            continue
        problems += _context_problems(root)
        graph = root.get("@graph")
        for node in graph if isinstance(graph, list) else [root] if graph is None else [graph]:
            problems += _root_problems(node)
    return problems


def _context_problems(root: dict[str, Any]) -> list[Problem]:
    context = root.get("@context")
    parts = context if isinstance(context, list) else [context]
    for part in parts:
        if isinstance(part, str) and _CONTEXT.fullmatch(part):
            return []
        if isinstance(part, dict) and _CONTEXT.fullmatch(str(part.get("@vocab", ""))):
            return []
    return [Problem(f"@context is {_shown(context)}", "make it https://schema.org")]


def _root_problems(node: Any) -> list[Problem]:
    if not isinstance(node, dict):
        return [Problem(f"{_shown(node)} is no object", "write an object with a @type")]
    if "@type" not in node:
        return [Problem("an object has no @type", "say what it is, such as BlogPosting")]
    return list(_node_problems(node, 0))


def _node_problems(node: dict[str, Any], depth: int) -> Iterator[Problem]:
    if depth > _DEPTH_MAX:
        yield Problem("it is nested too deeply", "make it flatter")
        return
    types = _types_of(node)
    for name in types:
        if name not in TYPE_NAMES:
            yield Problem(
                f"'{name}' is no type of schema.org", _suggestion(name, TYPE_NAMES, "use a type of schema.org")
            )
    yield from _property_problems(node, types, depth)
    yield from _requirement_problems(node, types)
    if "BreadcrumbList" in types:
        yield from _breadcrumb_problems(node.get("itemListElement"))


def _types_of(node: dict[str, Any]) -> list[str]:
    given = node.get("@type")
    return [
        re.sub(r"^(?:https?://schema\.org/|schema:)", "", str(one))
        for one in (given if isinstance(given, list) else [given])
    ]


def _suggestion(name: str, known: frozenset[str] | set[str], otherwise: str) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8)
    return f"use {near[0]}" if near else otherwise


def _property_problems(node: dict[str, Any], types: list[str], depth: int) -> Iterator[Problem]:
    known = [properties for name in types if (properties := properties_of(name)) is not None]
    is_complete = len(known) == len(types) and bool(known)
    kinds: dict[str, frozenset[str]] = {}
    for properties in known:
        kinds.update(properties)
    for key, value in node.items():
        name = re.sub(r"^(?:https?://schema\.org/|schema:)", "", key)
        if name.startswith("@"):
            continue
        if is_complete and name not in kinds and ":" not in name and not name.endswith(("-input", "-output")):
            fix = _suggestion(name, set(kinds), "remove it")
            yield Problem(f"'{name}' is no property of {' or '.join(types)}", fix)
        for one in value if isinstance(value, list) else [value]:
            yield from _value_problems(name, one, kinds.get(name, frozenset()), depth)


def _value_problems(name: str, value: Any, kinds: frozenset[str], depth: int) -> Iterator[Problem]:
    if isinstance(value, dict):
        yield from _object_problems(name, value, kinds, depth)
    elif value is None or (isinstance(value, str) and not value.strip()):
        yield Problem(f"'{name}' is empty", "give it a value or remove it")
    elif kinds:
        yield from _plain_problems(name, value, kinds)


def _object_problems(name: str, value: dict[str, Any], kinds: frozenset[str], depth: int) -> Iterator[Problem]:
    if "@type" not in value:
        if not {"@id", "@value", "@list", "@set"} & set(value):
            yield Problem(f"'{name}' is an object without a @type", "say what it is")
        elif "@id" in value and set(value) == {"@id"} and not _is_reference(value["@id"]):
            yield Problem(
                f"'{name}' refers to {_shown(value['@id'])}", "refer to an absolute address or a # of the page"
            )
        return
    types = [one for one in _types_of(value) if properties_of(one) is not None]
    objects = kinds - _DATA_TYPES
    if types and kinds and not any(ancestors_of(one) & objects for one in types) and not _has_unheld(objects):
        expected = " or ".join(sorted(kinds))
        yield Problem(f"'{name}' is a {' and '.join(types)}", f"{name} takes {expected}")
    yield from _node_problems(value, depth + 1)


def _has_unheld(objects: frozenset[str]) -> bool:
    """Types whose place in the vocabulary is not held here may include the value's."""
    return any(properties_of(one) is None for one in objects) and "Thing" not in objects


def _plain_problems(name: str, value: Any, kinds: frozenset[str]) -> Iterator[Problem]:
    if isinstance(value, bool):
        if "Boolean" not in kinds:
            yield Problem(f"'{name}' is {_shown(value)}", f"{name} takes {' or '.join(sorted(kinds))}")
        return
    if isinstance(value, int | float):
        if not kinds & (_NUMBERS | {"Text", "QuantitativeValue"}):
            yield Problem(f"'{name}' is the number {value}", f"{name} takes {' or '.join(sorted(kinds))}")
        elif kinds & _NUMBERS == {"Integer"} and "Text" not in kinds and value != int(value):
            yield Problem(f"'{name}' is {value}", "write a whole number")
        return
    text = str(value)
    data = kinds & _DATA_TYPES
    if not data:
        yield from _text_for_object(name, text, kinds)
    elif "Text" not in data and not any(_reads_as(text, kind) for kind in data):
        yield Problem(f"'{name}' is {_shown(text)}", _form_of(data))
    elif "URL" in data and "Text" not in data and not _is_address(text) and not (data - {"URL"}):
        yield Problem(f"'{name}' is {_shown(text)}", "write an absolute address, beginning with https://")


def _text_for_object(name: str, text: str, kinds: frozenset[str]) -> Iterator[Problem]:
    """An address may stand for the thing it is the address of."""
    expected = " or ".join(sorted(kinds))
    if name in _OBJECTS_ONLY:
        yield Problem(f"'{name}' is the text {_shown(text)}", f"write an object: {expected} with a name")
    elif not _is_address(text) and name in ("item", "image", "logo"):
        yield Problem(f"'{name}' is {_shown(text)}", "write an absolute address, beginning with https://")
    elif not _is_address(text):
        yield Problem(f"'{name}' is the text {_shown(text)}", f"write an object: {expected}", Level.WARN)


def _reads_as(text: str, kind: str) -> bool:
    text = text.strip()
    if kind in _NUMBERS:
        return bool(re.fullmatch(r"[+-]?\d+" if kind == "Integer" else r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", text))
    if kind in _DATES:
        return _is_date(text, kind)
    if kind == "Boolean":
        return re.sub(r"^https?://schema\.org/", "", text).lower() in ("true", "false")
    if kind == "Duration":
        return bool(_DURATION.fullmatch(text))
    return _is_address(text) if kind == "URL" else True


def _form_of(data: frozenset[str]) -> str:
    if data & {"Date", "DateTime"}:
        return "write the date as ISO 8601 has it, such as 2026-03-05 or 2026-03-05T09:30:00Z"
    if data & _NUMBERS:
        return "write a number"
    if "URL" in data:
        return "write an absolute address, beginning with https://"
    return f"write a {' or '.join(sorted(data))}"


def _requirement_problems(node: dict[str, Any], types: list[str]) -> Iterator[Problem]:
    every = frozenset[str]().union(*(ancestors_of(one) for one in types))
    what = " and ".join(types)
    for of, names in _REQUIRED.items():
        for name in names if of in every else ():
            if name not in node and not _is_mere_reference(node):
                yield Problem(f"{what} has no {name}", f"add {name}")
    for of, names in _WANTED.items():
        for name in names if of in every else ():
            if name not in node:
                yield Problem(f"{what} has no {name}", f"add {name}", Level.WARN)
    if "ListItem" in every and "name" not in node and not _named_item(node.get("item")):
        yield Problem("a ListItem has no name", "add name")
    yield from _order_problems(node, every)


def _is_mere_reference(node: dict[str, Any]) -> bool:
    return "@id" in node and set(node) <= {"@id", "@type"}


def _named_item(item: Any) -> bool:
    return isinstance(item, dict) and bool(item.get("name"))


def _order_problems(node: dict[str, Any], every: frozenset[str]) -> Iterator[Problem]:
    headline = node.get("headline")
    if every & _ARTICLES and isinstance(headline, str) and len(headline) > HEADLINE_CHARACTERS_MAX:
        message = f"'headline' has {len(headline)} characters"
        yield Problem(message, f"{HEADLINE_CHARACTERS_MAX} at most are shown", Level.WARN)
    published, modified = _moment(node.get("datePublished")), _moment(node.get("dateModified"))
    if published and modified and modified < published:
        yield Problem("'dateModified' is before datePublished", "correct one of the two", Level.WARN)


def _breadcrumb_problems(items: Any) -> Iterator[Problem]:
    if items is None:
        return
    if not isinstance(items, list) or len(items) < 2 or not all(isinstance(item, dict) for item in items):
        yield Problem("BreadcrumbList needs an itemListElement of at least two items", "add the pages above this one")
        return
    for position, item in enumerate(items, start=1):
        if "ListItem" not in _types_of(item):
            yield Problem(f"breadcrumb {position} is no ListItem", 'give it "@type": "ListItem"')
        if str(item.get("position")) != str(position):
            yield Problem(f"breadcrumb {position} has position {_shown(item.get('position'))}", f"make it {position}")
        target = item.get("item")
        address = (target.get("@id") or target.get("url")) if isinstance(target, dict) else target
        if not _is_address(address) and not (position == len(items) and target is None):
            yield Problem(f"breadcrumb {position} has no absolute address", "give its item an address with https://")


# --- values ---


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_address(value: Any) -> bool:
    if not isinstance(value, str) or re.search(r"\s", value.strip()):
        return False
    try:
        parts = urlsplit(value.strip())
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and (_is_address(value) or value.startswith(("#", "_:", "urn:")))


def _is_date(text: str, kind: str) -> bool:
    if kind == "Time":
        return bool(re.fullmatch(r"\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?", text))
    if re.fullmatch(r"\d{4}(-\d{2})?", text):
        return kind == "Date"
    return _moment(text) is not None


def _moment(value: Any) -> datetime | None:
    """A date or time as ISO 8601 has it, without its zone (to compare days); None when it is neither."""
    text = str(value or "").strip()
    if not re.match(r"\d{4}-\d{2}-\d{2}", text):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            return None
        return datetime(day.year, day.month, day.day)  # noqa: DTZ001 -- days are compared, not instants
    return found.replace(tzinfo=None)


def _is_zoned_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(str(value)).tzinfo is not None
    except ValueError:
        return False


# --- JSON-LD of a document ---


def structured_data_findings(document: Document, source: SourceText) -> list[Finding]:
    """The vocabulary's rules, and that it says what the document says; dates come at publishing."""
    problems = [one for one in problems_of(document.json_ld) if one.level is Level.BLOCK]
    problems = problems or _graph_problems(document.json_ld)
    if not problems:
        nodes = {node["@type"]: node for node in document.json_ld["@graph"]}
        problems = _posting_problems(nodes["BlogPosting"], document)
    return [_finding(source, problem, None) for problem in dict.fromkeys(problems)]


def _graph_problems(json_ld: dict[str, Any]) -> list[Problem]:
    graph = json_ld.get("@graph")
    if not isinstance(graph, list):
        return [Problem("@graph is no list", "write BlogPosting and BreadcrumbList into it")]
    types = [str(node.get("@type")) for node in graph]
    return [
        Problem(f"there are {types.count(wanted)} objects of type {wanted}", "write exactly one")
        for wanted in ("BlogPosting", "BreadcrumbList")
        if types.count(wanted) != 1
    ]


def _posting_problems(posting: dict[str, Any], document: Document) -> list[Problem]:
    problems: list[Problem] = []
    if posting["headline"] != document.title[:HEADLINE_CHARACTERS_MAX]:
        problems.append(
            Problem(f"headline “{posting['headline']}” is not the title “{document.title}”", "take the title")
        )
    if not _is_text(posting.get("description")):
        problems.append(Problem("description is missing or empty", "take the meta description"))
    if posting.get("inLanguage") != document.locale:
        message = f"inLanguage is {_shown(posting.get('inLanguage'))}"
        problems.append(Problem(message, f"the article is in {document.locale}"))
    for role in ("author", "publisher"):
        problems += _organization_problems(role, posting.get(role))
    page = posting.get("mainEntityOfPage")
    address = page.get("@id") if isinstance(page, dict) else page
    for name, value in (("url", posting.get("url")), ("mainEntityOfPage", address)):
        if not _is_address(value) or not str(value).endswith(f"/{document.slug}.html"):
            fix = f"make it the page's absolute address, ending in {document.slug}.html"
            problems.append(Problem(f"{name} is {_shown(value)}", fix))
    return problems + _date_problems(posting)


def _organization_problems(role: str, value: Any) -> list[Problem]:
    if not isinstance(value, dict):
        return [Problem(f"{role} is {_shown(value)}", "make it an Organization or a Person")]
    if _is_address(value.get("url")):
        return []
    return [Problem(f"{role}.url is no absolute address", "write it with https://")]


def _date_problems(posting: dict[str, Any]) -> list[Problem]:
    return [
        Problem(f"{name} is {_shown(posting[name])}", "write an ISO 8601 time with a zone")
        for name in ("datePublished", "dateModified")
        if name in posting and not _is_zoned_time(posting[name])
    ]
