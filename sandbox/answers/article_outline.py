"""An article's outline: title, meta description and five to seven sections about the keyword and its terms."""

from collections.abc import Sequence
from itertools import product
from typing import Any

from sandbox.answers import Blocks
from sandbox.answers.article import UNNAMED_FIRMS, ArticleFacts, PhraseKind, phrase_kind, read_heading
from sandbox.answers.claims import section_of
from sandbox.answers.frames import filled
from sandbox.answers.grammar import (
    DESCRIPTION_CLOSINGS,
    DESCRIPTION_MIDDLES,
    DESCRIPTION_OPENINGS,
    DESCRIPTION_OPENINGS_FOR_QUESTIONS,
    DESCRIPTIONS,
    PURPOSES,
    TITLES,
)
from sandbox.answers.text import (
    Relevance,
    contains_phrase,
    digest,
    noun_phrases,
    pick,
    shuffled,
    starts_upper,
    word_count,
)

_TITLE_CHARACTERS = (45, 60)
_DESCRIPTION_CHARACTERS = (120, 156)
_HEADING_CHARACTERS_MAX = 75
_PASSAGES_PER_SECTION = 4
_OWN_PASSAGES_MAX = 7


def answer(blocks: Blocks) -> dict[str, Any]:
    facts = ArticleFacts.of(blocks)
    names = _purposes(facts)
    subjects = _subjects(facts, len(names))
    headings = _headings(facts, names, subjects)
    cited = _cited_passages(facts, headings)
    return {
        "title": title_of(facts),
        "meta_description": meta_description_of(facts),
        "sections": [
            {"heading": heading, "points": _points(facts, name, subject), "passages": numbers}
            for heading, name, subject, numbers in zip(headings, names, subjects, cited, strict=True)
        ],
    }


def title_of(facts: ArticleFacts) -> str:
    """45 to 60 characters where any frame gives that, else the nearest to it; never the title of a sibling."""
    taken = {rival.lower() for rival in facts.rivals}
    is_noun = phrase_kind(facts.keyword) is PhraseKind.NOUN
    frames = [frame for frame in TITLES if _fits_readers(facts, frame) and (is_noun or frame.startswith("{kw}:"))]
    titles = [starts_upper(_fill(facts, frame)) for frame in frames]
    free = [title for title in titles if title.lower() not in taken and not facts.is_banned(title)] or titles
    return min(free, key=lambda title: (_distance(title, _TITLE_CHARACTERS), digest(facts.seed, title)))


def meta_description_of(facts: ArticleFacts) -> str:
    is_noun = phrase_kind(facts.keyword) is PhraseKind.NOUN
    frames = DESCRIPTION_OPENINGS if is_noun else DESCRIPTION_OPENINGS_FOR_QUESTIONS
    openings = [frame for frame in frames if _fits_readers(facts, frame)]
    parts = product(DESCRIPTIONS, openings, DESCRIPTION_MIDDLES, DESCRIPTION_CLOSINGS)
    texts = {
        shape.format(opening=starts_upper(_fill(facts, opening)), middle=middle, closing=closing)
        for shape, opening, middle, closing in parts
    }
    texts = {text for text in texts if not facts.is_banned(text)} or texts
    return min(texts, key=lambda text: (_distance(text, _DESCRIPTION_CHARACTERS), digest(facts.seed, text)))


def _distance(text: str, bounds: tuple[int, int]) -> int:
    least, most = bounds
    return max(least - len(text), 0) + 10 * max(len(text) - most, 0)


def _fits_readers(facts: ArticleFacts, frame: str) -> bool:
    return "{firms}" not in frame or facts.firms != UNNAMED_FIRMS


def _fill(facts: ArticleFacts, frame: str, subject: str | None = None) -> str:
    shown = facts.naming.in_sentence(subject or facts.keyword)
    is_label = frame.startswith("{kw}:") or frame.endswith(": {kw}")
    named = (subject or facts.keyword) if is_label else shown
    return filled(frame, {"kw": named, "firms": facts.firms, "who": facts.people})


def _purposes(facts: ArticleFacts) -> list[str]:
    """The first is always what the keyword means; of the others some are left out, by the seed."""
    count = 5 if facts.words < 750 else 6 if facts.words < 1500 else 7
    first, *others = PURPOSES
    kept = set(shuffled(others, facts.seed, "purposes")[: count - 1])
    return [first, *(name for name in others if name in kept)]


def _subjects(facts: ArticleFacts, count: int) -> list[str]:
    """What each section is about: the keyword in the first and one more, the terms to cover in the others."""
    terms = [term for term in dict.fromkeys([*facts.spokes, *facts.terms]) if _is_subject(facts, term)]
    if len(terms) < count - 1:
        relevance = Relevance([passage.text for passage in facts.passages])
        found = [phrase for passage in facts.passages for phrase in noun_phrases(passage.text, words_max=3)]
        found = sorted(
            {phrase for phrase in found if _is_subject(facts, phrase) and phrase not in terms},
            key=lambda phrase: (-relevance.of(facts.keyword, phrase), digest(facts.seed, phrase)),
        )
        terms.extend(found)
    chosen = terms[:1] + shuffled(terms[1 : 2 * count], facts.seed, "subjects")
    repeated = 1 + digest(facts.seed, "second") % (count - 1) if phrase_kind(facts.keyword) is PhraseKind.NOUN else 0
    subjects = [facts.keyword]
    for place in range(1, count):
        subjects.append(facts.keyword if place == repeated or not chosen else chosen.pop(0))
    return subjects


def _is_subject(facts: ArticleFacts, term: str) -> bool:
    return (
        phrase_kind(term) is PhraseKind.NOUN
        and not contains_phrase(term, facts.keyword)
        and not contains_phrase(facts.keyword, term)
        and not any(character.isdigit() for character in term)
        and word_count(term) <= 5
        and not (word_count(term) > 1 and term.split(maxsplit=1)[0].endswith("ing"))
    )


def _headings(facts: ArticleFacts, names: Sequence[str], subjects: Sequence[str]) -> list[str]:
    headings: list[str] = []
    taken = {title_of(facts).lower()}
    for name, subject in zip(names, subjects, strict=True):
        options = [starts_upper(_fill(facts, frame, subject)) for frame in _heading_frames(facts, name, subject)]
        readable = [option for option in options if read_heading(option) == (name, subject)] or options
        free = [option for option in readable if option.lower() not in taken and not facts.is_banned(option)]
        heading = pick(free or options, facts.seed, name)
        headings.append(heading)
        taken.add(heading.lower())
    return headings


def _heading_frames(facts: ArticleFacts, name: str, subject: str) -> list[str]:
    """Those whose grammar suits the subject and that are not too long; where all are, the shortest."""
    frames = PURPOSES[name].headings
    if phrase_kind(subject) is not PhraseKind.NOUN:
        return [frame for frame in frames if frame.endswith(": {kw}")] or ["{kw}"]
    fitting = [frame for frame in frames if _fits_readers(facts, frame)]
    short = [frame for frame in fitting if len(_fill(facts, frame, subject)) <= _HEADING_CHARACTERS_MAX]
    return short or [min(fitting, key=len)]


def _points(facts: ArticleFacts, name: str, subject: str) -> list[str]:
    frames = shuffled(PURPOSES[name].points, facts.seed, name)[:2]
    points = [starts_upper(filled(frame, {"term": facts.naming.in_sentence(subject)})) for frame in frames]
    return [*points, starts_upper(facts.note)] if facts.note and name == "meaning" else points


def _cited_passages(facts: ArticleFacts, headings: Sequence[str]) -> list[list[int]]:
    """For each section the passages that are its own to retell, filled up with those nearest to its heading."""
    relevance = Relevance([passage.text for passage in facts.passages])
    cited: list[list[int]] = []
    for place, heading in enumerate(headings):
        own = [passage for passage in facts.passages if section_of(passage, headings) == place][:_OWN_PASSAGES_MAX]
        others = [passage for passage in facts.passages if passage not in own]
        others.sort(key=lambda passage: (-relevance.of(f"{heading} {facts.note}", passage.text), passage.number))
        cited.append(sorted(passage.number for passage in [*own, *others[: max(0, _PASSAGES_PER_SECTION - len(own))]]))
    return cited
