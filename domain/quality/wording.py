"""Gates on the words: grounding, banned phrases, term coverage, keyword density, likeness to siblings."""

from collections.abc import Sequence

from domain.article import ArticlePlan, cited_texts, claim_message, exempt_phrases
from domain.assembly import Document, DocumentSection
from domain.brief import Brief
from domain.grounding import ungrounded
from domain.pages import Passage
from domain.phrases import refused_phrases
from domain.text import content_stems, jaccard, phrase_count, sentences, shingles, stems, words
from domain.verdict import Reason

_CODES = {"number": "number_not_in_source", "quotation": "quotation_not_in_source"}


def subject_of(section_number: int) -> str:
    return f"section:{section_number}"


def section_text(section: DocumentSection) -> str:
    """The section's own words, one block or item a line."""
    return "\n".join(text for block in section.content.blocks for text in block.texts)


def body_text(document: Document) -> str:
    """All sections' words without title, headings and references."""
    return "\n".join(section_text(section) for section in document.sections)


def grounding_reasons(document: Document, plan: ArticlePlan, passages: Sequence[Passage]) -> list[Reason]:
    reasons: list[Reason] = []
    known = {passage.number for passage in passages}
    for section in document.sections:
        for block in section.content.blocks:
            reasons += [
                Reason(
                    code="citation_unknown",
                    message=f"Section {section.number} cites passage {number}, which does not exist: cite another.",
                    subject=subject_of(section.number),
                )
                for number in block.passages
                if number not in known
            ]
            reasons += [
                Reason(
                    code=_CODES[claim.kind],
                    message=f"Section {section.number}: {claim_message(claim)}",
                    subject=subject_of(section.number),
                )
                for text in block.texts
                for claim in ungrounded(text, cited_texts(block, passages), exempt_phrases=exempt_phrases(plan))
            ]
    return reasons + _headline_grounding(document, plan, passages)


def _headline_grounding(document: Document, plan: ArticlePlan, passages: Sequence[Passage]) -> list[Reason]:
    """Title, description and headings cite nothing: their numbers must stand in some passage."""
    sources = [passage.text for passage in passages]
    return [
        Reason(code=_CODES[claim.kind], message=f"The {place} says {claim.text}, which stands in no passage.")
        for place, text in _headlines(document)
        for claim in ungrounded(text, sources, exempt_phrases=exempt_phrases(plan))
    ]


def _headlines(document: Document) -> list[tuple[str, str]]:
    return [
        ("title", document.title),
        ("meta description", document.meta_description),
        *((f"heading of section {section.number}", section.heading) for section in document.sections),
    ]


def phrase_reasons(document: Document, brief: Brief) -> list[Reason]:
    reasons = [
        Reason(code="banned_phrase", message=f"The {place} uses the banned phrase “{phrase}”.")
        for place, text in _headlines(document)
        for phrase in refused_phrases(text, brief)
    ]
    return reasons + [
        Reason(
            code="banned_phrase",
            message=f"Section {section.number} uses the banned phrase “{phrase}”: say it in other words.",
            subject=subject_of(section.number),
        )
        for section in document.sections
        for phrase in refused_phrases(section_text(section), brief)
    ]


# --- terms ---


def covered_terms(terms: Sequence[str], document: Document) -> list[str]:
    """Terms that stand in the text word for word (up to plural), or whose words share a sentence or heading."""
    parts = [section.heading for section in document.sections]
    parts += [sentence for section in document.sections for sentence in _sentences(section)]
    part_stems = [stems(part) for part in parts]
    return [
        term
        for term in terms
        if any(phrase_count(term, one) or set(content_stems(term) or stems(term)) <= set(one) for one in part_stems)
    ]


def _sentences(section: DocumentSection) -> list[str]:
    return [one for block in section.content.blocks for text in block.texts for one in sentences(text)]


def coverage(terms: Sequence[str], document: Document) -> float:
    return len(covered_terms(terms, document)) / len(terms) if terms else 1.0


def coverage_reasons(document: Document, terms: Sequence[str], *, coverage_min: float) -> list[Reason]:
    covered = covered_terms(terms, document)
    share = len(covered) / len(terms) if terms else 1.0
    if share >= coverage_min:
        return []
    missing = [term for term in terms if term not in covered]
    wanted: dict[int, list[str]] = {}
    for term in missing:
        wanted.setdefault(_nearest_section(document, term, wanted), []).append(term)
    return [
        Reason(
            code="terms_uncovered",
            message=f"Only {share:.2f} of the terms are covered ({coverage_min:.2f} needed): "
            f"in section {number}, write about {', '.join(f'“{term}”' for term in names)}.",
            subject=subject_of(number) if number else None,
        )
        for number, names in sorted(wanted.items())
    ]


def _nearest_section(document: Document, term: str, taken: dict[int, list[str]]) -> int:
    needed = set(content_stems(term))
    return max(
        (section for section in document.sections),
        key=lambda one: (
            len(needed & set(content_stems(f"{one.heading} {section_text(one)}"))),
            -len(taken.get(one.number, ())),
            -one.number,
        ),
    ).number


# --- density ---


def density(document: Document) -> float:
    """Occurrences of the keyword per word of the text, headings included."""
    total = document_words(document)
    return sum(_keyword_counts(document).values()) / total if total else 0.0


def document_words(document: Document) -> int:
    return len(words(body_text(document))) + sum(len(words(section.heading)) for section in document.sections)


def _keyword_counts(document: Document) -> dict[int, int]:
    return {
        section.number: phrase_count(document.keyword, stems(section.heading))
        + sum(phrase_count(document.keyword, stems(one)) for one in _sentences(section))
        for section in document.sections
    }


def density_reasons(document: Document, *, density_max: float) -> list[Reason]:
    total, counts = document_words(document), _keyword_counts(document)
    share = sum(counts.values()) / total if total else 0.0
    if share <= density_max:
        return []
    excess = sum(counts.values()) - int(density_max * total)
    reasons: list[Reason] = []
    for number, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if excess <= 0 or not count:
            break
        excess -= count - 1
        reasons.append(
            Reason(
                code="keyword_density",
                message=f"The keyword “{document.keyword}” is {share:.1%} of the words ({density_max:.1%} at most): "
                f"section {number} says it {count} times, say it once.",
                subject=subject_of(number),
            )
        )
    return reasons


# --- siblings ---


def likeness(document: Document, sibling: Document) -> float:
    """Jaccard similarity of the five-word shingles of two bodies."""
    return jaccard(shingles(body_text(document)), shingles(body_text(sibling)))


def sibling_reasons(document: Document, siblings: Sequence[Document], *, similarity_max: float) -> list[Reason]:
    reasons: list[Reason] = []
    for sibling in siblings:
        if sibling.article_id == document.article_id:
            continue
        if sibling.slug == document.slug:
            message = f"The slug {document.slug} is that of “{sibling.title}” too: slugs are unique."
            reasons.append(Reason(code="slug_not_unique", message=message))
        if sibling.meta_title.casefold() == document.meta_title.casefold():
            message = f"The meta title “{document.meta_title}” is that of another article too: give it its own."
            reasons.append(Reason(code="meta_title_not_unique", message=message))
        if (share := likeness(document, sibling)) > similarity_max:
            reasons += _likeness_reasons(document, sibling, share, similarity_max)
    return reasons


def _likeness_reasons(document: Document, sibling: Document, share: float, similarity_max: float) -> list[Reason]:
    """One reason per section that shares more than the bound of its own shingles (at least the one with most)."""
    other = shingles(body_text(sibling))
    shared = {one.number: shingles(section_text(one)) & other for one in document.sections}
    own = {one.number: len(shingles(section_text(one))) or 1 for one in document.sections}
    most = max(shared, key=lambda number: (len(shared[number]), -number))
    guilty = [number for number in shared if number == most or len(shared[number]) / own[number] > similarity_max]
    return [
        Reason(
            code="near_duplicate",
            message=f"The article is too like “{sibling.title}” ({share:.2f}, {similarity_max:.2f} at most): "
            f"section {number} repeats it, as in “{' '.join(min(shared[number]))}”. Say something of its own.",
            subject=subject_of(number),
        )
        for number in guilty
        if shared[number]
    ]
