"""Warnings about length and ease: they are told, and stop nothing."""

import re
from functools import lru_cache
from statistics import fmean

from domain.quality.article_text import ArticleText
from domain.quality.findings import Finding, Span
from domain.settings import ArticleSettings
from domain.text import STOPWORDS, sentence_spans, sentences, words
from domain.verdict import Level

SENTENCE_WORDS_MAX = ArticleSettings().sentence_words_max
# Below so many words a share or an ease says nothing.
MEASURED_WORDS_MIN = 100
ENGLISH_STOPWORDS_SHARE_MIN = 0.2
_VOWELS = re.compile(r"[aeiouy]+")
# Neighbouring vowels that are two syllables: carrier, created, buying, employee, idea, video.
_PARTED_VOWELS = re.compile(r"i(?=ers?$)|e(?=at(?:e|i|o))|[aeiouy](?=ings?$)|y(?=ees?$)|e(?=as?$|os?$)|i(?=a(?!l)|u)")


@lru_cache(maxsize=20_000)
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


def long_sentences_share(text: str, words_max: int = SENTENCE_WORDS_MAX) -> float:
    lengths = [len(words(one)) for line in text.splitlines() for one in sentences(line)]
    return sum(length > words_max for length in lengths) / len(lengths) if lengths else 0.0


def is_english(text: ArticleText, language: str) -> bool:
    """By its language where that is told, else by its words."""
    if language:
        return language.lower().startswith("en")
    tokens = [word.lower() for word in words(text.body)]
    return bool(tokens) and sum(token in STOPWORDS for token in tokens) / len(tokens) >= ENGLISH_STOPWORDS_SHARE_MIN


def readability_findings(text: ArticleText, language: str, settings: ArticleSettings) -> list[Finding]:
    found = [*_heading_count(text, settings), *_section_lengths(text, settings), *_paragraph_lengths(text, settings)]
    if len(words(text.body)) >= MEASURED_WORDS_MIN:
        found += _long_sentences(text, settings)
        found += _reading_ease(text, settings) if is_english(text, language) else []
    return found


def _warning(text: ArticleText, code: str, message: str, fix: str, span: Span | None, section: int = 0) -> Finding:
    return text.finding(code, message, fix, span=span, level=Level.WARN, section=section or None)


def _heading_count(text: ArticleText, settings: ArticleSettings) -> list[Finding]:
    count = text.heading_count
    if settings.headings_min <= count <= settings.headings_max:
        return []
    message = f"The article has {count} sections (H2); {settings.headings_min} to {settings.headings_max} read well"
    fix = "part the text further" if count < settings.headings_min else "join sections that belong together"
    return [_warning(text, "section_count", message, fix, None)]


def _section_lengths(text: ArticleText, settings: ArticleSettings) -> list[Finding]:
    """Words under one heading: a section is as long as a reader reads without a new heading."""
    found: list[Finding] = []
    for section in text.sections:
        marks = sorted({section.start, *(heading.offset for heading in section.headings)})
        for start, end in zip(marks, [*marks[1:], len(text.source.text) + 1], strict=True):
            count = sum(len(words(block.text)) for block in section.blocks if start <= block.start < end)
            if count <= settings.section_words_max:
                continue
            where = f"Section {section.number}" if section.number else "The beginning"
            name = next((f" (“{one.text}”)" for one in section.headings if one.offset == start), "")
            message = f"{where}{name} has {count} words; {settings.section_words_max} at most read well"
            span = text.source.line_span(start)
            found.append(_warning(text, "section_long", message, "split it by a heading", span, section.number))
    return found


def _paragraph_lengths(text: ArticleText, settings: ArticleSettings) -> list[Finding]:
    found: list[Finding] = []
    for section in text.sections:
        for block in section.blocks:
            count = len(words(block.text))
            if count > settings.paragraph_words_max:
                where = f"Section {section.number}" if section.number else "The beginning"
                message = f"{where} has a paragraph of {count} words; {settings.paragraph_words_max} at most read well"
                span = text.source.line_span(block.start)
                found.append(_warning(text, "paragraph_long", message, "part it", span, section.number))
    return found


def _long_sentences(text: ArticleText, settings: ArticleSettings) -> list[Finding]:
    share = long_sentences_share(text.body, settings.sentence_words_max)
    if share <= settings.long_sentences_share_max:
        return []
    message = (
        f"{share:.0%} of the sentences have over {settings.sentence_words_max} words "
        f"({settings.long_sentences_share_max:.0%} at most)"
    )
    length, span = _longest_sentence(text)
    fix = f"shorten some; the longest has {length} words"
    return [_warning(text, "sentences_long", message, fix, span)]


def _longest_sentence(text: ArticleText) -> tuple[int, Span | None]:
    longest: tuple[int, Span | None] = (0, None)
    for block in text.blocks:
        for start, end in sentence_spans(block.text):
            sentence = block.text[start:end]
            if (length := len(words(sentence))) > longest[0]:
                longest = length, text.source.find(sentence, block.start, block.end)
    return longest


def _reading_ease(text: ArticleText, settings: ArticleSettings) -> list[Finding]:
    ease = round(flesch(text.body), 1)  # as it is told
    if settings.flesch_min <= ease <= settings.flesch_max:
        return []
    message = (
        f"The Flesch reading ease is {ease:.1f}; {settings.flesch_min:.0f} to {settings.flesch_max:.0f} is aimed at"
    )
    fix = "use shorter sentences and words" if ease < settings.flesch_min else "say more in a sentence where it helps"
    return [_warning(text, "reading_ease", message, fix, None)]
