"""The site's Atom feed (RFC 4287): what was published, newest first, at its address on the organization's site."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from domain.assembly import page_url, site_base_url
from domain.brief import PublishMode
from domain.publication_site import FEED_FILE, Manifest, ManifestEntry, feed_title, shown_notice

# What XML 1.0 can't hold, however it is escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_feed(manifest: Manifest) -> str | None:
    """None while nothing with a date stands published for readers: a feed without entries tells nobody anything.

    Ids are those of workflow and articles, so they stay when titles, slugs or addresses change.
    """
    entries = _shown(manifest.articles)
    if not entries:
        return None
    base = site_base_url(manifest.organization_url)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="{_text(manifest.locale)}">',
        f"<id>{manifest.workflow_id.urn}</id>",
        f"<title>{_text(feed_title(manifest.organization_name))}</title>",
        *_subtitle(manifest),
        f'<link rel="self" type="application/atom+xml" href="{_text(base)}{FEED_FILE}"/>',
        f'<link rel="alternate" type="text/html" href="{_text(base)}"/>',
        f"<updated>{_moment(max(_changed_at(entry) for entry in entries))}</updated>",
        f"<author><name>{_text(manifest.organization_name)}</name></author>",
        "<generator>Infin8Content</generator>",
        *(_entry(manifest, entry) for entry in entries),
        "</feed>",
    ]
    return "\n".join(lines) + "\n"


def _shown(entries: Sequence[ManifestEntry]) -> list[ManifestEntry]:
    """Newest first; of the same time in the order of the plan."""
    dated = [entry for entry in entries if entry.mode is PublishMode.PUBLISH and entry.published_at is not None]
    return sorted(dated, key=_published_at, reverse=True)


def _published_at(entry: ManifestEntry) -> datetime:
    if entry.published_at is None:
        raise ValueError(f"article {entry.article_id} has no date and can't stand in a feed")
    return entry.published_at


def _changed_at(entry: ManifestEntry) -> datetime:
    """A change is never older than the publication."""
    published_at = _published_at(entry)
    return max(entry.modified_at or published_at, published_at)


def _subtitle(manifest: Manifest) -> list[str]:
    notice = shown_notice(is_demo_text=manifest.is_demo_text)
    return [f"<subtitle>{_text(notice)}</subtitle>"] if notice else []


def _entry(manifest: Manifest, entry: ManifestEntry) -> str:
    return "\n".join(
        (
            "<entry>",
            f"<id>{entry.article_id.urn}</id>",
            f"<title>{_text(entry.title)}</title>",
            f'<link rel="alternate" type="text/html" href="{_text(page_url(manifest.organization_url, entry.slug))}"/>',
            f"<published>{_moment(_published_at(entry))}</published>",
            f"<updated>{_moment(_changed_at(entry))}</updated>",
            f"<summary>{_text(entry.description)}</summary>",
            f'<category term="{_text(entry.keyword)}"/>',
            "</entry>",
        )
    )


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("", text))


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
