"""Gates on what a results page shows and where the article stands: meta title, description, slug, uniqueness."""

import re
from collections.abc import Sequence

from domain.assembly import RESERVED_SLUGS, SLUG_CHARACTERS_MAX, Document
from domain.identifiers import bare_domain
from domain.money import Frozen
from domain.quality.findings import Finding, Span
from domain.quality.source import SourceText
from domain.quality.wording import OtherArticle
from domain.settings import ArticleSettings
from domain.verdict import Level

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
# Widths of a results page's titles: a sans serif of 20 pixels, in pixels per character.
_WIDTHS = {
    **dict.fromkeys("ijl'|", 4.5), **dict.fromkeys("ft.,:;!/ I()[]-", 5.6), **dict.fromkeys("r“”\"", 6.8),
    **dict.fromkeys("ckJsvxyz", 10.0), **dict.fromkeys("abdeghnopquL0123456789$?–_", 11.1),
    **dict.fromkeys("FTZ", 12.2), **dict.fromkeys("ABEKPSVXY&", 13.3), **dict.fromkeys("CDHNRUw", 14.4),
    **dict.fromkeys("GOQ", 15.6), **dict.fromkeys("mM", 16.7), **dict.fromkeys("W%—", 18.9),
}  # fmt: skip
_WIDTH_ELSE = 11.1
_WIDTH_FULL = 20.0


class Metadata(Frozen):
    """What is told about an article beside its text; None where nothing is told, with the place where it is."""

    meta_title: str | None = None
    description: str | None = None
    slug: str | None = None
    title_span: Span | None = None
    description_span: Span | None = None
    slug_span: Span | None = None


def title_pixels(title: str) -> float:
    """Width of a title on a results page, in pixels (a sans serif of 20 pixels)."""
    return sum(_WIDTH_FULL if ord(one) >= 0x1100 and one.isalpha() else _WIDTHS.get(one, _WIDTH_ELSE) for one in title)


def metadata_of(document: Document) -> Metadata:
    return Metadata(meta_title=document.meta_title, description=document.meta_description, slug=document.slug)


def metadata_findings(metadata: Metadata, source: SourceText, settings: ArticleSettings) -> list[Finding]:
    """What is told is measured; what is not told is the caller's to judge."""
    return [
        *_title_findings(metadata, source, settings),
        *_description_findings(metadata, source, settings),
        *_slug_findings(metadata, source),
    ]


def _title_findings(metadata: Metadata, source: SourceText, settings: ArticleSettings) -> list[Finding]:
    if metadata.meta_title is None:
        return []
    pixels = title_pixels(metadata.meta_title)
    if settings.title_pixels_min <= pixels <= settings.title_pixels_max:
        return []
    bounds = f"{settings.title_pixels_min:.0f} to {settings.title_pixels_max:.0f}"
    message = f"The meta title “{metadata.meta_title}” is {pixels:.0f} pixels wide; {bounds} show whole"
    fix = "say more in it" if pixels < settings.title_pixels_min else "shorten it"
    return [source.finding("meta_title_width", message, fix, span=metadata.title_span, level=Level.WARN)]


def _description_findings(metadata: Metadata, source: SourceText, settings: ArticleSettings) -> list[Finding]:
    if metadata.description is None:
        return []
    characters = len(metadata.description)
    least, most = settings.description_characters_min, settings.description_characters_max
    if least <= characters <= most:
        return []
    message = f"The description has {characters} characters; {least} to {most} fit"
    fix = f"say {least - characters} more" if characters < least else f"cut {characters - most}"
    span = metadata.description_span
    return [source.finding("meta_description_length", message, fix, span=span, level=Level.WARN)]


def _slug_findings(metadata: Metadata, source: SourceText) -> list[Finding]:
    slug = metadata.slug
    if slug is None:
        return []
    if not _SLUG.fullmatch(slug):
        message, fix = (
            f"The slug “{slug}” has other signs than a-z, 0-9 and single hyphens",
            "write it with these alone",
        )
        return [source.finding("slug_invalid", message, fix, span=metadata.slug_span)]
    if slug in RESERVED_SLUGS:
        message = f"The slug “{slug}” is the name of a page that the site makes itself"
        return [source.finding("slug_invalid", message, "choose another", span=metadata.slug_span)]
    if len(slug) <= SLUG_CHARACTERS_MAX:
        return []
    message = f"The slug has {len(slug)} characters; {SLUG_CHARACTERS_MAX} at most read well"
    return [source.finding("slug_long", message, "shorten it", span=metadata.slug_span, level=Level.WARN)]


def uniqueness_findings(metadata: Metadata, source: SourceText, others: Sequence[OtherArticle]) -> list[Finding]:
    found: list[Finding] = []
    for other in others:
        if metadata.slug and other.slug == metadata.slug:
            message = f"The slug {metadata.slug} is that of “{other.title}” too"
            found.append(
                source.finding("slug_not_unique", message, "slugs are unique, choose another", span=metadata.slug_span)
            )
        if metadata.meta_title and other.meta_title.casefold() == metadata.meta_title.casefold():
            message = f"The meta title “{metadata.meta_title}” is that of another article too"
            found.append(source.finding("meta_title_not_unique", message, "give it its own", span=metadata.title_span))
    return found


def slug_in(address: str) -> str | None:
    """The slug of a page's address; None for a home page or a folder."""
    path = re.sub(r"[?#].*", "", address)
    if not bare_domain(address) or path.endswith("/"):
        return None
    parts = path.split("://")[-1].split("/")
    return re.sub(r"\.(?:html?|php)$", "", parts[-1]) if len(parts) > 1 else None
