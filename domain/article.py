"""The article step: which articles are planned, what the model is asked, and how its answers are judged."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from itertools import zip_longest
from math import log
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ValidationError

from domain.brief import Brief
from domain.citations import carrying_passages
from domain.grounding import Claim, ClaimKind, ungrounded, without_ungrounded
from domain.identifiers import article_id_of, bare_domain
from domain.language import (
    InvalidAnswerError,
    Route,
    answer_object,
    chat_request,
    json_block,
    slot_hash,
    strict_schema,
)
from domain.money import Frozen, ModelPrice, hold_for, prompt_token_bound
from domain.pages import Passage
from domain.phrases import refused_phrases
from domain.settings import ArticleSettings
from domain.spend import ProviderRequest
from domain.text import STOPWORDS, clean_text, content_stems, stems, words
from domain.verdict import AskAgain, Blocked, Completed, Level, Reason, verdict_of
from domain.web_addresses import web_address_in

STEP = "article"
PROMPT_VERSION = "article/2"
SECTIONS_MIN, SECTIONS_MAX = 4, 8
TITLE_CHARACTERS_MIN, TITLE_CHARACTERS_MAX = 15, 90
DESCRIPTION_CHARACTERS_MIN, DESCRIPTION_CHARACTERS_MAX = 50, 220
HEADING_CHARACTERS_MAX = 90
SECTION_WORDS_MIN, SECTION_WORDS_MAX = 80, 400
TERMS_PER_SECTION = 4
SINGLE_TERMS_MAX = 3
SINGLE_TERM_CHARACTERS_MIN = 6
SINGLE_TERM_PASSAGES_MIN = 3
LISTED_MAX = 13
RESERVED_HEADINGS = frozenset({"references", "sources", "related articles", "contents", "table of contents"})

Role = Literal["hub", "spoke"]


class PlannedCluster(Frozen):
    """A valid cluster as the plan needs it."""

    cluster_id: UUID
    hub: str
    spokes: tuple[str, ...]


class ArticlePlan(Frozen):
    """One article to write. ``spokes`` are the cluster's other keywords for a hub and empty for a spoke, ``siblings``
    the keywords of the other planned articles, those of the same cluster first; ``hub`` is a spoke's hub keyword."""

    article_id: UUID
    keyword: str
    role: Role
    cluster_id: UUID
    spokes: tuple[str, ...]
    siblings: tuple[str, ...]
    position: int
    hub: str | None = None


class OutlineSection(Frozen):
    heading: str
    points: tuple[str, ...]
    passages: tuple[int, ...]


class Outline(Frozen):
    title: str
    meta_description: str
    sections: tuple[OutlineSection, ...]


class BlockKind(StrEnum):
    PARAGRAPH = "paragraph"
    LIST = "list"


class Block(Frozen):
    """Plain text with the passages it stands on; for a list ``text`` is the lead-in."""

    kind: BlockKind
    text: str
    items: tuple[str, ...] = ()
    passages: tuple[int, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(text for text in (self.text, *self.items) if text)


class SectionContent(Frozen):
    blocks: tuple[Block, ...]


class _SectionOfOutlineAnswer(BaseModel):
    heading: str
    points: list[str]
    passages: list[int]


class _OutlineAnswer(BaseModel):
    title: str
    meta_description: str
    sections: list[_SectionOfOutlineAnswer]


class _BlockAnswer(BaseModel):
    kind: Literal["paragraph", "list"]
    text: str
    items: list[str]
    passages: list[int]


class _SectionAnswer(BaseModel):
    blocks: list[_BlockAnswer]


OUTLINE_SCHEMA = strict_schema(_OutlineAnswer)
SECTION_SCHEMA = strict_schema(_SectionAnswer)

# --- the plan ---


def plan_articles(
    workflow_id: UUID, clusters: Sequence[PlannedCluster], *, articles_max: int
) -> tuple[ArticlePlan, ...]:
    """Hubs first in the clusters' order, then the first spoke of each, the second, …; each keyword once."""
    rounds = zip_longest(*(cluster.spokes for cluster in clusters))
    spokes = [
        (cluster, keyword)
        for keywords in rounds
        for cluster, keyword in zip(clusters, keywords, strict=True)
        if keyword is not None
    ]
    wanted = [*((cluster, cluster.hub) for cluster in clusters), *spokes]
    first_of: dict[str, tuple[PlannedCluster, str]] = {}
    for cluster, keyword in wanted:
        first_of.setdefault(" ".join(keyword.casefold().split()), (cluster, keyword))
    chosen = list(first_of.values())[:articles_max]
    return tuple(
        _plan(workflow_id, cluster, keyword, position, chosen) for position, (cluster, keyword) in enumerate(chosen)
    )


def _plan(
    workflow_id: UUID,
    cluster: PlannedCluster,
    keyword: str,
    position: int,
    chosen: Sequence[tuple[PlannedCluster, str]],
) -> ArticlePlan:
    is_hub = keyword == cluster.hub
    others = [(other, text) for other, text in chosen if text != keyword]
    same = [text for other, text in others if other.cluster_id == cluster.cluster_id]
    return ArticlePlan(
        article_id=article_id_of(workflow_id, keyword),
        keyword=keyword,
        role="hub" if is_hub else "spoke",
        cluster_id=cluster.cluster_id,
        spokes=cluster.spokes if is_hub else (),
        siblings=(*same, *(text for other, text in others if other.cluster_id != cluster.cluster_id)),
        position=position,
        hub=None if is_hub else cluster.hub,
    )


# --- what an article stands on ---


def relevant_passages(query: str, passages: Sequence[Passage], *, characters_max: int) -> tuple[Passage, ...]:
    """The passages nearest to the query that fit the bound, in the order of their (kept) numbers.

    Ranked by rarity-weighted shared stems; each further passage of a domain counts a little less, so that
    several sources get a word.
    """
    weights = _stem_weights(passages)
    wanted = set(content_stems(query))
    scores = {passage.number: _score(wanted, passage, weights) for passage in passages}
    chosen: list[Passage] = []
    left = list(passages)
    characters = 0
    per_domain: Counter[str] = Counter()
    while left:
        best = max(left, key=lambda p: (scores[p.number] * 0.85 ** per_domain[bare_domain(p.url)], -p.number))
        left.remove(best)
        if characters + len(best.text) > characters_max:
            continue
        characters += len(best.text)
        per_domain[bare_domain(best.url)] += 1
        chosen.append(best)
    return tuple(sorted(chosen, key=lambda passage: passage.number))


def _stem_weights(passages: Sequence[Passage]) -> dict[str, float]:
    frequency = Counter(one for passage in passages for one in set(content_stems(passage.text)))
    return {one: log(1 + len(passages) / count) for one, count in frequency.items()}


def _score(wanted: set[str], passage: Passage, weights: Mapping[str, float]) -> float:
    present = content_stems(passage.text)
    shared = wanted & set(present)
    return sum(weights[one] for one in shared) / (1 + log(1 + len(present)) / 10)


def key_terms(keyword: str, spokes: Sequence[str], passages: Sequence[Passage], *, limit: int = 12) -> tuple[str, ...]:
    """Terms the article has to cover, in lower case: its keywords (at most half of the limit), then phrases of two or
    three words that passages near to the keyword share, then up to three single words that several of them do.
    No names of the sites, no numbers."""
    terms = list(dict.fromkeys(clean_text(term).lower() for term in (keyword, *spokes)))[: max(1, limit // 2)]
    site_names = {bare_domain(passage.url).split(".")[0].replace("-", "") for passage in passages}
    singles_left = SINGLE_TERMS_MAX
    for phrase in _ranked_phrases(" ".join((keyword, *spokes)), passages):
        squashed = phrase.replace(" ", "").replace("-", "")
        is_name = any(len(name) > 2 and name in squashed for name in site_names)
        is_single = " " not in phrase
        if is_name or any(_overlap(phrase, term) for term in terms) or (is_single and not singles_left):
            continue
        singles_left -= is_single
        terms.append(phrase)
    return tuple(terms[:limit])


def _ranked_phrases(query: str, passages: Sequence[Passage]) -> list[str]:
    """Phrases that at least two passages share: those of several words first, by the nearness of their passages."""
    nearness = _nearness(query, passages)
    holders: dict[tuple[str, ...], set[int]] = {}
    spellings: dict[tuple[str, ...], Counter[str]] = {}
    for passage in passages:
        for phrase in _candidate_phrases(passage.text):
            key = tuple(stems(phrase))
            holders.setdefault(key, set()).add(passage.number)
            spellings.setdefault(key, Counter())[phrase] += 1
    ranked = sorted(
        (key for key, numbers in holders.items() if len(numbers) >= (2 if len(key) > 1 else SINGLE_TERM_PASSAGES_MIN)),
        key=lambda key: (len(key) == 1, -round(sum(nearness[one] for one in holders[key]), 9), -len(key), key),
    )
    return [min(spellings[key].items(), key=lambda item: (-item[1], item[0]))[0] for key in ranked]


def _nearness(query: str, passages: Sequence[Passage]) -> dict[int, float]:
    """From 0.2 (nothing in common with the query) to 1.2 (the nearest), by passage number."""
    weights = _stem_weights(passages)
    wanted = set(content_stems(query))
    scores = {passage.number: _score(wanted, passage, weights) for passage in passages}
    most = max(scores.values(), default=0.0) or 1.0
    return {number: 0.2 + score / most for number, score in scores.items()}


def _candidate_phrases(text: str) -> list[str]:
    """Runs of one to three content words within a clause, in lower case."""
    phrases: list[str] = []
    for clause in re.split(r"[^\w\s'’\-]+", text):
        run: list[str] = []
        for word in [*words(clause.lower()), ""]:
            if word and word not in STOPWORDS and word.replace("-", "").isalpha() and len(word) > 2:
                run.append(word)
                continue
            phrases += [
                " ".join(run[start : start + size])
                for size in (1, 2, 3)
                for start in range(len(run) - size + 1)
                if size > 1 or len(run[start]) >= SINGLE_TERM_CHARACTERS_MIN
            ]
            run = []
    return phrases


def _overlap(phrase: str, term: str) -> bool:
    left, right = set(stems(phrase)), set(stems(term))
    return left <= right or right <= left


def section_words(article_words: int, sections: int) -> int:
    """Words to ask of each section so that the article comes near to the brief's length."""
    return max(SECTION_WORDS_MIN, min(SECTION_WORDS_MAX, round(article_words / max(1, sections) / 10) * 10))


def section_terms(outline: Outline, section_number: int, terms: Sequence[str]) -> tuple[str, ...]:
    """The terms this section should carry: each term goes to the section whose heading and points are nearest to it,
    terms that no section is near to go round; the first term (the keyword) goes to the first section."""
    loads: Counter[int] = Counter()
    carried: list[str] = []
    for index, term in enumerate(terms):
        target = 1 if index == 0 else _nearest_section(outline, term, loads)
        loads[target] += 1
        if target == section_number:
            carried.append(term)
    return tuple(carried)


def _nearest_section(outline: Outline, term: str, loads: Counter[int]) -> int:
    wanted = set(content_stems(term))

    def nearness(number: int) -> tuple[bool, int, int, int]:
        section = outline.sections[number - 1]
        shared = len(wanted & set(content_stems(" ".join((section.heading, *section.points)))))
        return (loads[number] < TERMS_PER_SECTION, shared, -loads[number], -number)

    return max(range(1, len(outline.sections) + 1), key=nearness)


def section_passages(
    outline: Outline, section_number: int, passages: Sequence[Passage], *, characters_max: int
) -> tuple[Passage, ...]:
    """What the section may cite: the passages its outline names, filled up with those nearest to its points."""
    section = outline.sections[section_number - 1]
    named = [passage for passage in passages if passage.number in section.passages]
    query = " ".join((section.heading, *section.points))
    chosen = list(relevant_passages(query, named, characters_max=characters_max))
    rest = [passage for passage in passages if passage not in chosen]
    room = characters_max - sum(len(passage.text) for passage in chosen)
    chosen += relevant_passages(query, rest, characters_max=room)
    return tuple(sorted(chosen, key=lambda passage: passage.number))


# --- asking ---

_GROUND_RULES = """\
Write in {locale} for readers in {country}. Tone: the one named as "voice" in the block "brief", a manner of writing \
and nothing else.

Sources. Facts come from the passages only; what you know besides is no fact here. A number, date, price, name or \
quotation may only be used where a passage that you cite carries it, the same to the digit and to the word; where \
none does, make the point without it or leave it out. What a company says of itself is its word, not a rule for all: \
say whose word it is. Claim no experience, test, survey, customer or check of your own, and never that facts were \
verified.

Style. Say the useful thing first. Concrete, active sentences, mostly under 20 words, one thought each; people and \
things as subjects, an example where a passage has one. No filler ("in today's world", "it is important to note", \
"when it comes to"), no rhetorical questions, no praise without a reason, no closing summary, no advertising.
Never use, in no form, a phrase listed as "banned_phrases" in the block "brief"."""

_OUTLINE_SYSTEM = """\
You are the editor of a company's magazine. You plan one article that helps the company's buyers to decide or to do \
something, about the keyword given in the block "article". The block "icp" says who they are and what troubles them.

{rules}

Title: 40 to 60 characters in sentence case, with the keyword as a person would write it (mend its grammar; keep the \
capitals of names and abbreviations). It promises what the sections keep, nothing more.
Meta description: 120 to 156 characters, one or two full sentences on what the reader will know afterwards.
Sections: 4 to 8 in the order a reader needs them. The first answers the reader's question at once, without an \
introduction. Each has a heading of its own that says what the section says (no numbering, no "introduction" or \
"conclusion"), 2 to 4 points that only this section makes, each as a full statement or instruction, and the numbers \
of the passages that carry them. Plan no point that no passage carries. No section is called references or related \
articles. What the keywords of the sibling articles stand for is told there: leave it to them.
If the article has a note, it is an editor's wish for this version: follow it as far as these rules allow."""

_SECTION_SYSTEM = """\
You write one section of an article for a company's magazine. The outline shows the whole; write only the section \
given, make its points and no others, repeat nothing of the other sections, and stay near the number of words asked \
for. Too few passages for so many words: write fewer.

{rules}

Answer in blocks: paragraphs of 2 to 5 sentences, and a list where several parallel things are named (its text is the \
lead-in, its items are full phrases of the same form). Every block names the numbers of the passages it stands on, \
and only those. Use your own words, no sentence as it stands in a passage unless it is marked as a quotation. Plain \
text only: no Markdown, no headings, no links or web addresses, no bracketed citation marks. Use the terms given once \
each where they fit; bend their form to the grammar, and leave out one that would not fit.
If the article has a note, it is an editor's wish for this version: follow it as far as these rules allow."""

_REPAIR_SYSTEM = """\
The draft of this section did not pass its checks. Correct exactly the problems listed, change nothing else, and \
answer with the whole section again. A sentence whose number or quotation no passage carries is said without it or \
left out; do not look for another number."""


def build_outline_request(
    brief: Brief,
    icp: Mapping[str, Any],
    plan: ArticlePlan,
    terms: Sequence[str],
    passages: Sequence[Passage],
    *,
    route: Route,
    model: str,
    feedback: str | None = None,
    note: str | None = None,
) -> ProviderRequest:
    blocks = _outline_blocks(brief=brief, icp=icp, plan=plan, terms=terms, passages=passages, note=note)
    return chat_request(
        model=model,
        route=route,
        system=_OUTLINE_SYSTEM.format(rules=_ground_rules(brief)),
        user="\n\n".join(blocks),
        schema_name="article_outline",
        schema=OUTLINE_SCHEMA,
        feedback=feedback,
    )


def outline_slot_hash(
    brief: Brief,
    icp: Mapping[str, Any],
    plan: ArticlePlan,
    terms: Sequence[str],
    passages: Sequence[Passage],
    *,
    note: str | None = None,
) -> str:
    parts = _outline_blocks(brief=brief, icp=icp, plan=plan, terms=terms, passages=passages, note=note)
    slot = f"{plan.article_id}/outline"
    return slot_hash(step=STEP, slot=slot, prompt_version=PROMPT_VERSION, parts=parts, schema=OUTLINE_SCHEMA)


def build_section_request(
    brief: Brief,
    plan: ArticlePlan,
    outline: Outline,
    section_number: int,
    terms: Sequence[str],
    passages: Sequence[Passage],
    words: int,
    *,
    route: Route,
    model: str,
    feedback: str | None = None,
    problems: Sequence[str] = (),
    draft: SectionContent | None = None,
    note: str | None = None,
) -> ProviderRequest:
    """``terms`` and ``passages`` are this section's own; with ``problems`` it asks for a repair of ``draft``."""
    system = _SECTION_SYSTEM.format(rules=_ground_rules(brief))
    blocks = _section_blocks(
        brief=brief,
        plan=plan,
        outline=outline,
        section_number=section_number,
        terms=terms,
        passages=passages,
        words=words,
        problems=problems,
        draft=draft,
        note=note,
    )
    return chat_request(
        model=model,
        route=route,
        system=f"{system}\n{_REPAIR_SYSTEM}" if problems else system,
        user="\n\n".join(blocks),
        schema_name="article_repair" if problems else "article_section",
        schema=SECTION_SCHEMA,
        feedback=feedback,
    )


def section_slot_hash(
    brief: Brief,
    plan: ArticlePlan,
    outline: Outline,
    section_number: int,
    terms: Sequence[str],
    passages: Sequence[Passage],
    words: int,
    *,
    problems: Sequence[str] = (),
    draft: SectionContent | None = None,
    note: str | None = None,
) -> str:
    """A repair hashes otherwise than the first writing, and two repairs of other problems otherwise than each other."""
    parts = _section_blocks(
        brief=brief,
        plan=plan,
        outline=outline,
        section_number=section_number,
        terms=terms,
        passages=passages,
        words=words,
        problems=problems,
        draft=draft,
        note=note,
    )
    slot = f"{plan.article_id}/{'repair' if problems else 'section'}/{section_number}"
    return slot_hash(step=STEP, slot=slot, prompt_version=PROMPT_VERSION, parts=parts, schema=SECTION_SCHEMA)


def _ground_rules(brief: Brief) -> str:
    """No word of the brief stands among the instructions but its locale and country, which are codes."""
    return _GROUND_RULES.format(locale=brief.locale, country=brief.country)


def _article_facts(brief: Brief, plan: ArticlePlan, note: str | None) -> dict[str, Any]:
    return {
        "keyword": plan.keyword,
        "role": plan.role,
        "spokes": list(plan.spokes),
        "siblings": list(plan.siblings),
        "words": brief.articles.words,
        "note": note,
    }


def _passage_facts(passages: Sequence[Passage]) -> list[dict[str, Any]]:
    return [passage.model_dump() for passage in passages]


def _outline_blocks(
    *,
    brief: Brief,
    icp: Mapping[str, Any],
    plan: ArticlePlan,
    terms: Sequence[str],
    passages: Sequence[Passage],
    note: str | None,
) -> list[str]:
    return [
        json_block("brief", brief.model_dump(mode="json")),
        json_block("icp", dict(icp)),
        json_block("article", _article_facts(brief, plan, note)),
        json_block("terms", list(terms)),
        json_block("passages", _passage_facts(passages)),
    ]


def _section_blocks(
    *,
    brief: Brief,
    plan: ArticlePlan,
    outline: Outline,
    section_number: int,
    terms: Sequence[str],
    passages: Sequence[Passage],
    words: int,
    problems: Sequence[str],
    draft: SectionContent | None,
    note: str | None,
) -> list[str]:
    section = outline.sections[section_number - 1]
    facts = {"number": section_number, "heading": section.heading, "points": list(section.points), "words": words}
    blocks = [
        json_block("brief", brief.model_dump(mode="json")),
        json_block("article", {**_article_facts(brief, plan, note), "title": outline.title}),
        json_block("outline", [one.heading for one in outline.sections]),
        json_block("section", facts),
        json_block("terms", list(terms)),
        json_block("passages", _passage_facts(passages)),
    ]
    if problems:
        blocks.append(json_block("problems", list(problems)))
        blocks.append(json_block("draft", draft.model_dump(mode="json")["blocks"] if draft else []))
    return blocks


# --- judging the outline ---


def judge_outline(
    answer_body: str, plan: ArticlePlan, passages: Sequence[Passage], *, repairs_left: int, brief: Brief | None = None
) -> Completed[Outline] | Blocked | AskAgain:
    """``passages`` are those that were shown. With ``brief`` its banned phrases are refused as well."""
    try:
        outline = _parsed_outline(answer_object(answer_body))
    except InvalidAnswerError as error:
        return _rejected("invalid_outline", str(error), repairs_left, None)
    problems = _outline_problems(outline, plan, passages, brief)
    if problems:
        return _rejected("invalid_outline", " ".join(problems), repairs_left, outline.model_dump(mode="json"))
    return Completed[Outline](output=outline, verdict=verdict_of([]))


def _rejected(code: str, message: str, repairs_left: int, output: dict[str, Any] | None) -> Blocked | AskAgain:
    if repairs_left > 0:
        return AskAgain(message=message)
    return Blocked(verdict=verdict_of([Reason(code=code, message=message)]), output=output)


def _parsed_outline(answer: dict[str, Any]) -> Outline:
    try:
        parsed = _OutlineAnswer.model_validate(answer)
    except ValidationError as error:
        raise InvalidAnswerError(_schema_message(error)) from error
    return Outline(
        title=clean_text(parsed.title).rstrip("."),
        meta_description=clean_text(parsed.meta_description),
        sections=tuple(
            OutlineSection(
                heading=clean_text(section.heading).lstrip("# ").rstrip(".:"),
                points=tuple(point for point in map(clean_text, section.points) if point),
                passages=tuple(dict.fromkeys(section.passages)),
            )
            for section in parsed.sections
        ),
    )


def _schema_message(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"The field {place} does not fit the schema: {first['msg']}."


def _outline_problems(
    outline: Outline, plan: ArticlePlan, passages: Sequence[Passage], brief: Brief | None
) -> list[str]:
    return [
        *_length_problems(outline),
        *_heading_problems(outline),
        *_passage_problems(outline, passages),
        *_wording_problems(outline, plan, passages, brief),
    ]


def _length_problems(outline: Outline) -> list[str]:
    bounds = (
        ("title", outline.title, TITLE_CHARACTERS_MIN, TITLE_CHARACTERS_MAX),
        ("meta description", outline.meta_description, DESCRIPTION_CHARACTERS_MIN, DESCRIPTION_CHARACTERS_MAX),
    )
    problems = [
        f"The {name} has {len(text)} characters; it needs {low} to {high}."
        for name, text, low, high in bounds
        if not low <= len(text) <= high
    ]
    if not SECTIONS_MIN <= len(outline.sections) <= SECTIONS_MAX:
        count = len(outline.sections)
        problems.append(f"The outline has {count} sections; it needs {SECTIONS_MIN} to {SECTIONS_MAX}.")
    return problems


def _heading_problems(outline: Outline) -> list[str]:
    problems: list[str] = []
    seen = {_heading_key(outline.title): "the title"}
    for number, section in enumerate(outline.sections, start=1):
        key = _heading_key(section.heading)
        if not key or len(section.heading) > HEADING_CHARACTERS_MAX:
            problems.append(f"The heading of section {number} must have 1 to {HEADING_CHARACTERS_MAX} characters.")
        elif key in RESERVED_HEADINGS:
            problems.append(f"Section {number} may not be called “{section.heading}”: that part is added later.")
        elif key in seen:
            problems.append(f"The heading “{section.heading}” of section {number} is the same as that of {seen[key]}.")
        if not section.points:
            problems.append(f"Section {number} has no points.")
        seen.setdefault(key, f"section {number}")
    return problems


def _heading_key(heading: str) -> str:
    return " ".join(word.lower() for word in words(heading))


def _passage_problems(outline: Outline, passages: Sequence[Passage]) -> list[str]:
    known = {passage.number for passage in passages}
    return [
        f"Section {number} names passage {passage}, which does not exist."
        for number, section in enumerate(outline.sections, start=1)
        for passage in section.passages
        if passage not in known
    ]


def _wording_problems(
    outline: Outline, plan: ArticlePlan, passages: Sequence[Passage], brief: Brief | None
) -> list[str]:
    sources = [passage.text for passage in passages]
    sections = (len(outline.sections),)
    places = [
        ("title", outline.title, sections),
        ("meta description", outline.meta_description, sections),
        # What a section will list is known when it is written: its gate holds its heading to that.
        *(
            (f"heading of section {number}", one.heading, range(2, LISTED_MAX))
            for number, one in enumerate(outline.sections, start=1)
        ),
    ]
    problems: list[str] = []
    for place, text, counts in places:
        found_in_text = (*_markup_problems(text), *_address_problems(text, passages))
        problems += [f"In the {place}: {found}" for found in found_in_text]
        problems += [f"The {place} uses the banned phrase “{phrase}”." for phrase in refused_phrases(text, brief)]
        problems += [
            f"The {place} says {claim.text}, which stands in no passage: say it without it."
            for claim in ungrounded(text, sources, exempt_phrases=exempt_phrases(plan), counts=counts)
        ]
    return problems


def exempt_phrases(plan: ArticlePlan | None) -> tuple[str, ...]:
    """Names inside which a number claims nothing: the article's keywords."""
    return (plan.keyword, *plan.spokes) if plan else ()


# --- judging a section ---

_MARKUP = (
    (re.compile(r"</?[A-Za-z!][^<>]*>"), "HTML"),
    (re.compile(r"\b(?:https?|ftp)\s?://\S+|\bwww\.[\w-]+\.\w+|\bmailto:\S+", re.IGNORECASE), "a link"),
    (re.compile(r"!?\[[^\]]*\]\s?\([^)]*\)"), "a link"),
    (re.compile(r"(?m)^\s{0,3}#{1,6}\s"), "a heading"),
    (re.compile(r"(?m)^\s{0,3}(?:```|~~~)|^\s*\|.*\|\s*$"), "Markdown"),
)
_CITATION_MARK = re.compile(
    r"\s*(?:\[\s*\d+(?:\s*[,;–-]\s*\d+)*\s*\]|\((?:passages?|sources?)\s+\d+(?:\s*(?:,|and)\s*\d+)*\))"
)
_EMPHASIS = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1|(?<![\w*])\*(?=[^\s*])([^*]+?)(?<=\S)\*(?![\w*])")
_CODE_MARK = re.compile(r"`([^`\n]+)`")
_BULLET = re.compile(r"^\s*(?:[-*•·–]|\d{1,2}[.)])\s+")
_PARAGRAPH_BREAK = re.compile(r"\n\s*\n")


def judge_section(
    answer_body: str,
    section_number: int,
    passages: Sequence[Passage],
    brief: Brief,
    *,
    repairs_left: int,
    plan: ArticlePlan | None = None,
    cited: Sequence[Passage] = (),
) -> Completed[SectionContent] | Blocked | AskAgain:
    """``passages`` are those the section was shown; ``cited`` those of pages that its model cited and that were read
    since, to which code refers whatever they carry and the passages shown don't. Marks that only decorate (emphasis,
    citation marks) are taken off.

    A number or quotation that no cited passage carries is asked about while repairs are left; after that its
    sentence goes, with a warning.
    """
    try:
        content = _parsed_section(answer_object(answer_body))
    except InvalidAnswerError as error:
        return _rejected("invalid_section", f"Section {section_number}: {error}", repairs_left, None)
    passages = (*passages, *cited)
    content = _with_cited(content, passages, cited)
    problems = _section_problems(content, passages, brief)
    if problems:
        message = f"Section {section_number}: {' '.join(problems)}"
        return _rejected("invalid_section", message, repairs_left, content.model_dump(mode="json"))
    failing = ungrounded_claims(content, passages, plan, brief)
    if failing and repairs_left > 0:
        return AskAgain(message=f"Section {section_number}: {' '.join(claim_message(claim) for claim in failing)}")
    if failing:
        return _without_failing_sentences(content, section_number, passages, plan, brief)
    return Completed[SectionContent](output=content, verdict=verdict_of([]))


def ungrounded_claims(
    content: SectionContent, passages: Sequence[Passage], plan: ArticlePlan | None, brief: Brief | None = None
) -> list[Claim]:
    """Numbers, quotations and named sources of each block that stand in none of the passages the block cites."""
    return [claim for block in content.blocks for _, claim in block_findings(block, passages, plan, brief)]


def block_findings(
    block: Block, passages: Sequence[Passage], plan: ArticlePlan | None, brief: Brief | None
) -> list[tuple[int, Claim]]:
    """(place of the text in the block, claim) of what none of the passages that the block cites carries."""
    sources = cited_texts(block, passages)
    names = source_names(block, passages, brief) if brief else None
    return [
        (place, claim)
        for place, text in enumerate(block.texts)
        for claim in ungrounded(
            text,
            sources,
            exempt_phrases=exempt_phrases(plan),
            source_names=names,
            counts=block_counts(block),
        )
    ]


def block_counts(block: Block) -> tuple[int, ...]:
    """What the block may count by itself: the items of its list."""
    return (len(block.items),) if block.items else ()


def source_names(block: Block, passages: Sequence[Passage], brief: Brief) -> tuple[str, ...]:
    """Whom the block may name as a source beside those its passages mention: the company and the sites cited."""
    domains = [bare_domain(passage.url) for passage in passages if passage.number in block.passages]
    labels = [label for domain in domains for label in (domain, domain.rsplit(".", 1)[0].replace("-", " "))]
    return tuple(dict.fromkeys((clean_text(brief.organization.name), bare_domain(brief.organization.url), *labels)))


def cited_texts(block: Block, passages: Sequence[Passage]) -> list[str]:
    return [passage.text for passage in passages if passage.number in block.passages]


def claim_message(claim: Claim) -> str:
    match claim.kind:
        case ClaimKind.NUMBER:
            return f"“{claim.text}” stands in no passage that its block cites: {claim.fix}"
        case ClaimKind.QUOTATION:
            return f"The quotation {claim.text} stands in no passage that its block cites: {claim.fix}"
        case ClaimKind.REFERENCE:
            return f"“{claim.text}” is named as a source: {claim.fix}"


def _with_cited(content: SectionContent, passages: Sequence[Passage], cited: Sequence[Passage]) -> SectionContent:
    if not cited:
        return content
    return SectionContent(
        blocks=tuple(
            block.model_copy(
                update={
                    "passages": tuple(
                        dict.fromkeys(
                            (*block.passages, *carrying_passages(block.texts, cited_texts(block, passages), cited))
                        )
                    )
                }
            )
            for block in content.blocks
        )
    )


def _parsed_section(answer: dict[str, Any]) -> SectionContent:
    try:
        parsed = _SectionAnswer.model_validate(answer)
    except ValidationError as error:
        raise InvalidAnswerError(_schema_message(error)) from error
    return SectionContent(blocks=tuple(block for one in parsed.blocks for block in _blocks_of(one)))


def _blocks_of(answer: _BlockAnswer) -> list[Block]:
    """Blocks of plain text: a paragraph that is several becomes several, one that is empty none."""
    cited = tuple(dict.fromkeys(answer.passages))
    items = tuple(item for item in (_plain(_BULLET.sub("", text)) for text in answer.items) if item)
    if answer.kind == "list" and items:
        return [Block(kind=BlockKind.LIST, text=_plain(answer.text), items=items, passages=cited)]
    paragraphs = [_plain(text) for text in _PARAGRAPH_BREAK.split(answer.text)]
    return [Block(kind=BlockKind.PARAGRAPH, text=text, passages=cited) for text in (*paragraphs, *items) if text]


def _plain(text: str) -> str:
    """The text without decoration; line breaks stay until the markup has been looked at."""
    text = _CITATION_MARK.sub("", text)
    text = _EMPHASIS.sub(lambda match: match[2] or match[3], text)
    text = _CODE_MARK.sub(r"\1", text).strip()
    return text if _markup_problems(text) else clean_text(text)


def _section_problems(content: SectionContent, passages: Sequence[Passage], brief: Brief) -> list[str]:
    if not content.blocks:
        return ["The section is empty."]
    known = {passage.number for passage in passages}
    cited = {number for block in content.blocks for number in block.passages}
    problems = [f"Passage {number} does not exist." for number in sorted(cited - known)]
    for block in content.blocks:
        for text in block.texts:
            problems += [*_markup_problems(text), *_address_problems(text, passages)]
            problems += [f"The phrase “{phrase}” may not be used." for phrase in refused_phrases(text, brief)]
    return problems


def _markup_problems(text: str) -> list[str]:
    return [
        f"The text holds {kind} (“{clean_text(match[0])[:60]}”); plain text only."
        for pattern, kind in _MARKUP
        if (match := pattern.search(text))
    ]


def _address_problems(text: str, passages: Sequence[Passage]) -> list[str]:
    """Web addresses without a scheme; the sites of the passages may be called by their names."""
    if _markup_problems(text):
        return []
    found = web_address_in(text, {bare_domain(passage.url) for passage in passages})
    return [f"The text holds a web address (“{clean_text(found)[:60]}”); plain text only."] if found else []


def _without_failing_sentences(
    content: SectionContent,
    section_number: int,
    passages: Sequence[Passage],
    plan: ArticlePlan | None,
    brief: Brief,
) -> Completed[SectionContent] | Blocked:
    dropped: list[str] = []
    blocks = [kept for block in content.blocks if (kept := _grounded_block(block, passages, plan, brief, dropped))]
    subject = f"section:{section_number}"
    if not blocks:
        message = f"Section {section_number} has nothing left once what no source carries is taken out."
        reason = Reason(code="section_ungrounded", message=message, subject=subject)
        return Blocked(verdict=verdict_of([reason]), output=content.model_dump(mode="json"))
    reasons = [
        Reason(
            code="sentence_dropped",
            message=f"Section {section_number}: dropped, no cited passage carries its number or quotation: {text}",
            subject=subject,
            level=Level.WARN,
        )
        for text in dropped
    ]
    return Completed[SectionContent](output=SectionContent(blocks=tuple(blocks)), verdict=verdict_of(reasons))


def _grounded_block(
    block: Block, passages: Sequence[Passage], plan: ArticlePlan | None, brief: Brief, dropped: list[str]
) -> Block | None:
    sources = cited_texts(block, passages)

    def kept(text: str) -> str:
        rest, gone = without_ungrounded(
            text,
            sources,
            exempt_phrases=exempt_phrases(plan),
            source_names=source_names(block, passages, brief),
            counts=block_counts(block),
        )
        dropped.extend(gone)
        return rest

    text, items = kept(block.text), tuple(item for item in map(kept, block.items) if item)
    if block.kind is BlockKind.LIST and not items:
        return None
    if not text and not items:
        return None
    return block.model_copy(update={"text": text, "items": items})


# --- what an article can cost ---

# Passages are mostly of the Latin script (a byte or two per character, quotation marks escaped twice); the rest of a
# request is prompt, schema, brief and article facts. The hold itself is always taken from the request's real bytes.
_BYTES_PER_PASSAGE_CHARACTER = 1.5
_OUTLINE_OVERHEAD_BYTES = 17_000
_SECTION_OVERHEAD_BYTES = 8_000
_MESSAGES_PER_REQUEST = 2


def estimated_hold(article_settings: ArticleSettings, price_of: Mapping[str, ModelPrice], *, sections: int) -> Decimal:
    """US dollars an article can hold or spend on its first asks: one outline and its sections, each answer as long
    as allowed. Raises KeyError when the first model of a route has no price."""
    outline = _request_hold(
        price_of[article_settings.outline_route.models[0]],
        article_settings.outline_route,
        article_settings.passage_characters_max,
        _OUTLINE_OVERHEAD_BYTES,
    )
    section = _request_hold(
        price_of[article_settings.section_route.models[0]],
        article_settings.section_route,
        article_settings.section_passage_characters_max,
        _SECTION_OVERHEAD_BYTES,
    )
    return outline + sections * section


def _request_hold(price: ModelPrice, route: Route, passage_characters: int, overhead_bytes: int) -> Decimal:
    size = int(passage_characters * _BYTES_PER_PASSAGE_CHARACTER) + overhead_bytes
    prompt_tokens = prompt_token_bound(size, _MESSAGES_PER_REQUEST)
    return hold_for(price, prompt_tokens=prompt_tokens, completion_tokens=route.max_tokens)
