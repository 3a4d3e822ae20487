"""All gates of an article: what blocks it, what is only said, and which sections a repair may mend."""

from collections.abc import Sequence
from typing import Any

from domain.article import ArticlePlan
from domain.assembly import Document
from domain.brief import Brief
from domain.identifiers import bare_domain
from domain.pages import Passage
from domain.quality.html_page import read_fragment
from domain.quality.readability import measured, readability_reasons
from domain.quality.structure import structure_reasons
from domain.quality.structured_data import structured_data_reasons
from domain.quality.wording import (
    coverage,
    coverage_reasons,
    density,
    density_reasons,
    grounding_reasons,
    likeness,
    phrase_reasons,
    sibling_reasons,
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

    A reason that one section can mend has the subject ``section:N``. ``values`` holds the settings used and the
    figures measured.
    """
    page = read_fragment(document.html)
    reasons = [
        *structure_reasons(document, page, own_domain=bare_domain(brief.organization.url)),
        *structured_data_reasons(document),
        *grounding_reasons(document, plan, passages),
        *phrase_reasons(document, brief),
        *coverage_reasons(document, terms, coverage_min=settings.term_coverage_min),
        *density_reasons(document, density_max=settings.keyword_density_max),
        *sibling_reasons(document, sibling_documents, similarity_max=settings.sibling_similarity_max),
        *readability_reasons(document),
    ]
    return verdict_of(reasons, _values(document, terms, sibling_documents, settings))


def _values(
    document: Document, terms: Sequence[str], siblings: Sequence[Document], settings: ArticleSettings
) -> dict[str, Any]:
    others = [sibling for sibling in siblings if sibling.article_id != document.article_id]
    return {
        "term_coverage_min": settings.term_coverage_min,
        "keyword_density_max": settings.keyword_density_max,
        "sibling_similarity_max": settings.sibling_similarity_max,
        "term_coverage": round(coverage(terms, document), 3),
        "keyword_density": round(density(document), 4),
        "sibling_similarity": round(max((likeness(document, other) for other in others), default=0.0), 4),
        **measured(document, siblings),
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
