"""Writes a section, sentence by sentence, from the grammar, the terms to carry and the passages to cite."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.answers import Blocks
from sandbox.answers.article import ArticleFacts, PhraseKind, phrase_kind, purposes_of, read_heading
from sandbox.answers.frames import as_sentence, choices_made, filled, slots_of
from sandbox.answers.grammar import (
    OPENERS,
    OWN_SITE_FRAMES,
    PAIR_FRAMES,
    PURPOSES,
    QUESTION_FRAMES,
    QUOTE_FRAMES,
    SOURCE_FRAMES,
    TAILS_OF_ADVICE,
    TAILS_OF_STATEMENTS,
    TERM_FRAMES,
    VERB_FRAMES,
    Purpose,
)
from sandbox.answers.text import (
    Passage,
    Relevance,
    contains_phrase,
    content_stems,
    digest,
    noun_phrases,
    pick,
    sentences,
    shuffled,
    starts_upper,
    word_count,
)

_SECTION_WORDS_MAX = 520
_PARAGRAPH_WORDS = 62
_SENTENCE_WORDS_MAX = 20
_LIST_ITEMS = 4
_KEYWORD_SHARE = 0.018
_CYCLE = ("source", "term", "advice", "source", "statement", "term", "source", "advice", "statement")


@dataclass(frozen=True)
class SectionTask:
    """What is asked for: the section's place among the headings, its words, the terms and passages it may use."""

    facts: ArticleFacts
    number: int
    heading: str
    headings: tuple[str, ...]
    words: int
    own_host: str
    variant: str = ""

    @classmethod
    def of(cls, blocks: Blocks) -> "SectionTask":
        section = blocks.json("section")
        heading = str(section["heading"])
        headings = tuple(map(str, blocks.json("outline", [heading]))) or (heading,)
        return cls(
            facts=ArticleFacts.of(blocks),
            number=int(section.get("number") or 1),
            heading=heading,
            headings=headings,
            words=min(int(section.get("words") or 150), _SECTION_WORDS_MAX),
            own_host=_host(str(blocks.json("brief")["organization"]["url"])),
        )

    def again(self, variant: str) -> "SectionTask":
        """The same task, to be written in other words."""
        return replace(self, variant=variant)

    @property
    def seed(self) -> str:
        return f"{self.facts.seed}/{self.number}/{self.variant}"

    @property
    def purpose_name(self) -> str:
        names = purposes_of(self.headings)
        place = self.number - 1
        return names[place] if 0 <= place < len(names) else names[0]

    @property
    def subject(self) -> str:
        """What the heading is about: the keyword, or one of the terms."""
        return read_heading(self.heading)[1] or self.facts.keyword


@dataclass(frozen=True)
class Sentence:
    text: str
    passage: int | None = None


@dataclass
class SectionWriter:
    """Holds what is used up while a section is written. The same task always gives the same text."""

    task: SectionTask
    said: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        facts = self.task.facts
        self._purpose: Purpose = PURPOSES[self.task.purpose_name]
        self._terms = self._wanted_terms()
        self._phrases = _phrase_pairs(self.task, self._terms)
        self._frames = {
            "advice": self._ordered(self._purpose.advice),
            "statement": self._ordered(self._purpose.statements),
            "term": self._shared(TERM_FRAMES),
            "pair": self._shared(PAIR_FRAMES),
            "source": self._shared(SOURCE_FRAMES),
            "own": self._shared(OWN_SITE_FRAMES),
        }
        self._made = 0
        self._values = {"firms": facts.firms, "who": facts.people, "org": facts.organization}

    def write(self) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        listed = self._list_block() if self._purpose.items and digest(self.task.seed, "list") % 4 else None
        words_left = self.task.words - (_block_words(listed) if listed else 0)
        written = self._sentences(max(words_left, _PARAGRAPH_WORDS))
        for paragraph in _paragraphs(written):
            cited = sorted({sentence.passage for sentence in paragraph if sentence.passage is not None})
            blocks.append(paragraph_block(" ".join(sentence.text for sentence in paragraph), cited))
        if listed:
            blocks.insert(max(1, len(blocks) - 1), listed)
        return blocks

    # -- sentences ----------------------------------------------------------------------------------------------

    def _sentences(self, words: int) -> list[Sentence]:
        written = [self._lead()]
        quote = self._quote()
        if quote is not None:
            written.append(quote)
        for kind in self._kinds():
            if sum(word_count(sentence.text) for sentence in written) >= words and not self._terms:
                break
            if len(written) > 60:
                break
            sentence = self._one(kind, crowded=len(self._terms) > 4)
            if sentence is not None:
                written.append(sentence)
        return written

    def _kinds(self) -> Iterator[str]:
        start = digest(self.task.seed, "cycle") % len(_CYCLE)
        for step in range(300):
            yield _CYCLE[(start + step) % len(_CYCLE)]

    def _one(self, kind: str, *, crowded: bool) -> Sentence | None:
        if kind == "source":
            return self._about_source()
        if kind == "term":
            return self._about_terms(pairs=crowded)
        return self._general(kind)

    def _lead(self) -> Sentence:
        subject = self.task.subject
        self._drop_term(subject)
        if phrase_kind(subject) is not PhraseKind.NOUN:
            return self._about_phrase(subject)
        frames = self._ordered(self._purpose.leads)
        return self._new_sentence(self._made_of(frames[0], {"kw": subject, "term": subject}))

    def _about_phrase(self, phrase: str) -> Sentence:
        frames = QUESTION_FRAMES if phrase_kind(phrase) is PhraseKind.QUESTION else VERB_FRAMES
        frame = self._ordered(frames)[0]
        return self._new_sentence(self._made_of(frame, {"term": phrase}))

    def _about_terms(self, *, pairs: bool) -> Sentence | None:
        if not self._terms:
            return None
        term = self._terms.pop(0)
        if phrase_kind(term) is not PhraseKind.NOUN:
            return self._about_phrase(term)
        other = self._terms[0] if self._terms else ""
        if pairs and other and phrase_kind(other) is PhraseKind.NOUN:
            self._terms.pop(0)
            return self._fresh("pair", {"term": term, "term2": other}, self._source_of(term, other))
        return self._fresh("term", {"term": term}, self._source_of(term))

    def _about_source(self) -> Sentence | None:
        if not self._phrases:
            return None
        passage, first, second = self._phrases.pop(0)
        is_own = _host(passage.url) == self.task.own_host and digest(self.task.seed, first) % 2 == 0
        return self._fresh("own" if is_own else "source", {"a": first, "b": second}, passage.number)

    def _general(self, kind: str) -> Sentence | None:
        """Advice or a statement, at times with an opener before it or a tail behind it."""
        tails = TAILS_OF_ADVICE if kind == "advice" else TAILS_OF_STATEMENTS
        frames = self._frames[kind]
        for _ in range(len(frames)):
            frame = frames.pop(0)
            frames.append(frame)
            seed = (self.task.seed, frame, self._made)
            opener = pick(self._ordered(OPENERS)[:8], *seed) if digest(*seed, "opener") % 3 == 0 else ""
            tail = pick(self._ordered(tails)[:8], *seed) if digest(*seed, "tail") % 2 == 0 else ""
            core = self._made_with_term(frame)
            if core is None:
                continue
            tail_text = self._made_with_term(tail) or "" if "{term}" not in tail or self._terms else ""
            sentence = _joined(core, self._made_with_term(opener) or "", tail_text)
            if sentence not in self.said:
                return self._new_sentence(sentence)
        return None

    def _quote(self) -> Sentence | None:
        """In one section of an article: a sentence of a source that no sibling article takes, word for word."""
        facts = self.task.facts
        if self.task.number != 1 + digest(facts.seed, "quote") % max(1, len(self.task.headings)) or self.task.variant:
            return None
        for passage in _ranked(self.task):
            for text in sentences(passage.text):
                if 7 <= word_count(text) <= 17 and _is_quotable(text, passage) and facts.owns(text):
                    frame = self._ordered(QUOTE_FRAMES)[0]
                    return self._new_sentence(self._made_of(frame, {"quote": text.rstrip(".")}), passage.number)
        return None

    # -- filling frames -----------------------------------------------------------------------------------------

    def _fresh(self, kind: str, values: Mapping[str, str], passage: int | None) -> Sentence:
        frames = self._frames[kind]
        frame = frames.pop(0)
        frames.append(frame)
        return self._new_sentence(self._made_of(frame, values), passage)

    def _made_of(self, frame: str, values: Mapping[str, str]) -> str:
        self._made += 1
        return filled(choices_made(frame, self.task.seed, frame, self._made), {**self._values, **values})

    def _made_with_term(self, frame: str) -> str | None:
        """None for a frame that wants a term when none is left. A leading comma or space is kept."""
        chosen = choices_made(frame, self.task.seed, frame, self._made)
        values = dict(self._values)
        if "term" in slots_of(chosen):
            if not self._terms or phrase_kind(self._terms[0]) is not PhraseKind.NOUN:
                return None
            values["term"] = self._terms.pop(0)
        return f"{',' if chosen.startswith(',') else ''} {filled(chosen.lstrip(', '), values)}" if chosen else ""

    def _new_sentence(self, text: str, passage: int | None = None) -> Sentence:
        sentence = Sentence(as_sentence(text), passage)
        self.said.add(text)
        self._made += 1
        return sentence

    def _list_block(self) -> dict[str, Any] | None:
        items: list[str] = []
        for frame in self._ordered(self._purpose.items):
            text = self._made_with_term(frame)
            if text is not None and len(items) < _LIST_ITEMS:
                items.append(starts_upper(text.strip()))
                self._made += 1
        lead = self._made_of(self._ordered(self._purpose.list_leads)[0], {})
        return {"kind": "list", "text": starts_upper(lead), "items": items, "passages": []} if len(items) > 2 else None

    # -- what to choose from ------------------------------------------------------------------------------------

    def _ordered(self, frames: Sequence[str]) -> list[str]:
        """Those that belong to this article before those of its siblings, else in a seeded order."""
        facts = self.task.facts
        return sorted(frames, key=lambda frame: (not facts.owns(frame), digest(self.task.seed, frame)))

    def _shared(self, frames: Sequence[str]) -> list[str]:
        """The same for frames that every section uses: each section begins with its own share of them."""
        facts, sections = self.task.facts, max(1, len(self.task.headings))
        place = (self.task.number - 1) % sections
        return sorted(
            frames,
            key=lambda frame: (
                digest(facts.seed, frame) % sections != place,
                not facts.owns(frame),
                digest(self.task.seed, frame),
            ),
        )

    def _wanted_terms(self) -> list[str]:
        """The section's terms, and the keyword where it is due and not already within one of them."""
        facts, subject = self.task.facts, self.task.subject
        terms = [term for term in facts.terms if term.lower() != facts.keyword.lower()]
        terms = [term for term in terms if not _has_digit(term) and term.lower() != subject.lower()]
        is_said = any(contains_phrase(text, facts.keyword) for text in [*terms, subject])
        if not is_said and self.task.number in _keyword_sections(self.task):
            terms.insert(len(terms) // 2, facts.keyword)
        return terms

    def _drop_term(self, subject: str) -> None:
        self._terms = [term for term in self._terms if term.lower() != subject.lower()]

    def _source_of(self, *terms: str) -> int | None:
        """A passage that holds one of the terms as it stands."""
        for passage in _ranked(self.task):
            if any(contains_phrase(passage.text, term) for term in terms):
                return passage.number
        return None


def write_section(task: SectionTask) -> list[dict[str, Any]]:
    return SectionWriter(task).write()


def paragraph_block(text: str, passages: Sequence[int]) -> dict[str, Any]:
    return {"kind": "paragraph", "text": text, "items": [], "passages": list(passages)}


def _joined(core: str, opener: str, tail: str) -> str:
    """Drops the tail, then the opener, where the sentence would become long or trail off in commas."""
    core, opener = core.strip(), opener.strip()
    if tail and (word_count(core) + word_count(tail) > _SENTENCE_WORDS_MAX - 4 or "," in core):
        tail = ""
    if opener and word_count(core) + word_count(tail) + word_count(opener) > _SENTENCE_WORDS_MAX:
        opener = ""
    return f"{opener}, {core}{tail}" if opener else f"{core}{tail}"


def _paragraphs(written: Sequence[Sentence]) -> list[list[Sentence]]:
    """Paragraphs of like length, so that the last is no leftover."""
    total = sum(word_count(sentence.text) for sentence in written)
    count = max(1, round(total / _PARAGRAPH_WORDS))
    paragraphs: list[list[Sentence]] = [[]]
    words = 0
    for sentence in written:
        if words >= total * len(paragraphs) / count and len(paragraphs) < count:
            paragraphs.append([])
        paragraphs[-1].append(sentence)
        words += word_count(sentence.text)
    return [paragraph for paragraph in paragraphs if paragraph]


def _block_words(block: Mapping[str, Any]) -> int:
    return word_count(str(block["text"])) + sum(word_count(item) for item in block["items"])


def _keyword_sections(task: SectionTask) -> set[int]:
    """The sections that say the keyword once, so that it stays well below the density of stuffed text."""
    facts, sections = task.facts, len(task.headings)
    most = int(facts.words * _KEYWORD_SHARE / max(1, word_count(facts.keyword)))
    in_headings = sum(contains_phrase(heading, facts.keyword) for heading in task.headings)
    return set(shuffled(range(1, sections + 1), facts.seed, "keyword")[: max(1, most - 2 * in_headings)])


def _ranked(task: SectionTask) -> list[Passage]:
    passages = task.facts.passages
    relevance = Relevance([passage.text for passage in passages])
    query = f"{task.heading} {' '.join(task.facts.terms)} {task.facts.keyword}"
    return sorted(passages, key=lambda passage: (-relevance.of(query, passage.text), passage.number))


def _phrase_pairs(task: SectionTask, terms: Sequence[str]) -> list[tuple[Passage, str, str]]:
    """Two phrases out of one passage at a time, each phrase once; passages in order of relevance, in rounds."""
    facts = task.facts
    taken: set[str] = set()
    rounds: list[list[tuple[Passage, str, str]]] = []
    for passage in _ranked(task):
        phrases = [p for p in noun_phrases(passage.text, words_max=3) if _is_usable(p, facts, terms)]
        ordered = sorted(phrases, key=lambda phrase: (not facts.owns(phrase), digest(task.seed, phrase)))
        fresh = [phrase for phrase in ordered if _key(phrase) not in taken]
        for place, (first, second) in enumerate(zip(fresh[::2], fresh[1::2], strict=False)):
            if set(content_stems(first)) & set(content_stems(second)):
                continue
            taken.update((_key(first), _key(second)))
            while len(rounds) <= place:
                rounds.append([])
            rounds[place].append((passage, first, second))
    return [entry for entries in rounds for entry in entries]


def _is_usable(phrase: str, facts: ArticleFacts, terms: Sequence[str]) -> bool:
    lower = phrase.lower()
    return lower not in {term.lower() for term in terms} and not contains_phrase(phrase, facts.keyword)


def _key(phrase: str) -> str:
    return " ".join(content_stems(phrase))


def _is_quotable(text: str, passage: Passage) -> bool:
    return text in passage.text and text.endswith(".") and not re.search(r"[\"“”‘‹<>]", text)


def _has_digit(text: str) -> bool:
    return any(character.isdigit() for character in text)


def _host(url: str) -> str:
    return url.partition("//")[2].partition("/")[0].lower().removeprefix("www.")
