"""Gates on the words: sources, banned phrases, term coverage, keyword density, likeness to other articles."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from domain.assembly import Document, DocumentSection
from domain.grounding import ClaimKind, ungrounded
from domain.phrases import UNFOUNDED_PHRASES
from domain.quality.article_text import ArticleText, TextSection
from domain.quality.findings import Finding, Span
from domain.quality.grounding import CODES
from domain.text import content_stems, jaccard, phrase_count, phrase_pattern, shingles, stems, words
from domain.verdict import Level

# A paragraph in which the keyword is a third of the words and stands five times is written for machines, however long
# the article around it is.
STUFFED_COUNT_MIN = 5
STUFFED_SHARE_MIN = 0.3
# No text that is written for readers spends so much of its words on one phrase of several words (bench/defects.py:
# 3 % at most in encyclopedia articles).
PHRASE_SHARE_MAX = 0.08
TITLE_LIKENESS_MAX = 0.8
REPEATED_WORDS_MIN = 12
# A section of another article, copied: in a long article it hardly moves the likeness of the whole.
COPIED_SHARE_MAX = 0.5
COPIED_SHINGLES_MIN = 40


def section_text(section: DocumentSection) -> str:
    """The section's own words, one block or item a line."""
    return "\n".join(text for block in section.content.blocks for text in block.texts)


def body_text(document: Document) -> str:
    """All sections' words without title, headings and references."""
    return "\n".join(section_text(section) for section in document.sections)


def headlines(document: Document) -> list[tuple[str, str]]:
    return [
        ("title", document.title),
        ("meta description", document.meta_description),
        *((f"heading of section {section.number}", section.heading) for section in document.sections),
    ]


def _headline_span(text: ArticleText, headline: str) -> Span | None:
    if headline == text.title:
        return text.source.line_span(0)
    section = next((one for one in text.sections if one.number and one.heading == headline), None)
    return text.source.line_span(section.start) if section else None


def source_findings(text: ArticleText, sources: Sequence[str], exempt: Sequence[str]) -> list[Finding]:
    """Numbers and quotations of a text that none of the sources carries."""
    found: list[Finding] = []
    for section in text.sections:
        for block in section.blocks:
            seen: Counter[str] = Counter()
            for claim in ungrounded(block.text, sources, exempt_phrases=exempt):
                span = text.source.find(claim.text, block.start, block.end, seen[claim.text])
                seen[claim.text] += 1
                what = "The quotation " if claim.kind is ClaimKind.QUOTATION else ""
                message = f"{what}{claim.text.strip()} stands in no source"
                fix = claim.fix.rstrip(".") or "correct it after the source or leave it out"
                found.append(text.finding(CODES[claim.kind], message, fix, span=span))
    return found


# --- phrases ---


def phrase_findings(
    text: ArticleText, phrases: Sequence[str], headlines: Sequence[tuple[str, str]] = ()
) -> list[Finding]:
    """Banned phrases (the caller's, and claims that nobody can make) in headlines, headings and text; each phrase once
    per block."""
    patterns = [
        (phrase, phrase_pattern(phrase)) for phrase in dict.fromkeys((*phrases, *UNFOUNDED_PHRASES)) if phrase.strip()
    ]
    found = [
        text.finding(
            "banned_phrase",
            f"The {place} uses the banned phrase “{phrase}”",
            "say it in other words",
            span=_headline_span(text, headline),
        )
        for place, headline in headlines
        for phrase, pattern in patterns
        if pattern.search(headline)
    ]
    for section in text.sections:
        for block in section.blocks:
            for phrase, pattern in patterns:
                if match := pattern.search(block.text):
                    span = text.source.find(match[0], block.start, block.end)
                    found.append(_banned(text, section.number, phrase, span))
    return found


def _banned(text: ArticleText, section: int, phrase: str, span: Span) -> Finding:
    where = f"Section {section}" if section else "The text"
    message = f"{where} uses the banned phrase “{phrase}”"
    return text.finding("banned_phrase", message, "say it in other words", span=span, section=section or None)


# --- terms ---


def covered_terms(terms: Sequence[str], text: ArticleText) -> list[str]:
    """Terms that stand in the text word for word (up to plural), or whose words share a sentence or heading."""
    parts = [one for section in text.sections for one in section.sentence_stems]
    sets = [frozenset(one) for one in parts]
    covered = []
    for term in terms:
        wanted = set(content_stems(term) or stems(term))
        if any(wanted <= one for one in sets) or any(phrase_count(term, one) for one in parts):
            covered.append(term)
    return covered


def coverage(terms: Sequence[str], text: ArticleText) -> float:
    return len(covered_terms(terms, text)) / len(terms) if terms else 1.0


def coverage_findings(text: ArticleText, terms: Sequence[str], *, coverage_min: float) -> list[Finding]:
    covered = covered_terms(terms, text)
    share = len(covered) / len(terms) if terms else 1.0
    if share >= coverage_min:
        return []
    wanted: dict[int, list[str]] = {}
    for term in terms:
        if term not in covered:
            wanted.setdefault(_nearest_section(text, term, wanted), []).append(term)
    return [
        text.finding(
            "terms_uncovered",
            f"Only {share:.2f} of the terms are covered ({coverage_min:.2f} needed)",
            f"in section {number}, write about {', '.join(f'“{term}”' for term in names)}"
            if number
            else f"write about {', '.join(f'“{term}”' for term in names)}",
            span=text.place(number, ""),
            section=number or None,
        )
        for number, names in sorted(wanted.items())
    ]


def _nearest_section(text: ArticleText, term: str, taken: dict[int, list[str]]) -> int:
    needed = set(content_stems(term))
    candidates = [section for section in text.sections if section.number] or list(text.sections)
    return max(
        candidates,
        key=lambda one: (
            len(needed & set(content_stems(f"{one.heading} {one.text}"))),
            -len(taken.get(one.number, ())),
            -one.number,
        ),
    ).number


# --- density ---


def density(text: ArticleText, keyword: str) -> float:
    """Occurrences of the keyword per word of the text, headings included."""
    total = text_words(text)
    return sum(_keyword_counts(text, keyword).values()) / total if total else 0.0


def text_words(text: ArticleText) -> int:
    return len(words(text.body)) + sum(len(words(one.text)) for section in text.sections for one in section.headings)


def _keyword_counts(text: ArticleText, keyword: str) -> dict[int, int]:
    return {
        section.number: sum(phrase_count(keyword, one) for one in section.sentence_stems) for section in text.sections
    }


def density_findings(text: ArticleText, keyword: str, *, density_max: float) -> list[Finding]:
    total, counts = text_words(text), _keyword_counts(text, keyword)
    share = sum(counts.values()) / total if total else 0.0
    density_max = min(density_max, PHRASE_SHARE_MAX / max(1, len(stems(keyword))))
    if share <= density_max:
        return _stuffed_paragraphs(text, keyword)
    excess = sum(counts.values()) - int(density_max * total)
    found: list[Finding] = []
    for number, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if excess <= 0 or not count:
            break
        excess -= count - 1
        message = f"The keyword “{keyword}” is {share:.1%} of the words ({density_max:.1%} at most)"
        where = f"section {number}" if number else "the beginning"
        fix = f"{where} says it {count} times, say it once"
        found.append(
            text.finding("keyword_density", message, fix, span=text.place(number, keyword), section=number or None)
        )
    return found


def _stuffed_paragraphs(text: ArticleText, keyword: str) -> list[Finding]:
    length = len(stems(keyword))
    found: list[Finding] = []
    for section in text.sections:
        for block in section.blocks:
            tokens = stems(block.text)
            count = phrase_count(keyword, tokens)
            if count >= STUFFED_COUNT_MIN and count * length >= STUFFED_SHARE_MIN * len(tokens):
                message = f"The keyword “{keyword}” stands {count} times in one paragraph of {len(tokens)} words"
                span = text.source.find(keyword, block.start, block.end)
                found.append(
                    text.finding("keyword_density", message, "say it once", span=span, section=section.number or None)
                )
    return found


# --- other articles ---


@dataclass(frozen=True)
class OtherArticle:
    """What is compared of an article beside the one that is checked; empty strings where it is not known."""

    title: str
    body: str
    slug: str = ""
    meta_title: str = ""
    keyword: str = ""


def other_article(document: Document) -> OtherArticle:
    return OtherArticle(document.title, body_text(document), document.slug, document.meta_title, document.keyword)


def likeness(document: Document, sibling: Document) -> float:
    """Jaccard similarity of the five-word shingles of two bodies."""
    return jaccard(shingles(body_text(document)), shingles(body_text(sibling)))


def likeness_findings(text: ArticleText, other: OtherArticle, *, similarity_max: float) -> list[Finding]:
    """One finding per section that repeats the other article: when the whole is too like it, each that shares more
    than the bound (at least the one with most); else one that is copied for the most part."""
    theirs = shingles(other.body)
    share = jaccard(shingles(text.body), theirs)
    own = {section.number: shingles(section.text) for section in text.sections if section.blocks}
    shared = {number: one & theirs for number, one in own.items()}
    bound = similarity_max if share > similarity_max else COPIED_SHARE_MAX
    guilty = {
        number
        for number, one in shared.items()
        if len(one) > bound * len(own[number]) and (share > similarity_max or len(one) >= COPIED_SHINGLES_MIN)
    }
    if share > similarity_max:
        guilty.add(max(shared, key=lambda number: (len(shared[number]), -number)))
    return [
        _near_duplicate(text, other, section, shared[section.number], share)
        for section in text.sections
        if section.number in guilty and shared[section.number]
    ]


def _near_duplicate(
    text: ArticleText, other: OtherArticle, section: TextSection, shared: frozenset[tuple[str, ...]], share: float
) -> Finding:
    example = " ".join(min(shared))
    where = f"section {section.number}" if section.number else "the beginning"
    message = f"The article is too like “{other.title}” (likeness {share:.2f})"
    fix = f"{where} repeats it, as in “{example}”; say something of its own"
    end = max((block.end for block in section.blocks), default=section.start)
    span = text.source.find(example, section.start, end)
    return text.finding("near_duplicate", message, fix, span=span, section=section.number or None)


def cannibalization_findings(
    text: ArticleText, title: str, keyword: str, others: Sequence[OtherArticle]
) -> list[Finding]:
    """Other articles that ask for the same search: the same words as keyword, or nearly the same title."""
    found: list[Finding] = []
    for other in others:
        if keyword and other.keyword and _same_words(keyword, other.keyword):
            message = f"The keyword “{keyword}” is that of “{other.title or other.keyword}” too"
        elif _alike(title, other.title) >= TITLE_LIKENESS_MAX:
            message = f"The title “{title}” is nearly that of “{other.title}”"
        else:
            continue
        fix = "give each article a search of its own, or make one of the two"
        found.append(text.finding("cannibalization", message, fix, span=_headline_span(text, title), level=Level.WARN))
    return found


def _same_words(left: str, right: str) -> bool:
    return bool(stems(left)) and set(content_stems(left) or stems(left)) == set(content_stems(right) or stems(right))


def _alike(left: str, right: str) -> float:
    ours, theirs = set(content_stems(left)), set(content_stems(right))
    return len(ours & theirs) / len(ours | theirs) if len(ours) > 1 and theirs else 0.0


def repetition_findings(text: ArticleText) -> list[Finding]:
    """Paragraphs that stand in the text twice, word for word."""
    first: dict[tuple[str, ...], int] = {}
    found: list[Finding] = []
    for section in text.sections:
        for block in section.blocks:
            tokens = tuple(word.lower() for word in words(block.text))
            if len(tokens) < REPEATED_WORDS_MIN:
                continue
            if tokens not in first:
                first[tokens] = text.source.line_of(block.start)
                continue
            message = f"The paragraph stands in line {first[tokens]} already"
            span = text.source.line_span(block.start)
            found.append(text.finding("text_repeated", message, "remove one of the two", span=span, level=Level.WARN))
    return found
