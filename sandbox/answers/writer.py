"""Writes a section, sentence by sentence, from the grammar, the terms to carry and the passages to cite."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.answers import Blocks
from sandbox.answers.article import ArticleFacts, PhraseKind, host_of, phrase_kind, purposes_of, read_heading
from sandbox.answers.claims import claims_of, is_statement, section_of, stands_alone
from sandbox.answers.frames import as_sentence, choices_made, filled, first_choices, slots_of
from sandbox.answers.grammar import (
    CLAIM_FRAMES,
    OPENERS_OF_ADVICE,
    OPENERS_OF_STATEMENTS,
    OWN_CLAIM_FRAMES,
    OWN_SITE_FRAMES,
    PAIR_FRAMES,
    PURPOSES,
    QUESTION_FRAMES,
    QUOTE_FRAMES,
    SOURCE_FRAMES,
    STATED_CLAIM_FRAMES,
    TAILS_OF_ADVICE,
    TAILS_OF_STATEMENTS,
    TERM_FRAMES,
    VERB_FRAMES,
    Purpose,
)
from sandbox.answers.rewording import reworded
from sandbox.answers.text import (
    Passage,
    Relevance,
    contains_phrase,
    content_stems,
    digest,
    heads_of,
    is_plural,
    noun_phrases,
    pick,
    sentences,
    shuffled,
    starts_upper,
    stem,
    word_count,
)

_SECTION_WORDS_MAX = 520
_PARAGRAPH_WORDS = 62
_SENTENCE_WORDS_MAX = 20
_SENTENCES_MAX = 60
_LIST_ITEMS = 4
_KEYWORD_SHARE = 0.018
_MASS_NOUN_ENDINGS = ("ing", "tion", "ment", "ance", "ity", "ware")
_PAIRED_WORDS_MAX = 11
_ARTICLES_PER_RETELLING = 8
_CONNECTIVES = (", and",)
_THINGS = ("kw", "term", "term2")
_REFUSALS = frozenset({"avoid", "resist", "decline", "never", "do", "stop", "pause", "question", "challenge", "doubt"})
_CYCLE = (
    "claim",
    "claim",
    "term",
    "claim",
    "advice",
    "claim",
    "term",
    "claim",
    "statement",
    "claim",
    "source",
    "advice",
)


@dataclass(frozen=True)
class SectionTask:
    """What is asked for: the section's place among the headings, its words, the terms and passages it may use.

    A repair asks for the same in other words: ``variant`` names it, ``avoid`` is the text it should not say again,
    ``says_keyword`` whether the keyword may come up.
    """

    facts: ArticleFacts
    number: int
    heading: str
    headings: tuple[str, ...]
    words: int
    variant: str = ""
    avoid: str = ""
    says_keyword: bool = True

    @classmethod
    def of(cls, blocks: Blocks) -> "SectionTask":
        section = blocks.json("section")
        heading = str(section["heading"])
        return cls(
            facts=ArticleFacts.of(blocks),
            number=int(section.get("number") or 1),
            heading=heading,
            headings=tuple(map(str, blocks.json("outline", [heading]))) or (heading,),
            words=min(int(section.get("words") or 150), _SECTION_WORDS_MAX),
        )

    def with_terms(self, terms: Sequence[str]) -> "SectionTask":
        return replace(self, facts=replace(self.facts, terms=tuple(terms)))

    @property
    def seed(self) -> str:
        return f"{self.facts.seed}/{self.number}/{self.variant}"

    @property
    def purpose_name(self) -> str:
        names = purposes_of(self.headings)
        return names[(self.number - 1) % len(names)]

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
        self._ranked = _ranked(self.task)
        self._terms = self._wanted_terms()
        self._claims = self._own_claims()
        self._phrases = _phrase_pairs(self.task, self._ranked, self._terms)
        self._frames = {
            "advice": self._ordered(self._purpose.advice),
            "statement": self._ordered(self._purpose.statements),
            "term": self._shared(TERM_FRAMES),
            "pair": self._shared(PAIR_FRAMES),
            "source": self._shared(SOURCE_FRAMES),
            "own source": self._shared(OWN_SITE_FRAMES),
            "claim": self._shared(CLAIM_FRAMES),
            "stated claim": self._shared(STATED_CLAIM_FRAMES),
            "own claim": self._shared(OWN_CLAIM_FRAMES),
        }
        self._made = 0
        self._values = {"firms": facts.firms, "who": facts.people, "org": facts.organization}

    def write(self) -> list[dict[str, Any]]:
        listed = self._list_block() if self._purpose.items and digest(self.task.seed, "list") % 2 else None
        words_left = self.task.words - (block_words(listed) if listed else 0)
        blocks = paragraph_blocks(self.sentences(max(words_left, _PARAGRAPH_WORDS)))
        if listed:
            blocks.insert(max(1, len(blocks) - 1), listed)
        return blocks

    def sentences(self, words: int, *, has_lead: bool = True) -> list[Sentence]:
        """Sentences of about so many words, all terms among them."""
        written = [self._lead(), self._quote()] if has_lead else []
        kept = [sentence for sentence in written if sentence is not None and self._is_fine(sentence)]
        for kind in self._kinds():
            is_enough = sum(word_count(sentence.text) for sentence in kept) >= words and not self._terms
            if is_enough or len(kept) >= _SENTENCES_MAX:
                break
            sentence = self._one(kind, crowded=len(self._terms) > 4)
            if sentence is not None and self._is_fine(sentence):
                kept.append(sentence)
        return [*kept[:1], *_spread(kept[1:])] if has_lead else _spread(kept)

    def _is_fine(self, sentence: Sentence) -> bool:
        return not self.task.facts.is_banned(sentence.text) and sentence.text not in self.task.avoid

    def _kinds(self) -> Iterator[str]:
        start = digest(self.task.seed, "cycle") % len(_CYCLE)
        for step in range(300):
            yield _CYCLE[(start + step) % len(_CYCLE)]

    # -- one sentence of each kind ------------------------------------------------------------------------------

    def _one(self, kind: str, *, crowded: bool) -> Sentence | None:
        match kind:
            case "claim":
                return self._claim()
            case "source":
                return self._about_source()
            case "term":
                return self._about_terms(pairs=crowded)
        return self._general(kind)

    def _lead(self) -> Sentence:
        subject = self.task.subject
        self._terms = [term for term in self._terms if term.lower() != subject.lower()]
        if not self.task.says_keyword and contains_phrase(subject, self.task.facts.keyword):
            subject = "this work"
        if phrase_kind(subject) is not PhraseKind.NOUN:
            return self._about_phrase(subject)
        frame = self._ordered(self._purpose.leads)[0]
        return self._new_sentence(self._made_of(frame, {"kw": subject}), self._source_of(subject))

    def _about_phrase(self, phrase: str) -> Sentence:
        frames = QUESTION_FRAMES if phrase_kind(phrase) is PhraseKind.QUESTION else VERB_FRAMES
        return self._new_sentence(self._made_of(self._ordered(frames)[0], {"term": phrase}))

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

    def _claim(self) -> Sentence | None:
        """A sentence of a passage retold; without one left, what two of a passage's phrases have to do."""
        if not self._claims:
            return self._general("advice")
        passage, claim = self._claims.pop(0)
        kind = "stated claim" if is_statement(claim) and digest(self.task.seed, claim) % 3 else "claim"
        if host_of(passage.url) == self.task.facts.own_host and digest(self.task.seed, claim, "own") % 2:
            kind = "own claim"
        terms = (self.task.facts.keyword, *self.task.facts.terms)
        told = reworded(claim, self.task.seed, keeping=terms)
        # Two sections may come by the same sentence of two pages: they are not to say it alike.
        if (digest(claim, "plain") + self.task.number) % 2:
            return self._new_sentence(told, passage.number)
        return self._fresh(kind, {"claim": told}, passage.number)

    def _about_source(self) -> Sentence | None:
        if not self._phrases:
            return None
        passage, first, second = self._phrases.pop(0)
        is_own = host_of(passage.url) == self.task.facts.own_host and digest(self.task.seed, first) % 2 == 0
        return self._fresh("own source" if is_own else "source", {"a": first, "b": second}, passage.number)

    def _general(self, kind: str) -> Sentence | None:
        """Advice or a statement, at times with an opener before it or a tail behind it."""
        tails = TAILS_OF_ADVICE if kind == "advice" else TAILS_OF_STATEMENTS
        openers = OPENERS_OF_ADVICE if kind == "advice" else OPENERS_OF_STATEMENTS
        frames = self._frames[kind]
        for _ in range(len(frames)):
            frame = frames.pop(0)
            frames.append(frame)
            seed = (self.task.seed, frame, self._made)
            core = self._made_with_term(frame)
            if core is None:
                continue
            opener = pick(self._ordered(openers)[:6], *seed) if digest(*seed, "opener") % 4 == 0 else ""
            tail = pick(self._ordered(tails)[:5], *seed) if digest(*seed, "tail") % 4 == 0 else ""
            if not opener and not tail and digest(*seed, "pair") % 8:
                core = self._paired(core, kind)
            wanted = [*self._terms]
            sentence = _joined(core, self._made_with_term(opener) or "", self._made_with_term(tail) or "")
            # A tail that did not fit takes no term with it.
            self._terms = [term for term in wanted if term in self._terms or not contains_phrase(sentence, term)]
            if sentence not in self.said:
                return self._new_sentence(sentence)
        return None

    def _paired(self, core: str, kind: str) -> str:
        """Two short pieces of advice, or statements, in one sentence, as prose has them."""
        frames = self._frames[kind]
        if core.split(maxsplit=1)[0] in _REFUSALS or any(slots_of(frame) for frame in frames[:1]):
            return core
        other = self._made_with_term(frames[0]) or ""
        if not other or max(word_count(core), word_count(other)) > _PAIRED_WORDS_MAX or "," in f"{core}{other}":
            return core
        frames.append(frames.pop(0))
        return f"{core}{pick(_CONNECTIVES, self.task.seed, core)}{other}"

    def _quote(self) -> Sentence | None:
        """In one section of an article: a sentence of a source that no sibling article takes, word for word."""
        facts = self.task.facts
        if self.task.number != 1 + digest(facts.seed, "quote") % max(1, len(self.task.headings)) or self.task.variant:
            return None
        for passage in self._ranked:
            if section_of(passage, self.task.headings) != self.task.number - 1:
                continue
            for text in sentences(passage.text):
                if _is_quotable(text, passage, facts) and facts.owns(text):
                    self._claims = [one for one in self._claims if one[1].lower() != text.rstrip(".").lower()]
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
        chosen = self._chosen(frame)
        named = {slot: self._named(text) if slot in _THINGS else text for slot, text in values.items()}
        return filled(chosen, {**self._values, **named})

    def _chosen(self, frame: str) -> str:
        """Frames that are this article's own read as they were meant; what siblings use as well is varied."""
        facts = self.task.facts
        # One that knows of no sibling has them all the same, in another run perhaps.
        is_own = facts.owns(frame) if facts.rivals else digest(facts.seed, frame) % 3 == 0
        if is_own and not self.task.variant:
            return first_choices(frame)
        return choices_made(frame, self.task.seed, frame, self._made)

    def _named(self, phrase: str) -> str:
        return self.task.facts.naming.in_sentence(phrase)

    def _made_with_term(self, frame: str) -> str | None:
        """None for a frame that wants a term when none is left. A comma at its beginning is kept."""
        chosen = self._chosen(frame)
        values = dict(self._values)
        if "term" in slots_of(chosen):
            if not self._terms or phrase_kind(self._terms[0]) is not PhraseKind.NOUN:
                return None
            values["term"] = self._named(self._terms.pop(0))
        return f"{',' if chosen.startswith(',') else ''} {filled(chosen.lstrip(', '), values)}" if chosen else ""

    def _new_sentence(self, text: str, passage: int | None = None) -> Sentence:
        self.said.add(text)
        self._made += 1
        return Sentence(as_sentence(text), passage)

    def _list_block(self) -> dict[str, Any] | None:
        items: list[str] = []
        cited: set[int] = set()
        for frame in self._ordered(self._purpose.items):
            term = self._terms[0] if self._terms else ""
            text = self._made_with_term(frame) if len(items) < _LIST_ITEMS else None
            if text is not None and not self.task.facts.is_banned(text):
                items.append(starts_upper(text.strip()))
                source = self._source_of(term) if term and term in text else None
                cited.update([source] if source is not None else [])
                self._made += 1
        if len(items) < 3:
            return None
        lead = starts_upper(self._made_of(self._ordered(self._purpose.list_leads)[0], {}))
        return {"kind": "list", "text": lead, "items": items, "passages": sorted(cited)}

    # -- what to choose from ------------------------------------------------------------------------------------

    def _ordered(self, frames: Sequence[str]) -> list[str]:
        """Those that belong to this article before those of its siblings, else in a seeded order."""
        facts = self.task.facts
        return sorted(frames, key=lambda frame: (not facts.owns(frame), digest(self.task.seed, frame)))

    def _shared(self, frames: Sequence[str]) -> list[str]:
        """The same for frames that every section uses: each section begins with its own share of them."""
        facts, count = self.task.facts, max(1, len(self.task.headings))
        place = (self.task.number - 1) % count
        return sorted(
            frames,
            key=lambda frame: (
                digest(facts.seed, frame) % count != place,
                not facts.owns(frame),
                digest(self.task.seed, frame),
            ),
        )

    def _wanted_terms(self) -> list[str]:
        """The section's terms, and the keyword where it is due and not already within one of them."""
        facts, subject = self.task.facts, self.task.subject
        terms = [term for term in facts.terms if term.lower() not in (facts.keyword.lower(), subject.lower())]
        terms = [term for term in terms if not any(character.isdigit() for character in term)]
        terms = [term for term in terms if phrase_kind(term) is not PhraseKind.CLAUSE]
        if not self.task.says_keyword:
            return [term for term in terms if not contains_phrase(term, facts.keyword)]
        is_said = any(contains_phrase(text, facts.keyword) for text in [*terms, subject])
        if not is_said and self.task.number in _keyword_sections(self.task):
            terms.insert(len(terms) // 2, facts.keyword)
        return terms

    def _own_claims(self) -> list[tuple[Passage, str]]:
        """What this section, of all sections and of all sibling articles, is to retell first; each claim once."""
        facts, place = self.task.facts, self.task.number - 1
        mine = [passage for passage in self._ranked if section_of(passage, self.task.headings) == place]
        found = {claim: passage for passage in mine for claim in claims_of(passage, names=facts.names)}
        fresh = [claim for claim in found if claim.lower() not in self.task.avoid.lower()]
        if not self.task.says_keyword:
            fresh = [claim for claim in fresh if not contains_phrase(claim, facts.keyword)]
        most = 1 + len(facts.rivals) // _ARTICLES_PER_RETELLING
        shared = [claim for claim in fresh if facts.rank(claim) <= most]
        place_of = {claim: place for place, claim in enumerate(found)}
        ordered = sorted(shared, key=lambda claim: (facts.rank(claim), place_of[claim]))
        return [(found[claim], claim) for claim in ordered]

    def _source_of(self, *terms: str) -> int | None:
        """A passage that holds one of the terms as it stands."""
        for passage in self._ranked:
            if any(contains_phrase(passage.text, term) for term in terms):
                return passage.number
        return None


def paragraph_blocks(written: Sequence[Sentence]) -> list[dict[str, Any]]:
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
    return [_paragraph_block(paragraph) for paragraph in paragraphs if paragraph]


def _spread(written: Sequence[Sentence]) -> list[Sentence]:
    """Sentences with a source and those without, evenly mixed, so that no paragraph is without one if it can be."""
    cited = [sentence for sentence in written if sentence.passage is not None]
    plain = [sentence for sentence in written if sentence.passage is None]
    places = [(place / len(cited), sentence) for place, sentence in enumerate(cited)]
    places += [((place + 0.5) / len(plain), sentence) for place, sentence in enumerate(plain)]
    return [sentence for _, sentence in sorted(places, key=lambda entry: entry[0])]


def _paragraph_block(paragraph: Sequence[Sentence]) -> dict[str, Any]:
    cited = sorted({sentence.passage for sentence in paragraph if sentence.passage is not None})
    text = " ".join(sentence.text for sentence in paragraph)
    return {"kind": "paragraph", "text": text, "items": [], "passages": cited}


def block_words(block: Mapping[str, Any]) -> int:
    return word_count(str(block.get("text") or "")) + sum(word_count(str(item)) for item in block.get("items") or [])


def _joined(core: str, opener: str, tail: str) -> str:
    """Drops the tail, then the opener, where the sentence would become long or trail off in commas."""
    core, opener = core.strip(), opener.strip()
    if core.split()[0] in _REFUSALS:
        tail = opener = ""
    is_long = word_count(core) + word_count(tail) > _SENTENCE_WORDS_MAX - 2
    if tail and (is_long or "," in core or tail.strip(" ,").split()[0] in core.split()):
        tail = ""
    if set(opener.lower().split()) & set(core.lower().split()[:3]):
        opener = ""
    if opener and word_count(core) + word_count(tail) + word_count(opener) > _SENTENCE_WORDS_MAX:
        opener = ""
    return f"{opener}, {core}{tail}" if opener else f"{core}{tail}"


def _keyword_sections(task: SectionTask) -> set[int]:
    """The sections that say the keyword once, so that it stays well below the density of stuffed text."""
    facts, count = task.facts, len(task.headings)
    most = int(facts.words * _KEYWORD_SHARE / max(1, word_count(facts.keyword)))
    in_headings = sum(contains_phrase(heading, facts.keyword) for heading in task.headings)
    return set(shuffled(range(1, count + 1), facts.seed, "keyword")[: max(1, most - 2 * in_headings)])


def _ranked(task: SectionTask) -> list[Passage]:
    passages = task.facts.passages
    relevance = Relevance([passage.text for passage in passages])
    query = f"{task.heading} {' '.join(task.facts.terms)} {task.facts.keyword} {task.facts.note}"
    return sorted(passages, key=lambda passage: (-relevance.of(query, passage.text), passage.number))


def _phrase_pairs(task: SectionTask, ranked: Sequence[Passage], terms: Sequence[str]) -> list[tuple[Passage, str, str]]:
    """Two phrases out of one passage at a time, each phrase once; passages in order of relevance, in rounds."""
    facts = task.facts
    unwanted = {term.lower() for term in terms}
    heads = heads_of([passage.text for passage in ranked])
    taken: set[str] = set()
    rounds: list[list[tuple[Passage, str, str]]] = []
    for passage in ranked:
        found = [phrase for phrase in noun_phrases(passage.text, words_max=3) if _is_name_of_things(phrase, heads)]
        # Each phrase is for one section, so that no two sections say the same of the same things.
        count = len(task.headings)
        here = [phrase for phrase in found if digest(_key(phrase)) % count == task.number % count]
        usable = [p for p in here if p.lower() not in unwanted and not contains_phrase(p, facts.keyword)]
        ordered = sorted(usable, key=lambda phrase: (not facts.owns(phrase), digest(task.seed, phrase)))
        fresh = [phrase for phrase in ordered if _key(phrase) not in taken]
        for place, (first, second) in enumerate(zip(fresh[::2], fresh[1::2], strict=False)):
            if set(content_stems(first)) & set(content_stems(second)):
                continue
            taken.update((_key(first), _key(second)))
            while len(rounds) <= place:
                rounds.append([])
            rounds[place].append((passage, first, second))
    return [entry for entries in rounds for entry in entries]


def _is_name_of_things(phrase: str, heads: frozenset[str]) -> bool:
    """A plural, which needs no article, whose last word the passages use as a noun elsewhere."""
    return is_plural(phrase) and stem(phrase.rsplit(maxsplit=1)[-1]) in heads


def _key(phrase: str) -> str:
    return " ".join(content_stems(phrase))


def _is_quotable(text: str, passage: Passage, facts: ArticleFacts) -> bool:
    """A sentence that stands on its own, word for word in the passage, and is no advertisement."""
    return text in passage.text and text[0].isupper() and stands_alone(text, facts.names)
