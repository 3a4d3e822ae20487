"""An article as a WordPress post: its text in blocks, the mark that says whose it is, and what counts as the same.

The text is written so that it survives what WordPress does to it: blocks switch its automatic paragraphs off,
nothing in it is taken out for authors who may not write unfiltered HTML (JSON-LD, which would be, is left out for
them), and what looks like a shortcode is not one. The mark is an HTML comment inside of a Custom HTML block: comments
survive WordPress's filter, unregistered meta fields and script elements don't.
"""

import hashlib
import json
import re
from html import escape
from typing import Any
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from pydantic import Field, SecretStr
from selectolax.lexbor import LexborHTMLParser, LexborNode

from domain.assembly import REFERENCES_ID, page_url, site_base_url
from domain.errors import ConfigurationError
from domain.identifiers import bare_domain
from domain.money import Frozen
from domain.publication_site import DEMO_NOTICE, PageDates, dated_json_ld, script_json
from domain.publishing import PublicationRequest

RELATED_HEADING = "Related articles"
_MARK = re.compile(
    r"<!--\s*infin8 publication=(?P<publication>[0-9a-f-]{36}) content=(?P<content>[0-9a-f]{64})"
    r" text=(?P<text>[0-9a-f]{32})\s*-->"
)
_SHORTCODE_LIKE = re.compile(r"\[(?=[A-Za-z/\[])")
_SPACES = re.compile(r"[ \t\r\n]+")


class WordPressSite(Frozen):
    """``url`` is the site's address as readers know it; the password is an application password of ``user``."""

    url: str
    user: str
    application_password: SecretStr


class WordPressSites(Frozen):
    """The operator's sites: one per organization by its bare domain, and one for all others if there is one."""

    by_domain: dict[str, WordPressSite] = Field(default_factory=dict)
    default: WordPressSite | None = None

    def of(self, domain: str) -> WordPressSite | None:
        return self.by_domain.get(domain, self.default)

    def named(self) -> list[tuple[str, WordPressSite]]:
        """Every site with what to call it."""
        default = [("default", self.default)] if self.default else []
        return [*default, *sorted(self.by_domain.items())]


def no_site_message(domain: str) -> str:
    return (
        f"no WordPress site is set up for {domain}: set INFIN8_WORDPRESS_URL, INFIN8_WORDPRESS_USER and "
        "INFIN8_WORDPRESS_APPLICATION_PASSWORD (or name the domain in INFIN8_WORDPRESS_SITES)"
    )


SITE_FIELDS = ("url", "user", "application_password")


def parse_sites(text: str, name: str) -> dict[str, WordPressSite]:
    """Sites by bare domain, of JSON. Raises ConfigurationError naming ``name`` and the place; no value is shown."""
    try:
        sites = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{name} is not valid JSON (line {error.lineno}, column {error.colno})") from None
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{name} is not valid JSON") from None
    if not isinstance(sites, dict):
        raise ConfigurationError(f"{name} must be a JSON object of sites by domain")
    return {_domain_in(name, domain): _site_in(name, domain, facts) for domain, facts in sites.items()}


def _domain_in(name: str, domain: str) -> str:
    bare = bare_domain(domain)
    if not bare:
        raise ConfigurationError(f"{name} names {domain!r}, which is no domain")
    return bare


def _site_in(name: str, domain: str, facts: object) -> WordPressSite:
    is_whole = isinstance(facts, dict) and set(facts) == set(SITE_FIELDS)
    if not isinstance(facts, dict) or not is_whole or not all(isinstance(value, str) for value in facts.values()):
        raise ConfigurationError(f"{name}, {domain}: a site has the texts {', '.join(SITE_FIELDS)} and nothing else")
    return checked_site(f"{domain} of {name}", facts["url"], facts["user"], facts["application_password"])


def checked_site(name: str, url: str, user: str, password: str) -> WordPressSite:
    """Raises ConfigurationError naming ``name`` and what is wrong; the password is in no message."""
    try:
        parts = urlsplit(url.strip())
        problem = _url_problem(parts)
    except ValueError:
        problem = "is no URL"
    if problem:
        raise ConfigurationError(f"the WordPress site {name}: its URL {problem}; give it as https://blog.acme.example")
    for what, value in (("user", user), ("application password", password)):
        if not value.strip():
            raise ConfigurationError(f"the WordPress site {name} has no {what}: set one (an application password)")
    plain = parts._replace(path=parts.path.rstrip("/"), query="", fragment="").geturl()
    return WordPressSite(url=plain, user=user.strip(), application_password=SecretStr(password.strip()))


def _url_problem(parts: SplitResult) -> str | None:
    if parts.username is not None or parts.password is not None:
        return "must not carry a user name or password"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "must start with https:// (or http:// on this machine) and have a host"
    _ = parts.port  # raises ValueError for one that is none
    return None


# What is posted


class Mark(Frozen):
    """Whose text a post is: the publication, the approved content's hash, and a digest of the text as we wrote it."""

    publication_id: UUID
    content_hash: str
    text_digest: str

    def comment(self) -> str:
        return f"<!-- infin8 publication={self.publication_id} content={self.content_hash} text={self.text_digest} -->"


class PostText(Frozen):
    """A post's raw fields, as WordPress takes and stores them; ``content`` holds the mark."""

    title: str
    excerpt: str
    content: str

    @property
    def mark(self) -> Mark | None:
        found = _MARK.search(self.content)
        if found is None:
            return None
        return Mark(publication_id=UUID(found["publication"]), content_hash=found["content"], text_digest=found["text"])

    @property
    def is_as_marked(self) -> bool:
        """Nobody changed title, excerpt or text since we wrote them."""
        mark = self.mark
        return mark is not None and mark.text_digest == text_digest(self.title, self.excerpt, self.content)


def same_text(one: PostText, other: PostText) -> bool:
    """Whether readers would see the same: entities, white space and the order of storing don't count."""
    pairs = ((one.title, other.title), (one.excerpt, other.excerpt), (one.content, other.content))
    return all(_canonical(a) == _canonical(b) for a, b in pairs)


def first_difference(wanted: PostText, found: PostText) -> str:
    """Field and place of the first difference, for a person; empty when there is none."""
    for name in ("title", "excerpt", "content"):
        a, b = _canonical(getattr(wanted, name)), _canonical(getattr(found, name))
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            return f"{name}: sent …{a[max(0, at - 15) : at + 25]!r}, stored …{b[max(0, at - 15) : at + 25]!r}"
    return ""


def text_digest(title: str, excerpt: str, content: str) -> str:
    """32 hex digits over everything a reader sees; the mark itself and spellings of the same don't count."""
    text = "\x00".join(_canonical(part) for part in (title, excerpt, _MARK.sub("", content)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _canonical(html: str) -> str:
    body = LexborHTMLParser(f"<!doctype html><body>{html}").body
    text = (body.html if body else None) or ""
    return _SPACES.sub(" ", text.removeprefix("<body>").removesuffix("</body>")).strip()


def post_text(request: PublicationRequest, *, address: str | None, with_json_ld: bool) -> PostText:
    """The post of an article. ``address`` is the post's own as WordPress gives it; links go to those siblings whose
    addresses are known."""
    document = request.document
    title, excerpt = escape(document.title, quote=False), escape(document.meta_description, quote=False)
    json_ld = _json_ld(request, address) if with_json_ld and address else ""
    unmarked = _content(request, "", json_ld)
    mark = Mark(
        publication_id=request.publication_id,
        content_hash=request.content_hash,
        text_digest=text_digest(title, excerpt, unmarked),
    )
    return PostText(title=title, excerpt=excerpt, content=_content(request, mark.comment(), json_ld))


def _content(request: PublicationRequest, mark: str, json_ld: str) -> str:
    _, _, body = request.document.html.partition("</h1>")
    nodes = _top_level(body)
    at = next((i for i, node in enumerate(nodes) if node.attributes.get("id") == REFERENCES_ID), len(nodes))
    references = "\n".join(_html(node) for node in nodes[at:])
    tail = "\n".join(part for part in (mark, references, json_ld) if part)
    notice = [_block("paragraph", f"<p><em>{escape(DEMO_NOTICE, quote=False)}</em></p>")] * request.is_demo_text
    blocks = [*notice, *(_block_of(node) for node in nodes[:at]), _block("html", tail), *_related(request)]
    return "\n\n".join(blocks)


def _top_level(html: str) -> list[LexborNode]:
    body = LexborHTMLParser(f"<!doctype html><body>{html}").body
    return list(body.iter(include_text=False)) if body else []


def _html(node: LexborNode) -> str:
    """The element with nothing in it that WordPress would take for a shortcode."""
    return _SHORTCODE_LIKE.sub("&#091;", node.html or "")


def _block_of(node: LexborNode) -> str:
    html, plain = _html(node), not node.attributes
    match node.tag:
        case "p":
            return _block("paragraph", html)
        case "h2":
            return _block("heading", html)
        case "h3":
            return _block("heading", html, ' {"level":3}')
        case "ul" if plain and not node.css("ul ul, ul ol"):
            return _block("list", _tight(html))
        case "ol" if plain and not node.css("ol ul, ol ol"):
            return _block("list", _tight(html), ' {"ordered":true}')
        case _:
            return _block("html", html)


def _tight(html: str) -> str:
    return re.sub(r">\s*\n\s*<(?=/?(?:li|ul|ol)\b)", "><", html)


def _block(name: str, html: str, attributes: str = "") -> str:
    return f"<!-- wp:{name}{attributes} -->\n{html}\n<!-- /wp:{name} -->"


def _related(request: PublicationRequest) -> list[str]:
    known = [(link, request.addresses[link.slug]) for link in request.document.links if link.slug in request.addresses]
    if not known:
        return []
    items = "".join(
        f'<li><a href="{escape(address)}">{_SHORTCODE_LIKE.sub("&#091;", escape(link.text, quote=False))}</a></li>'
        for link, address in known
    )
    return [_block("heading", f"<h2>{RELATED_HEADING}</h2>"), _block("list", f"<ul>{items}</ul>")]


def _json_ld(request: PublicationRequest, address: str) -> str:
    dates = PageDates(published_at=request.published_at, modified_at=request.published_at)
    facts = _at_address(_without_our_folder(dated_json_ld(request.document, dates), request), request, address)
    text = re.sub(r"\[(?=[A-Za-z/])", r"\\u005b", script_json(facts))
    return f'<script type="application/ld+json">{text}</script>'


def _at_address(value: Any, request: PublicationRequest, address: str) -> Any:
    """The facts with the post's own address for that of a file."""
    if isinstance(value, dict):
        return {key: _at_address(inner, request, address) for key, inner in value.items()}
    if isinstance(value, list):
        return [_at_address(inner, request, address) for inner in value]
    ours = page_url(request.organization.url, request.document.slug)
    if isinstance(value, str) and (value == ours or value.startswith(f"{ours}#")):
        return address + value.removeprefix(ours)
    return value


def _without_our_folder(facts: dict[str, Any], request: PublicationRequest) -> dict[str, Any]:
    """A WordPress site has no folder of articles: its breadcrumb goes."""
    folder = site_base_url(request.organization.url)
    for node in facts["@graph"]:
        if node["@type"] == "BreadcrumbList":
            kept = [item for item in node["itemListElement"] if item["item"] != folder]
            node["itemListElement"] = [{**item, "position": at} for at, item in enumerate(kept, start=1)]
    return facts
