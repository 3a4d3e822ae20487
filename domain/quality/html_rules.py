"""What the HTML standard asks beyond a tree without parse errors: which elements and attributes there are, what may
stand inside of what, and which values they take."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from domain.quality.findings import Finding, Span
from domain.quality.html_page import HtmlPage, Node
from domain.quality.html_vocabulary import (
    ARIA,
    ATTRIBUTES,
    BOOLEANS,
    CASE_MATTERS,
    CHILDREN,
    CHOICES,
    DATE_TIME,
    ELEMENTS,
    FLOATS,
    FLOW,
    GLOBAL,
    HEADINGS,
    INTEGERS,
    INTERACTIVE,
    LANGUAGE,
    NAMELESS,
    NOT_EMPTY_URLS,
    NOT_INSIDE,
    OBSOLETE,
    OBSOLETE_ATTRIBUTES,
    PARENTS,
    PATH_REFUSED,
    PHRASING_ONLY,
    REFERENCES,
    REQUIRED,
    ROLES,
    SRCSET_PART,
    TRANSPARENT,
    URL_REFUSED,
    URLS,
    WHOLE_NUMBERS,
    names,
)
from domain.quality.source import SourceText
from domain.verdict import Level

Problem = tuple[str, str]  # what is wrong, what to do


def obsolete_findings(page: HtmlPage) -> list[Finding]:
    """Attributes that only older pages have: browsers know them still."""
    return [
        page.source.finding(
            "html_obsolete",
            f"The attribute {name} of {node.tag} is obsolete",
            "use CSS",
            span=tag_span(page.source, node),
            level=Level.WARN,
        )
        for node in page.nodes
        if not node.is_foreign and "-" not in node.tag and node.tag in ELEMENTS
        for name in node.attributes
        if name in OBSOLETE_ATTRIBUTES and name not in ATTRIBUTES.get(node.tag, GLOBAL)
    ]


def conformance_findings(page: HtmlPage) -> list[Finding]:
    """One finding per element and broken rule, at the element's start tag."""
    found = [
        _finding(page.source, node, problem)
        for node in page.nodes
        if not node.is_foreign
        for problem in _problems(page, node)
    ]
    return found + [_finding(page.source, node, problem) for node, problem in _page_problems(page)]


def _finding(source: SourceText, node: Node, problem: Problem) -> Finding:
    return source.finding("html_error", problem[0], problem[1], span=tag_span(source, node))


def tag_span(source: SourceText, node: Node) -> Span:
    """The element's start tag, or the text that stands for it (an image or link of Markdown)."""
    end = source.text.find(">", node.offset)
    if source.text[node.offset : node.offset + 1] == "<" and 0 <= end - node.offset < 2_000:
        return source.span(node.offset, end + 1)
    address = node.attributes.get("src") or node.attributes.get("href") or ""
    return source.find(address, node.offset, len(source.text)) if address else source.line_span(node.offset)


def _problems(page: HtmlPage, node: Node) -> Iterator[Problem]:
    if node.tag in OBSOLETE:
        yield f"The element {node.tag} is obsolete", "use an element that says what it is, and CSS for its looks"
        return
    if node.tag not in ELEMENTS and "-" not in node.tag:
        yield f"There is no element {node.tag}", "correct its name or remove it"
        return
    yield from _place_problems(page, node)
    yield from _content_problems(node)
    yield from _attribute_problems(node)
    yield from _item_problems(page, node)
    for name, value in node.attributes.items():
        yield from _value_problems(node, name, value)


def _place_problems(page: HtmlPage, node: Node) -> Iterator[Problem]:
    parent = page.parent_of(node)
    if parent is None or parent.is_foreign:
        return
    wanted = PARENTS.get(node.tag)
    if wanted and parent.tag not in wanted:
        yield f"A {node.tag} stands in a {parent.tag}", f"put it into a {_listed(wanted - {'template', 'div'})}"
    allowed = CHILDREN.get(parent.tag)
    if allowed and node.tag not in allowed:
        yield (
            f"A {node.tag} stands directly in a {parent.tag}",
            f"put it into a {_listed(allowed - names('script template'))}",
        )
    model = _model_parent(page, node)
    if node.tag in FLOW and model in PHRASING_ONLY:
        yield f"A {node.tag} stands in a {model}, which holds only text", f"take the {node.tag} out of it"
    if node.tag in HEADINGS and model in ("dt", "th", "address"):
        yield f"A heading stands in a {model}", "put the heading before it"
    for other in sorted(NOT_INSIDE.get(node.tag, frozenset()) & node.around):
        yield f"A {node.tag} stands inside of a {other}", "take it out"
    outer = next(iter(sorted(node.around & {"a", "button"})), None)
    if outer and _is_interactive(node):
        yield f"A {node.tag} stands inside of {'an' if outer == 'a' else 'a'} {outer}", "take one of the two away"


def _listed(names: frozenset[str]) -> str:
    return " or ".join(sorted(names))


def _model_parent(page: HtmlPage, node: Node) -> str:
    """The element whose rules of content hold: links and the like take over those of what they stand in."""
    return next((one.tag for one in page.ancestors_of(node) if one.tag not in TRANSPARENT), "")


def _is_interactive(node: Node) -> bool:
    if node.tag == "a":
        return "href" in node.attributes
    if node.tag == "input":
        return node.attributes.get("type", "").lower() != "hidden"
    if node.tag in ("audio", "video"):
        return "controls" in node.attributes
    return node.tag in INTERACTIVE


def _content_problems(node: Node) -> Iterator[Problem]:
    children = [child.tag for child in node.element if isinstance(child.tag, str)]
    if node.tag in CHILDREN and node.tag not in ("table", "select") and _has_direct_text(node):
        yield (
            f"Text stands directly in a {node.tag}",
            f"put it into a {_listed(CHILDREN[node.tag] - names('script template'))}",
        )
    if node.tag == "details" and "summary" not in children[:1]:
        yield "A details has no summary at its beginning", "begin it with a summary"
    if node.tag == "tr" and not {"td", "th"} & set(children):
        yield "A table row has no cells", "give it cells or remove it"
    if node.tag == "dl" and "div" not in children and children and (children[0] == "dd" or children[-1] == "dt"):
        yield "A dl does not pair each dt with a dd", "begin with a dt and end with a dd"
    if node.tag == "title" and not "".join(node.element.itertext()).strip():
        yield "The title is empty", "give the page a title"
    if node.tag == "picture" and (children.count("img") != 1 or children[-1] == "source"):
        yield "A picture needs one img, after its sources", "end it with an img"
    if node.tag == "table" and "caption" in children[1:]:
        yield "The caption of a table does not stand first", "begin the table with it"
    if node.tag == "time" and "datetime" not in node.attributes and not DATE_TIME.fullmatch(_own_text(node)):
        yield f"The time “{_own_text(node)}” is none for machines", "say it in datetime, as in 2026-03-05"


def _own_text(node: Node) -> str:
    return " ".join("".join(node.element.itertext()).split())


def _has_direct_text(node: Node) -> bool:
    own = [node.element.text, *(child.tail for child in node.element)]
    return any(text and text.strip() for text in own)


def _attribute_problems(node: Node) -> Iterator[Problem]:
    if "-" in node.tag:
        return
    own = ATTRIBUTES.get(node.tag, frozenset())
    for name in node.attributes:
        is_free = name.startswith(("data-", "on", "xml", "xlink")) or ":" in name
        is_aria = name.startswith("aria-") and name.removeprefix("aria-") in ARIA
        if not (name in GLOBAL or name in own or is_free or is_aria or name in OBSOLETE_ATTRIBUTES):
            yield f"A {node.tag} has no attribute {name}", "remove it, or use CSS where it is about looks"
    for name in REQUIRED.get(node.tag, ()):
        is_other = node.tag == "img" and "srcset" in node.attributes
        if name not in node.attributes and not is_other:
            yield f"A {node.tag} has no {name}", f"give it a {name} or remove the element"
    if node.tag == "link" and not ({"href", "imagesrcset"} & set(node.attributes)):
        yield "A link has no href", "give it an address or remove it"
    if node.tag == "link" and not ({"rel", "itemprop", "property"} & set(node.attributes)):
        yield "A link has no rel", "say with rel what it links to"
    if node.tag == "meta":
        yield from _meta_problems(node)
    if "aria-label" in node.attributes and node.tag in NAMELESS and "role" not in node.attributes:
        yield f"A {node.tag} without a role can't have a label", "remove aria-label or give the element a role"


def _item_problems(page: HtmlPage, node: Node) -> Iterator[Problem]:
    names_given = set(node.attributes)
    if "itemtype" in names_given and "itemscope" not in names_given:
        yield f"A {node.tag} has an itemtype and no itemscope", "add itemscope"
    if "itemprop" in names_given and not _is_in_item(page, node):
        yield f"The itemprop of a {node.tag} belongs to no item", "put it into an element with itemscope"
    if "xml:lang" in names_given and node.attributes.get("lang", "").lower() != node.attributes["xml:lang"].lower():
        yield f"A {node.tag} has xml:lang without the same lang", "write lang alone"


def _is_in_item(page: HtmlPage, node: Node) -> bool:
    if any("itemscope" in one.attributes for one in page.ancestors_of(node)):
        return True
    ids = {one.attributes.get("id") for one in (node, *page.ancestors_of(node))}
    return any(
        ids & set(one.attributes.get("itemref", "").split()) for one in page.nodes if "itemref" in one.attributes
    )


def _meta_problems(node: Node) -> Iterator[Problem]:
    names = set(node.attributes)
    if not names & {"charset", "name", "http-equiv", "property", "itemprop"}:
        yield "A meta says neither name nor charset", "name it or remove it"
    elif "charset" not in names and "content" not in names:
        yield "A meta has no content", "give it a content or remove it"


def _value_problems(node: Node, name: str, value: str) -> Iterator[Problem]:
    if name == "id" and (not value or re.search(r"\s", value)):
        yield f"The id “{value}” is empty or has blanks", "use letters, digits and hyphens"
    if name in ("lang", "hreflang") and value and not LANGUAGE.fullmatch(value):
        yield f"{name} “{value}” is no language tag", "write it as in en or en-US"
    if name == "srcset" and not all(
        SRCSET_PART.fullmatch(part) for part in re.split(r",\s+|,$", value.strip()) if part
    ):
        yield f"The srcset “{_cut(value)}” can't be read", "write it as in small.png 480w, large.png 960w"
    if name == "usemap" and not value.startswith("#"):
        yield f"The usemap “{value}” names no map", "write # and the name of a map of this page"
    if name == "target" and (
        not value or (value.startswith("_") and value.lower() not in names("_blank _self _parent _top"))
    ):
        yield f"The target “{value}” is none", "use _blank or remove it"
    if name == "role" and value and not set(value.split()) <= ROLES:
        yield f"There is no role “{value}”", "remove it or use one that there is"
    if name in BOOLEANS and value.lower() not in ("", name):
        yield f"{name} “{value}” on a {node.tag} is either there or not", f"write {name} alone"
    if name == "datetime" and not DATE_TIME.fullmatch(value):
        yield f"The datetime “{value}” is none", "write it as in 2026-03-05 or 2026-03-05T09:30:00Z"
    yield from _number_problems(node, name, value)
    yield from _choice_problems(node, name, value)
    if name in URLS and not (name == "data" and node.tag != "object"):
        yield from _address_problems(node, name, value)


def _number_problems(node: Node, name: str, value: str) -> Iterator[Problem]:
    tags, least = WHOLE_NUMBERS.get(name, (frozenset(), 0))
    if node.tag in tags and not (re.fullmatch(r"\d+", value) and int(value) >= least):
        yield f"{name} “{value}” on a {node.tag} is no whole number", "write digits alone, without a unit"
    if node.tag in ("meter", "progress") and name in FLOATS and not re.fullmatch(r"-?\d*\.?\d+", value):
        yield f"{name} “{value}” on a {node.tag} is no number", "write digits alone"
    if node.tag in INTEGERS.get(name, frozenset()) and not re.fullmatch(r"-?\d+", value):
        yield f"{name} “{value}” on a {node.tag} is no whole number", "write digits alone"


def _choice_problems(node: Node, name: str, value: str) -> Iterator[Problem]:
    for key in ((node.tag, name), ("*", name)):
        choices = CHOICES.get(key)
        given = value if key in CASE_MATTERS else value.lower()
        if choices and given not in choices:
            yield f"{name} “{value}” on a {node.tag} is not one of {', '.join(sorted(choices))}", "use one of these"


def _address_problems(node: Node, name: str, value: str) -> Iterator[Problem]:
    address = value.strip()
    if not address:
        if name in NOT_EMPTY_URLS or node.tag == "link":
            yield f"The {name} of a {node.tag} is empty", "give it an address or remove the element"
        return
    if address.lower().startswith("javascript:"):
        return
    scheme, colon, rest = address.partition(":")
    if colon and scheme.lower() in ("http", "https") and not re.match(r"//[^/?#\s]", rest):
        yield f"The address “{_cut(address)}” names no host", "write it with its domain, as in https://example.com/"
    elif _is_bad_host(address):
        yield f"The address “{_cut(address)}” names no good host", "correct its domain or port"
    elif URL_REFUSED.search(address) or PATH_REFUSED.search(_without_host(address)):
        yield f"The address “{_cut(address)}” has characters that none may have", "percent-encode them"


def _is_bad_host(address: str) -> bool:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return True
    is_web = parts.scheme in ("http", "https")
    return is_web and (port == 0 or ".." in host or host.startswith(".") or bool(re.search(r"[^\w.:\-]", host)))


def _without_host(address: str) -> str:
    return re.sub(r"^(?:[a-z][a-z0-9+.-]*:)?//[^/?#]*", "", address, flags=re.IGNORECASE)


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def _page_problems(page: HtmlPage) -> Iterator[tuple[Node, Problem]]:
    ids = set(page.ids)
    for node in page.nodes:
        for name in REFERENCES & set(node.attributes):
            if node.is_foreign or (name == "for" and node.tag not in ("label", "output")):
                continue
            if missing := [one for one in node.attributes[name].split() if one not in ids]:
                yield node, (f"{name} names the id “{missing[0]}”, which nothing has", "name an id of this page")
    mains = [node for node in page.named("main") if "hidden" not in node.attributes]
    for node in mains[1:]:
        yield node, ("A second main stands on the page", "keep one")
    if page.is_document:
        yield from _head_problems(page)


def _head_problems(page: HtmlPage) -> Iterator[tuple[Node, Problem]]:
    head = next(iter(page.named("head")), page.nodes[0])
    titles = [node for node in page.named("title") if not node.is_foreign]
    if not titles:
        yield head, ("The page has no title", "add a title to its head")
    for node in titles[1:]:
        yield node, ("The page has a second title", "keep one")
    for node in page.named("meta", "link"):
        if "body" in node.around and not _may_stand_in_body(node):
            yield node, (f"A {node.tag} stands in the body", "move it into the head")
    names = Counter(node.attributes.get("name", "").lower() for node in page.named("meta"))
    for node in page.named("meta")[1:]:
        if node.attributes.get("name", "").lower() == "description" and names["description"] > 1:
            names["description"] -= 1
            yield node, ("The page has a second meta description", "keep one")


def _may_stand_in_body(node: Node) -> bool:
    if {"itemprop", "property"} & set(node.attributes):
        return True
    kinds: Mapping[str, bool] = dict.fromkeys(
        ["dns-prefetch", "modulepreload", "pingback", "preconnect", "prefetch", "preload", "stylesheet"], True
    )
    return node.tag == "link" and any(kinds.get(kind, False) for kind in node.attributes.get("rel", "").lower().split())
