"""The page a person looks at before approving: each article as it will be published, its quality report beside it."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from html import escape
from typing import Any

from domain.money import Frozen, Usd, format_usd
from domain.publication_style import STYLE

PREVIEW_FILE = "preview.html"
SHOWN = Decimal("0.0001")
# What the report shows of a verdict's figures: name, words, and how many of what.
_FIGURES = (
    ("words", "words", "{:.0f}"),
    ("flesch", "reading ease (Flesch)", "{:.0f}"),
    ("term_coverage", "terms covered", "{:.0%}"),
    ("keyword_density", "keyword density", "{:.1%}"),
    ("claim_coverage", "claims supported", "{:.0%}"),
    ("cited_share", "blocks with a source", "{:.0%}"),
    ("source_domains", "source domains", "{:.0f}"),
    ("sibling_similarity", "likeness to the nearest sibling", "{:.1%}"),
    ("title_pixels", "title width in pixels", "{:.0f}"),
)


class PreviewedArticle(Frozen):
    """``page`` is the file beside the preview, None for an article that has none; ``quality`` the stored verdict.
    ``notes`` say why an article is not there, or why its newest version is not the one shown."""

    number: int
    title: str
    keyword: str
    role: str
    state: str
    cost_usd: Usd
    page: str | None = None
    content_hash: str | None = None
    quality: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


class PreviewPage(Frozen):
    workflow_id: str
    workflow_name: str
    organization_name: str
    state: str
    is_demo_text: bool
    articles: tuple[PreviewedArticle, ...]


def render_preview(preview: PreviewPage) -> str:
    shown = [article for article in preview.articles if article.page]
    warnings = sum(len(findings_of(article.quality)) for article in shown)
    title = f"Preview: {preview.organization_name}, {preview.workflow_name}"
    rows = "\n".join(_row(article) for article in preview.articles)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="robots" content="noindex">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{_STYLE}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#content">Skip to the content</a>\n'
        f'<main id="content" class="preview">\n<header class="article-header"><p class="kicker">'
        f"{escape(preview.organization_name)} · {escape(preview.workflow_name)}</p><h1>Preview</h1>"
        f'<p class="byline">{_count(len(shown), "article")} of {len(preview.articles)} to approve, '
        f"{_count(warnings, 'warning')} to look at. {escape(_way_on(preview))}</p></header>\n"
        f"{rows}\n</main>\n</body>\n</html>\n"
    )


def findings_of(quality: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """What the gates said: message, what to do, where; from the findings, or from the reasons where none are stored."""
    if not quality:
        return []
    findings = (quality.get("values") or {}).get("findings")
    return list(findings if isinstance(findings, list) else quality.get("reasons") or [])


def _way_on(preview: PreviewPage) -> str:
    if preview.state != "PUBLISH_PENDING":
        return f"The run is in {preview.state}."
    return f"To publish them: starter.py approve {preview.workflow_id}"


def _row(article: PreviewedArticle) -> str:
    heading = escape(article.title[:1].upper() + article.title[1:])
    frame = ""
    if article.page:
        heading = f'<a href="{escape(article.page)}">{heading}</a>'
        frame = f'<iframe src="{escape(article.page)}" title="{escape(article.title)}" loading="lazy"></iframe>'
    facts = " · ".join(
        (article.role, escape(article.keyword), f"${format_usd(article.cost_usd.quantize(SHOWN))}", _hash(article))
    )
    parts = [
        f"<h2>{article.number}. {heading}</h2>",
        f'<p class="byline">{facts}</p>',
        f'<p class="verdict"><span class="label">{escape(article.state)}</span> {escape(_verdict_words(article))}</p>',
        *(f'<p class="note">{escape(note)}</p>' for note in article.notes),
        _findings(findings_of(article.quality)) if article.page else "",
        _figures(article.quality) if article.page else "",
    ]
    return f'<section class="previewed"><div class="report">{"".join(parts)}</div>{frame}</section>'


def _hash(article: PreviewedArticle) -> str:
    return f"content {article.content_hash[:12]}" if article.content_hash else "no content"


def _verdict_words(article: PreviewedArticle) -> str:
    if article.state == "NOT_BEGUN":
        return "is not written yet"
    if not article.page:
        return "no version of it passed its gates"
    count = len(findings_of(article.quality))
    return f"passes its gates with {_count(count, 'warning')}" if count else "passes its gates without a warning"


def _findings(findings: Sequence[Mapping[str, Any]]) -> str:
    if not findings:
        return ""
    return f'<ul class="findings">{"".join(map(_finding, findings))}</ul>'


def _finding(finding: Mapping[str, Any]) -> str:
    message = str(finding.get("message") or "")
    where = f'<span class="where">Section {finding["section"]}. </span>' if finding.get("section") else ""
    fix = f' <span class="fix">To mend it: {escape(str(finding["fix"]))}.</span>' if finding.get("fix") else ""
    excerpt = str(finding.get("excerpt") or "")
    quote = f"<q>{escape(_short(excerpt))}</q>" if excerpt else ""
    return f"<li>{where}{escape(_sentence(message))}{fix}{quote}</li>"


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _short(text: str, characters_max: int = 160) -> str:
    return text if len(text) <= characters_max else f"{text[:characters_max].rsplit(' ', 1)[0]} …"


def _figures(quality: Mapping[str, Any] | None) -> str:
    values = (quality or {}).get("values") or {}
    rows = [
        f"<dt>{escape(words)}</dt><dd>{shape.format(values[name])}</dd>"
        for name, words, shape in _FIGURES
        if isinstance(values.get(name), int | float)
    ]
    return f'<dl class="figures">{"".join(rows)}</dl>' if rows else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


_STYLE = """
.preview{max-width:92rem;margin:0 auto;padding:2rem 1.25rem 3rem}
.previewed{padding:1.75rem 0;border-bottom:1px solid var(--line)}
.previewed:last-child{border-bottom:0}
.previewed h2{margin:0 0 .35rem;font-size:1.375rem}
.previewed h2 a{color:var(--ink)}
.report{min-width:0;font:.9375rem/1.5 var(--sans)}
.report h2{font-family:var(--serif)}
.verdict{margin:.9rem 0}
.note{margin:.6rem 0;color:var(--mark)}
.findings{margin:.9rem 0;padding-left:1.15rem}
.findings li{margin:.6rem 0}
.where{font-weight:600}
.fix{color:var(--soft)}
.findings q{display:block;margin-top:.2rem;padding-left:.7rem;border-left:2px solid var(--line);color:var(--soft);
font-size:.875rem}
.figures{display:grid;grid-template-columns:1fr auto;gap:.25rem 1rem;margin:1rem 0 0;padding-top:.9rem;
border-top:1px solid var(--line);font-size:.875rem}
.figures dt{color:var(--soft)}
.figures dd{margin:0;text-align:right;font-variant-numeric:tabular-nums}
.previewed iframe{display:none}
@media (min-width:64rem){.previewed{display:grid;grid-template-columns:22rem minmax(0,1fr);column-gap:3rem}
.previewed iframe{display:block;width:100%;height:44rem;border:1px solid var(--line);border-radius:6px;
background:var(--paper)}}
@media print{.previewed iframe{display:none}}
"""
