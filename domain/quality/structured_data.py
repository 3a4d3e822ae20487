"""Gates on JSON-LD: well-formed BlogPosting and BreadcrumbList in schema.org's vocabulary, true to the document."""

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from domain.assembly import HEADLINE_CHARACTERS_MAX, Document
from domain.verdict import Reason

_POSTING_PROPERTIES = frozenset(
    {
        "@type", "@id", "mainEntityOfPage", "url", "headline", "description", "inLanguage", "keywords", "wordCount",
        "author", "publisher", "citation", "datePublished", "dateModified", "image", "articleSection", "isPartOf",
        "about", "mentions", "abstract", "name",
    }
)  # fmt: skip
_ITEM_PROPERTIES = frozenset({"@type", "@id", "position", "name", "item"})


def structured_data_reasons(document: Document) -> list[Reason]:
    problems = _graph_problems(document.json_ld)
    if not problems:
        nodes = {node["@type"]: node for node in document.json_ld["@graph"]}
        problems = [*_posting_problems(nodes["BlogPosting"], document), *_breadcrumb_problems(nodes["BreadcrumbList"])]
    return [Reason(code="json_ld_error", message=f"JSON-LD: {problem}") for problem in problems]


def _graph_problems(json_ld: dict[str, Any]) -> list[str]:
    if json_ld.get("@context") != "https://schema.org":
        return [f"@context is {json_ld.get('@context')!r}; it must be https://schema.org."]
    graph = json_ld.get("@graph")
    if not isinstance(graph, list) or not all(isinstance(node, dict) for node in graph):
        return ["@graph must be a list of objects."]
    types = [str(node.get("@type")) for node in graph]
    return [
        f"there must be exactly one {wanted}, found {types.count(wanted)}."
        for wanted in ("BlogPosting", "BreadcrumbList")
        if types.count(wanted) != 1
    ]


def _posting_problems(posting: dict[str, Any], document: Document) -> list[str]:
    problems = [f"{name!r} is no property of BlogPosting in use here." for name in set(posting) - _POSTING_PROPERTIES]
    problems += [
        f"{name} is missing or empty." for name in ("headline", "description") if not _is_text(posting.get(name))
    ]
    if _is_text(posting.get("headline")) and posting["headline"] != document.title[:HEADLINE_CHARACTERS_MAX]:
        problems.append(f"headline “{posting['headline']}” is not the title “{document.title}”.")
    if posting.get("inLanguage") != document.locale:
        problems.append(f"inLanguage is {posting.get('inLanguage')!r}; the article is in {document.locale}.")
    for role in ("author", "publisher"):
        problems += _organization_problems(role, posting.get(role))
    page = posting.get("mainEntityOfPage")
    address = page.get("@id") if isinstance(page, dict) else page
    for name, value in (("url", posting.get("url")), ("mainEntityOfPage", address)):
        if not _is_address(value) or not str(value).endswith(f"/{document.slug}.html"):
            problems.append(
                f"{name} is {value!r}; it must be the page's absolute address, ending in {document.slug}.html."
            )
    return problems + _date_problems(posting)


def _organization_problems(role: str, value: Any) -> list[str]:
    if not isinstance(value, dict) or value.get("@type") not in ("Organization", "Person"):
        return [f"{role} must be an Organization or a Person."]
    problems = [] if _is_text(value.get("name")) else [f"{role} has no name."]
    return problems if _is_address(value.get("url")) else [*problems, f"{role}.url is no absolute address."]


def _date_problems(posting: dict[str, Any]) -> list[str]:
    return [
        f"{name} {posting[name]!r} is no ISO 8601 time with a zone."
        for name in ("datePublished", "dateModified")
        if name in posting and not _is_zoned_time(posting[name])
    ]


def _breadcrumb_problems(breadcrumbs: dict[str, Any]) -> list[str]:
    items = breadcrumbs.get("itemListElement")
    if not isinstance(items, list) or len(items) < 2 or not all(isinstance(item, dict) for item in items):
        return ["BreadcrumbList needs an itemListElement of at least two items."]
    problems: list[str] = []
    for position, item in enumerate(items, start=1):
        if item.get("@type") != "ListItem" or set(item) - _ITEM_PROPERTIES:
            problems.append(f"breadcrumb {position} is no plain ListItem.")
        if item.get("position") != position:
            problems.append(f"breadcrumb {position} has position {item.get('position')!r}.")
        if not _is_text(item.get("name")):
            problems.append(f"breadcrumb {position} has no name.")
        if not _is_address(item.get("item")) and not (position == len(items) and "item" not in item):
            problems.append(f"breadcrumb {position} has no absolute address.")
    return problems


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_address(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    parts = urlsplit(value)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_zoned_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(str(value)).tzinfo is not None
    except ValueError:
        return False
