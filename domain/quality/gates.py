"""All gates of an article: what blocks it, what is only said, and which sections a repair may mend."""

from collections.abc import Sequence
from typing import Any

from domain.article import ArticlePlan
from domain.assembly import Document
from domain.brief import Brief
from domain.identifiers import bare_domain
from domain.pages import Passage
from domain.quality.article_text import ArticleText, text_of_document
from domain.quality.findings import Finding, in_order
from domain.quality.grounding import CODES, GroundingReport, ground
from domain.quality.html_page import HtmlPage, read_fragment
from domain.quality.metadata import metadata_findings, metadata_of, title_pixels, uniqueness_findings
from domain.quality.readability import flesch, long_sentences_share, readability_findings
from domain.quality.structure import document_link_findings, form_findings, integrity_findings
from domain.quality.structured_data import structured_data_findings
from domain.quality.wording import (
    OtherArticle,
    cannibalization_findings,
    coverage,
    coverage_findings,
    density,
    density_findings,
    headlines,
    likeness,
    likeness_findings,
    other_article,
    phrase_findings,
    repetition_findings,
)
from domain.settings import ArticleSettings
from domain.verdict import Level, Verdict, verdict_of


def check(
    document: Document,
    *,
    brief: Brief,
    plan: ArticlePlan,
    terms: Sequence[str],
    passages: Sequence[Passage],
    sibling_documents: Sequence[Document],
    settings: ArticleSettings,
) -> Verdict:
    """Every gate of the article step over a finished document; ``passages`` are the pool it was written from.

    A reason that one section can mend has the subject ``section:N``. ``values`` holds the settings used, the figures
    measured, and under ``findings`` what each reason is about: its place in the document's Markdown (for ``html_error``
    and the like in its HTML) and what to do.
    """
    page, text = read_fragment(document.html), text_of_document(document)
    siblings = [one for one in sibling_documents if one.article_id != document.article_id]
    grounding = ground(document, plan, passages, brief=brief, claim_coverage_min=settings.claim_coverage_min)
    findings = in_order(
        [
            *_form(document, page, brief),
            *_words(document, text, brief, terms, settings),
            *_grounding(text, grounding),
            *_siblings(document, text, brief, siblings, settings),
            *metadata_findings(metadata_of(document), text.source, settings),
            *readability_findings(text, document.locale, settings),
            *_sources(document, text, settings),
        ]
    )
    values = {
        **_settings_used(settings),
        **_figures(document, text, terms, siblings),
        **grounding.values(),
        "findings": [finding.model_dump(mode="json", exclude_none=True) for finding in findings],
    }
    return verdict_of([finding.as_reason() for finding in findings], values)


def _form(document: Document, page: HtmlPage, brief: Brief) -> list[Finding]:
    return [
        *form_findings(page),
        *document_link_findings(document, page, own_domain=bare_domain(brief.organization.url)),
        *integrity_findings(document, page),
        *structured_data_findings(document, page.source),
    ]


def _words(
    document: Document, text: ArticleText, brief: Brief, terms: Sequence[str], settings: ArticleSettings
) -> list[Finding]:
    return [
        *phrase_findings(text, brief.voice.banned_phrases, headlines(document)),
        *coverage_findings(text, terms, coverage_min=settings.term_coverage_min),
        *density_findings(text, document.keyword, density_max=settings.keyword_density_max),
        *repetition_findings(text),
    ]


def _siblings(
    document: Document, text: ArticleText, brief: Brief, siblings: Sequence[Document], settings: ArticleSettings
) -> list[Finding]:
    others = [other_article(sibling) for sibling in siblings]
    existing = [OtherArticle(title=page.url, body="", keyword=page.keyword) for page in brief.existing_pages]
    found = uniqueness_findings(metadata_of(document), text.source, others)
    for other in others:
        found += likeness_findings(text, other, similarity_max=settings.sibling_similarity_max)
    return found + cannibalization_findings(text, document.title, document.keyword, [*others, *existing])


def _grounding(text: ArticleText, report: GroundingReport) -> list[Finding]:
    """The report's reasons, with the places of its claims in the Markdown."""
    places: dict[tuple[str, str], list[str]] = {}
    for one in report.spans:
        places.setdefault((CODES[one.claim.kind], f"section:{one.section}"), []).append(one.claim.text)
    found: list[Finding] = []
    for reason in report.reasons:
        said = places.get((reason.code, reason.subject or ""), [])
        section = int((reason.subject or "section:0").partition(":")[2])
        span = text.place(section, said.pop(0) if said else "") if section else None
        message, _, fix = reason.message.rstrip(".").rpartition(": ")
        found.append(
            text.finding(
                reason.code,
                message or fix,
                fix if message else "",
                span=span,
                level=reason.level,
                section=section or None,
            )
        )
    return found


def _sources(document: Document, text: ArticleText, settings: ArticleSettings) -> list[Finding]:
    found: list[Finding] = []
    if (share := cited_share(document)) < settings.cited_share_min:
        message = f"{share:.0%} of the blocks cite a source; {settings.cited_share_min:.0%} should"
        fix = "cite what the others stand on"
        found.append(text.finding("citations_few", message, fix, span=None, level=Level.WARN))
    if (domains := source_domains(document)) < settings.source_domains_min:
        message = f"The sources are {domains} site(s); {settings.source_domains_min} make an article less one-sided"
        found.append(text.finding("sources_few", message, "draw on more sites", span=None, level=Level.WARN))
    return found


def cited_share(document: Document) -> float:
    """Share of the blocks that stand on a passage."""
    blocks = [block for section in document.sections for block in section.content.blocks]
    return sum(bool(block.passages) for block in blocks) / len(blocks) if blocks else 0.0


def source_domains(document: Document) -> int:
    return len({bare_domain(reference.url) for reference in document.references})


def _settings_used(settings: ArticleSettings) -> dict[str, float]:
    """The thresholds, so that a verdict can be judged anew without the settings of its day."""
    ends = ("_min", "_max")
    plain = settings.model_dump(mode="json")
    return {name: value for name, value in plain.items() if name.endswith(ends) and "characters" not in name}


def _figures(
    document: Document, text: ArticleText, terms: Sequence[str], siblings: Sequence[Document]
) -> dict[str, Any]:
    likest = max((likeness(document, sibling) for sibling in siblings), default=0.0)
    return {
        "term_coverage": round(coverage(terms, text), 3),
        "keyword_density": round(density(text, document.keyword), 4),
        "sibling_similarity": round(likest, 4),
        "siblings_compared": len(siblings),
        "words": document.word_count,
        "sections": len(document.sections),
        "title_pixels": round(title_pixels(document.meta_title)),
        "flesch": round(flesch(text.body), 1),
        "long_sentences_share": round(long_sentences_share(text.body), 3),
        "cited_share": round(cited_share(document), 3),
        "source_domains": source_domains(document),
    }


def repairable_sections(verdict: Verdict) -> dict[int, list[str]]:
    """Messages of the blocking reasons by the number of the section that can mend them.

    Empty when nothing blocks; a blocking reason without a section is in ``verdict.reasons`` and no repair mends it.
    """
    problems: dict[int, list[str]] = {}
    for reason in verdict.reasons:
        kind, _, number = (reason.subject or "").partition(":")
        if reason.level is Level.BLOCK and kind == "section" and number.isdigit():
            problems.setdefault(int(number), []).append(reason.message)
    return dict(sorted(problems.items()))
