"""Warnings about length and ease: they are told, and stop nothing."""

import re
from collections.abc import Sequence
from statistics import fmean

from domain.assembly import Document
from domain.identifiers import bare_domain
from domain.quality.wording import body_text, section_text, subject_of
from domain.text import sentences, words
from domain.verdict import Level, Reason

TITLE_PIXELS_MIN, TITLE_PIXELS_MAX = 400, 600
DESCRIPTION_CHARACTERS_MIN, DESCRIPTION_CHARACTERS_MAX = 120, 156
HEADINGS_MIN, HEADINGS_MAX = 4, 12
SECTION_WORDS_MAX = 300
PARAGRAPH_WORDS_MAX = 150
LONG_SENTENCE_WORDS = 20
LONG_SENTENCES_SHARE_MAX = 0.25
FLESCH_MIN, FLESCH_MAX = 45.0, 75.0
CITED_SHARE_MIN = 0.6
SOURCE_DOMAINS_MIN = 3

# Widths of a results page's titles: a sans serif of 20 pixels, in pixels per character.
_WIDTHS = {
    **dict.fromkeys("ijl'|", 4.5), **dict.fromkeys("ft.,:;!/ I()[]-", 5.6), **dict.fromkeys("r“”\"", 6.8),
    **dict.fromkeys("ckJsvxyz", 10.0), **dict.fromkeys("abdeghnopquL0123456789$?–_", 11.1),
    **dict.fromkeys("FTZ", 12.2), **dict.fromkeys("ABEKPSVXY&", 13.3), **dict.fromkeys("CDHNRUw", 14.4),
    **dict.fromkeys("GOQ", 15.6), **dict.fromkeys("mM", 16.7), **dict.fromkeys("W%—", 18.9),
}  # fmt: skip
_WIDTH_ELSE = 11.1
_VOWELS = re.compile(r"[aeiouy]+")
# Neighbouring vowels that are two syllables: carrier, created, buying, employee, idea, video.
_PARTED_VOWELS = re.compile(r"i(?=ers?$)|e(?=at(?:e|i|o))|[aeiouy](?=ings?$)|y(?=ees?$)|e(?=as?$|os?$)|i(?=a(?!l)|u)")


def title_pixels(title: str) -> float:
    """Width of a title on a results page, in pixels (a sans serif of 20 pixels)."""
    return sum(_WIDTHS.get(character, _WIDTH_ELSE) for character in title)


def syllables(word: str) -> int:
    """Syllables of an English word, by its groups of vowels."""
    word = re.sub(r"[^a-z]", "", word.lower())
    if len(word) <= 3:
        return 1
    word = re.sub(r"(?:[^laeiouy]es|[^aeiouy]ed(?<![td]ed)|[^laeiouy]e)$", lambda found: found[0][0], word)
    return max(1, len(_VOWELS.findall(word)) + len(_PARTED_VOWELS.findall(word)))


def flesch(text: str) -> float:
    """Flesch reading ease of English text: higher is easier. 0 for an empty text."""
    parts = [one for line in text.splitlines() for one in sentences(line)]
    tokens = words(text)
    if not parts or not tokens:
        return 0.0
    return 206.835 - 1.015 * len(tokens) / len(parts) - 84.6 * fmean(syllables(token) for token in tokens)


def cited_share(document: Document) -> float:
    """Share of the blocks that stand on a passage."""
    blocks = [block for section in document.sections for block in section.content.blocks]
    return sum(bool(block.passages) for block in blocks) / len(blocks) if blocks else 0.0


def source_domains(document: Document) -> int:
    return len({bare_domain(reference.url) for reference in document.references})


def long_sentences_share(text: str) -> float:
    lengths = [len(words(one)) for line in text.splitlines() for one in sentences(line)]
    return sum(length > LONG_SENTENCE_WORDS for length in lengths) / len(lengths) if lengths else 0.0


def readability_reasons(document: Document) -> list[Reason]:
    return [*_metadata_warnings(document), *_section_warnings(document), *_text_warnings(document)]


def _warning(code: str, message: str, subject: str | None = None) -> Reason:
    return Reason(code=code, message=message, subject=subject, level=Level.WARN)


def _metadata_warnings(document: Document) -> list[Reason]:
    reasons: list[Reason] = []
    pixels, characters = title_pixels(document.meta_title), len(document.meta_description)
    if not TITLE_PIXELS_MIN <= pixels <= TITLE_PIXELS_MAX:
        bounds = f"{TITLE_PIXELS_MIN} to {TITLE_PIXELS_MAX}"
        reasons.append(
            _warning("meta_title_width", f"The meta title is {pixels:.0f} pixels wide; {bounds} show whole.")
        )
    if not DESCRIPTION_CHARACTERS_MIN <= characters <= DESCRIPTION_CHARACTERS_MAX:
        bounds = f"{DESCRIPTION_CHARACTERS_MIN} to {DESCRIPTION_CHARACTERS_MAX}"
        reasons.append(
            _warning("meta_description_length", f"The description has {characters} characters; {bounds} fit.")
        )
    if not HEADINGS_MIN <= len(document.sections) <= HEADINGS_MAX:
        bounds = f"{HEADINGS_MIN} to {HEADINGS_MAX}"
        reasons.append(
            _warning("section_count", f"The article has {len(document.sections)} sections; {bounds} read well.")
        )
    return reasons


def _section_warnings(document: Document) -> list[Reason]:
    reasons: list[Reason] = []
    for section in document.sections:
        subject, count = subject_of(section.number), len(words(section_text(section)))
        if count > SECTION_WORDS_MAX:
            message = f"Section {section.number} has {count} words; split what is over {SECTION_WORDS_MAX}."
            reasons.append(_warning("section_long", message, subject))
        longest = max((len(words(text)) for block in section.content.blocks for text in block.texts), default=0)
        if longest > PARAGRAPH_WORDS_MAX:
            message = f"Section {section.number} has a paragraph of {longest} words; {PARAGRAPH_WORDS_MAX} at most."
            reasons.append(_warning("paragraph_long", message, subject))
    return reasons


def _text_warnings(document: Document) -> list[Reason]:
    text = body_text(document)
    reasons: list[Reason] = []
    if (share := long_sentences_share(text)) > LONG_SENTENCES_SHARE_MAX:
        message = f"{share:.0%} of the sentences have over {LONG_SENTENCE_WORDS} words; shorten some."
        reasons.append(_warning("sentences_long", message))
    if document.locale.lower().startswith("en") and not FLESCH_MIN <= (ease := flesch(text)) <= FLESCH_MAX:
        message = f"The Flesch reading ease is {ease:.0f}; {FLESCH_MIN:.0f} to {FLESCH_MAX:.0f} is aimed at."
        reasons.append(_warning("reading_ease", message))
    if (share := cited_share(document)) < CITED_SHARE_MIN:
        message = f"{share:.0%} of the blocks cite a source; {CITED_SHARE_MIN:.0%} should."
        reasons.append(_warning("citations_few", message))
    if (domains := source_domains(document)) < SOURCE_DOMAINS_MIN:
        message = f"The sources are {domains} site(s); {SOURCE_DOMAINS_MIN} make an article less one-sided."
        reasons.append(_warning("sources_few", message))
    return reasons


def measured(document: Document, siblings: Sequence[Document]) -> dict[str, float | int]:
    """Figures that are reported and gate nothing."""
    text = body_text(document)
    return {
        "words": document.word_count,
        "sections": len(document.sections),
        "siblings_compared": sum(sibling.article_id != document.article_id for sibling in siblings),
        "title_pixels": round(title_pixels(document.meta_title)),
        "flesch": round(flesch(text), 1),
        "long_sentences_share": round(long_sentences_share(text), 3),
        "cited_share": round(cited_share(document), 3),
        "source_domains": source_domains(document),
    }
