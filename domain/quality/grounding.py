"""Gate on truth: every number, quotation, named source and claim against the passages that its block cites."""

from collections.abc import Collection, Sequence
from typing import Any

from domain.article import (
    ArticlePlan,
    Block,
    block_counts,
    block_findings,
    cited_texts,
    claim_message,
    exempt_phrases,
    source_names,
)
from domain.assembly import Document, DocumentSection
from domain.brief import Brief
from domain.grounding import Claim, PreparedSource, claim_spans, prepared, support, ungrounded
from domain.money import Frozen
from domain.pages import Passage
from domain.verdict import Level, Reason

CODES = {
    "number": "number_not_in_source",
    "quotation": "quotation_not_in_source",
    "reference": "reference_not_in_source",
}
CLAIM_COVERAGE_MIN = 0.6
WEAKEST_MAX = 10
EXAMPLES_MAX = 3
EXCERPT_CHARACTERS_MAX = 160


class GroundedClaim(Frozen):
    """A sentence that states something: ``start`` and ``end`` in the text ``text_index`` of the block (0-based; a
    list's lead-in comes before its items). ``missing`` are its words and numbers that the cited passages lack."""

    section: int
    block: int
    text_index: int
    start: int
    end: int
    text: str
    score: float
    is_supported: bool
    is_contradicted: bool
    evidence: tuple[str, ...]
    missing: tuple[str, ...]


class UngroundedSpan(Frozen):
    """A number, quotation or named source that no cited passage carries, with its span in the text of its block."""

    section: int
    block: int
    text_index: int
    claim: Claim


class GroundingReport(Frozen):
    """``spans`` block; ``claims`` are counted and the weakest shown; ``reasons`` are what the verdict takes over."""

    spans: tuple[UngroundedSpan, ...]
    claims: tuple[GroundedClaim, ...]
    reasons: tuple[Reason, ...]

    @property
    def coverage(self) -> float:
        """Share of the claims that the passages they cite support; 1 without claims."""
        return sum(claim.is_supported for claim in self.claims) / len(self.claims) if self.claims else 1.0

    def values(self) -> dict[str, Any]:
        """Figures, spans, best evidence and fixes for the quality report, as plain JSON values."""
        weakest = sorted(self.claims, key=lambda claim: (claim.score, claim.section, claim.block, claim.start))
        return {
            "claim_coverage": round(self.coverage, 3),
            "claims": len(self.claims),
            "claims_weakest": [
                claim.model_dump(mode="json") for claim in weakest[:WEAKEST_MAX] if not claim.is_supported
            ],
            "ungrounded": [
                {
                    "section": one.section,
                    "block": one.block,
                    "text_index": one.text_index,
                    **one.claim.model_dump(mode="json"),
                }
                for one in self.spans
            ],
        }


def ground(
    document: Document,
    plan: ArticlePlan,
    passages: Sequence[Passage],
    *,
    brief: Brief,
    claim_coverage_min: float = CLAIM_COVERAGE_MIN,
) -> GroundingReport:
    """``passages`` are the pool that the article was written from."""
    spans = tuple(_spans(document, plan, passages, brief))
    claims = tuple(_claims(document, passages, brief))
    report = GroundingReport(spans=spans, claims=claims, reasons=())
    reasons = [
        *_unknown_passages(document, passages),
        *(_span_reason(span) for span in spans),
        *_headline_reasons(document, plan, passages),
        *_contradictions(claims),
        *_coverage_reasons(report, claim_coverage_min),
    ]
    return report.model_copy(update={"reasons": tuple(reasons)})


def _blocks(document: Document) -> list[tuple[int, int, Block]]:
    return [
        (section.number, index, block)
        for section in document.sections
        for index, block in enumerate(section.content.blocks)
    ]


def _subject(section: int) -> str:
    return f"section:{section}"


def _unknown_passages(document: Document, passages: Sequence[Passage]) -> list[Reason]:
    known = {passage.number for passage in passages}
    return [
        Reason(
            code="citation_unknown",
            message=f"Section {section} cites passage {number}, which does not exist: cite another.",
            subject=_subject(section),
        )
        for section, _, block in _blocks(document)
        for number in block.passages
        if number not in known
    ]


# --- numbers, quotations, named sources ---


def _spans(document: Document, plan: ArticlePlan, passages: Sequence[Passage], brief: Brief) -> list[UngroundedSpan]:
    return [
        UngroundedSpan(section=section, block=index, text_index=text_index, claim=claim)
        for section, index, block in _blocks(document)
        for text_index, claim in block_findings(block, passages, plan, brief)
    ]


def _span_reason(span: UngroundedSpan) -> Reason:
    return Reason(
        code=CODES[span.claim.kind],
        message=f"Section {span.section}: {claim_message(span.claim)}",
        subject=_subject(span.section),
    )


def _headline_reasons(document: Document, plan: ArticlePlan, passages: Sequence[Passage]) -> list[Reason]:
    """Title, description and headings cite nothing: their numbers must stand in some passage, or count what follows.
    Only a heading's section can mend what its heading promises."""
    sources = [passage.text for passage in passages]
    reasons: list[Reason] = []
    for place, text, section, counts in _headlines(document):
        reasons += [
            Reason(
                code=CODES[claim.kind],
                message=f"The {place} says {claim.text}, which stands in no passage and counts nothing below it.",
                subject=_subject(section) if section and claim.text.isdigit() else None,
            )
            for claim in ungrounded(text, sources, exempt_phrases=exempt_phrases(plan), counts=counts)
        ]
    return reasons


def _headlines(document: Document) -> list[tuple[str, str, int, Collection[int]]]:
    """(place, text, section number or 0, what it may count)."""
    sections = {len(document.sections)}
    lists = {count for section in document.sections for count in _section_counts(section)}
    return [
        ("title", document.title, 0, sections | lists),
        ("meta description", document.meta_description, 0, sections | lists),
        *(
            (f"heading of section {section.number}", section.heading, section.number, _section_counts(section))
            for section in document.sections
        ),
    ]


def _section_counts(section: DocumentSection) -> set[int]:
    blocks = section.content.blocks
    return {len(blocks), *(count for block in blocks for count in block_counts(block))}


# --- claims ---


def _claims(document: Document, passages: Sequence[Passage], brief: Brief) -> list[GroundedClaim]:
    found: list[GroundedClaim] = []
    for section, index, block in _blocks(document):
        source = prepared(tuple(cited_texts(block, passages)))
        names = source_names(block, passages, brief)
        for text_index, text in enumerate(block.texts):
            place = {"section": section, "block": index, "text_index": text_index}
            found += [
                _grounded_claim({**place, "start": start, "end": end}, text[start:end], source, names)
                for start, end in claim_spans(text)
            ]
    return found


def _grounded_claim(place: dict[str, int], text: str, source: PreparedSource, names: Sequence[str]) -> GroundedClaim:
    found = support(text, source, known_names=names)
    return GroundedClaim(
        **place,
        text=text,
        score=found.score,
        is_supported=found.is_supported,
        is_contradicted=found.is_contradicted,
        evidence=tuple(source.sentences[place] for place in found.evidence),
        missing=found.missing,
    )


def _contradictions(claims: Sequence[GroundedClaim]) -> list[Reason]:
    return [
        Reason(
            code="claim_contradicted",
            message=f"Section {claim.section} says “{_excerpt(claim.text)}”, but its source seems to say the opposite: "
            f"“{_excerpt(' '.join(claim.evidence))}”.",
            subject=_subject(claim.section),
            level=Level.WARN,
        )
        for claim in claims
        if claim.is_contradicted
    ]


def _coverage_reasons(report: GroundingReport, coverage_min: float) -> list[Reason]:
    if report.coverage >= coverage_min:
        return []
    weakest = sorted(report.claims, key=lambda claim: (claim.score, claim.section, claim.block, claim.start))
    shown = "; ".join(_weakness(claim) for claim in weakest[:EXAMPLES_MAX])
    message = (
        f"Only {report.coverage:.2f} of the {len(report.claims)} claims are carried by the passages they cite "
        f"({coverage_min:.2f} wanted). Cite the passage each stands on, or say what the passage says: {shown}."
    )
    return [Reason(code="claims_uncovered", message=message, level=Level.WARN)]


def _weakness(claim: GroundedClaim) -> str:
    lacks = f" lacks {', '.join(claim.missing[:EXAMPLES_MAX])}" if claim.missing else ""
    return f"section {claim.section}, “{_excerpt(claim.text)}”{lacks}"


def _excerpt(text: str) -> str:
    return text if len(text) <= EXCERPT_CHARACTERS_MAX else f"{text[: EXCERPT_CHARACTERS_MAX - 1].rstrip()}…"
