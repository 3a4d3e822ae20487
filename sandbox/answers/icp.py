"""The ideal customer profile, gathered from the brief and the organization's own passages.

Statements are clauses of the passages themselves, sorted into pains, goals and triggers by their words; where the
passages hold too few, a plain statement about one of their topics stands in, and names the passage of the topic.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.answers import Blocks
from sandbox.answers.lexicon import FUNCTION_WORDS, PREPOSITIONS, VERBS, word_set
from sandbox.answers.text import (
    Passage,
    contains_phrase,
    content_stems,
    is_unwelcome,
    joined,
    noun_phrases,
    sentences,
    starts_upper,
    word_count,
)

_ITEM_WORDS_MAX = 15
_CLAUSE_WORDS_MIN = 4
_COUNTRIES = {
    "US": "United States",
    "CA": "Canada",
    "GB": "United Kingdom",
    "DE": "Germany",
    "AT": "Austria",
    "CH": "Switzerland",
    "FR": "France",
    "NL": "Netherlands",
    "BE": "Belgium",
    "DK": "Denmark",
    "SE": "Sweden",
    "NO": "Norway",
    "ES": "Spain",
    "IT": "Italy",
    "IE": "Ireland",
    "AU": "Australia",
    "NZ": "New Zealand",
}
_ORGANIZATION_NOUNS = word_set(
    """
    distributors wholesalers manufacturers retailers cities municipalities councils operators agencies companies
    firms businesses schools hospitals clinics universities shops stores restaurants hotels contractors builders
    farms growers laboratories banks insurers startups studios practices offices departments
    brands publishers nonprofits charities dealers carriers landlords producers bakeries breweries
    households associations cooperatives utilities consultancies workshops garages museums libraries
    campuses organizations
    """
)
_ROLE_NOUNS = word_set(
    """
    controller manager director officer clerk coordinator planner owner founder accountant treasurer buyer
    engineer mechanic technician supervisor administrator analyst specialist bookkeeper lead head chief
    dispatcher architect developer designer teacher nurse doctor editor marketer consultant president partner
    CFO CEO COO CTO CIO
    """
)
_SENIOR = re.compile(r"\b(CFO|CEO|COO|CTO|CIO|chief|head|director|owner|founder|president|partner|treasurer)\b", re.I)
_MIDDLE = re.compile(r"\b(controller|manager|lead|supervisor|planner|officer|architect|administrator)\b", re.I)
_PAIN = re.compile(
    r"\b(late|errors?|manual|manually|slow|slows|missing|lost|lose|waste|wasted|delays?|delayed|duplicates?|twice|chas\w+|"
    r"spreadsheets?|risks?|problems?|hard|broken|fail\w*|overdue|nobody|paper|forgot\w*|wrong|queue|retyp\w+|typing|"
    r"surprise\w*|dispute\w*|piles?|guess\w*|downtime|idle|stuck|still|scattered|unclear|expensive|slip\w*|suffers?|"
    r"trouble|waits?|angry|crowded|too long|never reported)\b",
    re.I,
)
_REMEDY = re.compile(
    r"\b(instead of|rather than|stops?|stopped|prevents?|no longer|sees?|shows?|flags?|works?|helps?|helped|sooner|"
    r"keeps?|follows?|takes? over|turns?)\b",
    re.I,
)
_GOAL = re.compile(
    r"\b(faster|sooner|reduce\w*|sav\w+|improv\w+|keep\w*|on time|visible|control|avoid\w*|captur\w+|less|fewer|easier|"
    r"clear|clean|ready|same day|within|at a glance|without (?:re)?typing|automatic\w*|one place|sees?|know\w*|"
    r"safe\w*|longer|match\w*|pay\w*|earn\w*)\b",
    re.I,
)
_TRIGGER = re.compile(
    r"^(?:when|after|once|before)\b|\b(grow\w*|audit\w*|year-end|month-end|seasons?|seasonal|tenders?|renewal|"
    r"migrat\w+|switch\w*|expan\w+|hir\w+|acqui\w+|merger|winter|contract|deadline|new (?:branch|system|law)\w*)\b",
    re.I,
)
_ALTERNATIVE = re.compile(
    r"\b(spreadsheets?|paper\w*|e-?mails?|shared inbox\w*|inbox\w*|whiteboards?|in-house|outsourc\w+|manual\w*|by hand|"
    r"legacy|general[- ]purpose|filing|folders?|notebooks?|phone calls?|clipboards?)\b",
    re.I,
)
_DISQUALIFIER = re.compile(r"\b(not (?:a )?(?:fit|for|meant|suited|built)|too small|fewer than|no need)\b", re.I)
_WEAK_START = re.compile(
    r"^(and|but|or|so|it|this|that|they|these|those|he|she|there|here|then|also|for example|instead|still|yet)\b", re.I
)
_CLAUSE_BREAK = re.compile(r"\s*(?:[;:—–]|, (?:and|but|so|which|because|while|who)\b|,|\bbecause\b|\bso that\b)\s*")
_OFFER_ENDS = "for|to|that|which|who|in|with|by|from|at|of|so"
_SPARE_STATEMENTS = {
    "pains": (3, ("Too much time spent on {}", "Hard to compare offers for {}", "Surprises and delays around {}")),
    "goals": (3, ("Dependable {} with less effort", "Clear costs for {}", "Fewer open questions about {}")),
    "triggers": (1, ("Growing demand for {}", "A change of supplier for {}")),
    "alternatives": (1, ("Doing without {}", "Doing it in-house instead of buying {}")),
}
_CHARACTERS_MAX = 2600


@dataclass(frozen=True)
class _Kind:
    """A list of the profile and the words its statements have, and have not."""

    name: str
    wanted: re.Pattern[str]
    unwanted: re.Pattern[str]


_KINDS = (
    _Kind("disqualifiers", _DISQUALIFIER, re.compile(r"\bworks? with\b", re.I)),
    _Kind("pains", _PAIN, _REMEDY),
    _Kind("triggers", _TRIGGER, _REMEDY),
    _Kind("goals", _GOAL, re.compile(r"\b(not|never|nobody|errors?|late|lost|fails?)\b", re.I)),
)


@dataclass
class _Found:
    """Items as they are found, with the passage each one stands in."""

    lists: dict[str, list[str]] = field(default_factory=dict)
    evidence: list[dict[str, Any]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def add(self, name: str, item: str, passage: int | None) -> bool:
        """False for what is there already, however it is spelled."""
        key = " ".join(content_stems(item)) or item.lower()
        if key in self.taken:
            return False
        self.taken.add(key)
        items = self.lists.setdefault(name, [])
        if passage is not None:
            self.evidence.append({"field": f"{name}.{len(items)}", "passage": passage})
        items.append(item)
        return True


def answer(blocks: Blocks) -> dict[str, Any]:
    """The fuller profile, or the one with shorter lists where that would be too long an answer."""
    brief = blocks.json("brief")
    passages = Passage.all_of(blocks.json("passages", []))
    profile = _profile(brief, passages, statements=4)
    is_long = len(json.dumps(profile, ensure_ascii=False)) > _CHARACTERS_MAX
    return _profile(brief, passages, statements=3) if is_long else profile


def _profile(brief: dict[str, Any], passages: Sequence[Passage], *, statements: int) -> dict[str, Any]:
    texts = [*(passage.text for passage in passages), *brief_sentences(brief)]
    topics = topics_of(brief, texts)
    found = _Found()
    _add_industries(found, brief, passages, topics)
    roles = _buyer_roles(found, brief, passages)
    for kind in _KINDS:
        limit = statements if kind.name in ("pains", "goals") else 2
        _add_statements(found, kind, passages, str(brief["organization"]["name"]), limit)
    _add_alternatives(found, passages)
    for name, (least, frames) in _SPARE_STATEMENTS.items():
        _fill_up(found, name, frames, least, topics, passages)
    proposition = _value_proposition(brief)
    source = _passage_with(passages, proposition, share=0.4)
    if source is not None:
        found.evidence.append({"field": "value_proposition", "passage": source})
    return {
        "industries": found.lists["industries"],
        "firmographics": {"size": _size(texts), "geography": _geography(brief)},
        "buyer_roles": roles,
        **{name: found.lists.get(name, []) for name in ("pains", "goals", "triggers", "alternatives", "disqualifiers")},
        "value_proposition": proposition,
        "evidence": found.evidence,
    }


def brief_sentences(brief: dict[str, Any]) -> list[str]:
    return [*sentences(str(brief["organization"]["description"])), *map(str, brief.get("audiences") or [])]


def topics_of(brief: dict[str, Any], texts: Sequence[str], limit: int = 6) -> list[str]:
    """Noun phrases of the description, those that the texts use most first."""
    description = str(brief["organization"]["description"])
    name = re.escape(str(brief["organization"]["name"]))
    sold = re.search(rf"{name}\s+[a-z]+s\s+((?:(?!{_OFFER_ENDS}\b)[a-z'-]+\s+){{1,4}})(?:{_OFFER_ENDS})\b", description)
    if sold is not None and len(sold[1].split()) > 1:
        return list(dict.fromkeys([sold[1].strip(), *_topics_by_use(description, texts)]))[:limit]
    return _topics_by_use(description, texts)[:limit] or [f"what {brief['organization']['name']} offers"]


def _topics_by_use(description: str, texts: Sequence[str]) -> list[str]:
    phrases = noun_phrases(description, words_min=2) or noun_phrases(" ".join(texts), words_min=2)
    counts = Counter({phrase: sum(contains_phrase(text, phrase) for text in texts) for phrase in phrases})
    return [phrase for phrase, _ in counts.most_common()] or noun_phrases(description, words_min=1)


def _add_industries(found: _Found, brief: dict[str, Any], passages: Sequence[Passage], topics: Sequence[str]) -> None:
    """Kinds of organizations, from the brief and, where they follow a preposition, from the passages."""
    nouns = "|".join(sorted(_ORGANIZATION_NOUNS))
    name = rf"((?:[a-z][a-z-]+ ){{0,2}}(?:{nouns}))\b"
    in_brief, in_text = (
        re.compile(rf"\b{name}", re.I),
        re.compile(rf"\b(?:{'|'.join(sorted(PREPOSITIONS))}) {name}", re.I),
    )
    counts: Counter[str] = Counter()
    for text in brief_sentences(brief):
        counts.update({_without_function_words(match[1]).lower(): 3 for match in in_brief.finditer(text)})
    for passage in passages:
        counts.update(_without_function_words(match[1]).lower() for match in in_text.finditer(passage.text))
    names = [name for name, _ in counts.most_common() if name] or [f"organizations that need {topics[0]}"]
    for name in _without_contained(names)[:3]:
        found.add("industries", starts_upper(name), _passage_with(passages, name))


def _without_contained(names: Sequence[str]) -> list[str]:
    """A bare noun goes when a fuller name ends with it."""
    return [name for name in names if not any(other != name and other.endswith(f" {name}") for other in names)]


def _without_function_words(phrase: str) -> str:
    kept: list[str] = []
    for word in reversed(phrase.split()):
        if word.lower() in FUNCTION_WORDS or (kept and word.lower() in VERBS):
            break
        kept.insert(0, word)
    return " ".join(kept)


def _add_statements(found: _Found, kind: _Kind, passages: Sequence[Passage], organization: str, limit: int) -> None:
    """Clauses with most of the wanted words first, of those the ones of middling length."""
    candidates = [
        (-len(set(kind.wanted.findall(clause))), abs(word_count(clause) - 9), passage.number, clause)
        for passage in passages
        for clause in _clauses(passage.text)
        if kind.wanted.search(clause) and not kind.unwanted.search(clause)
    ]
    for _, _, number, clause in sorted(candidates):
        if len(found.lists.get(kind.name, [])) >= limit:
            return
        if kind.name == "disqualifiers" or organization not in clause:
            found.add(kind.name, clause, number)


def _clauses(text: str) -> Iterable[str]:
    """Whole sentences where they are short enough, else their first clause."""
    for sentence in sentences(text):
        if not sentence.endswith((".", "!")) or _WEAK_START.match(sentence) or is_unwelcome(sentence):
            continue
        clause = sentence.rstrip(".! ")
        if word_count(clause) > _ITEM_WORDS_MAX:
            clause = _CLAUSE_BREAK.split(clause)[0]
        if _CLAUSE_WORDS_MIN <= word_count(clause) <= _ITEM_WORDS_MAX:
            yield clause


def _add_alternatives(found: _Found, passages: Sequence[Passage]) -> None:
    for passage in passages:
        for match in _ALTERNATIVE.finditer(passage.text):
            phrase = next((p for p in noun_phrases(passage.text) if match[1].lower() in p.lower()), match[1])
            if len(found.lists.get("alternatives", [])) < 3 and not _mentions(found, "alternatives", match[1]):
                found.add("alternatives", starts_upper(phrase), passage.number)


def _mentions(found: _Found, name: str, word: str) -> bool:
    stems = set(content_stems(word))
    return any(stems & set(content_stems(item)) for item in found.lists.get(name, []))


def _fill_up(
    found: _Found,
    name: str,
    frames: Sequence[str],
    least: int,
    topics: Sequence[str],
    passages: Sequence[Passage],
) -> None:
    options = [(frame, topic) for topic in topics for frame in frames]
    for frame, topic in options:
        if len(found.lists.setdefault(name, [])) >= least:
            return
        found.add(name, frame.format(topic), _passage_with(passages, topic))


def _buyer_roles(found: _Found, brief: dict[str, Any], passages: Sequence[Passage]) -> list[dict[str, str]]:
    """Roles that the brief names count more than those of the passages."""
    nouns = "|".join(sorted(_ROLE_NOUNS))
    pattern = re.compile(rf"\b((?:[a-z][a-z-]+ ){{0,2}}(?:{nouns}))s?\b", re.I)
    counts: Counter[str] = Counter()
    for text in brief_sentences(brief):
        counts.update({_role_name(match[1]): 5 for match in pattern.finditer(text)})
    for passage in passages:
        counts.update(_role_name(match[1]) for match in pattern.finditer(passage.text))
    names = _without_contained([name for name, _ in counts.most_common() if name])
    spare = ["managing director", "operations manager"]
    chosen = [*names, *(name for name in spare if name not in names)][: max(2, min(3, len(names)))]
    for place, name in enumerate(chosen):
        number = _passage_with(passages, name)
        if number is not None:
            found.evidence.append({"field": f"buyer_roles.{place}", "passage": number})
    return [{"role": starts_upper(name), "decision_power": _decision_power(name)} for name in chosen]


def _role_name(phrase: str) -> str:
    name = _without_function_words(phrase)
    return name if name.isupper() else " ".join(word if word.isupper() else word.lower() for word in name.split())


def _decision_power(role: str) -> str:
    if _SENIOR.search(role):
        return "Signs the purchase"
    if _MIDDLE.search(role):
        return "Leads the evaluation and recommends"
    return "Works with it daily and advises"


def _size(texts: Sequence[str]) -> str:
    pattern = re.compile(r"\b(?:small and mid-size|mid-size|mid-sized|medium-size|small|large|growing)\b", re.I)
    counts = Counter(match.lower() for text in texts for match in pattern.findall(text))
    size = counts.most_common(1)[0][0] if counts else "small and mid-size"
    return f"{starts_upper(size)} organizations"


def _geography(brief: dict[str, Any]) -> str:
    country = str(brief.get("country") or "US")
    return _COUNTRIES.get(country.upper(), country)


def _value_proposition(brief: dict[str, Any]) -> str:
    organization = brief["organization"]
    text = ""
    for sentence in sentences(str(organization["description"])):
        longer = f"{text} {sentence}".strip()
        if word_count(longer) > 58 and text:
            break
        text = longer
    if word_count(text) > 58:
        text = f"{' '.join(text.split()[:55]).rstrip(' ,;:')}."
    if word_count(text) < 12:
        audiences = joined([str(audience) for audience in (brief.get("audiences") or ["its customers"])][:2])
        text = f"{text.rstrip('.')}. {organization['name']} makes this dependable for {audiences}."
    return text


def _passage_with(passages: Sequence[Passage], phrase: str, share: float = 0.99) -> int | None:
    """The passage that holds the phrase, or the best one that holds at least that share of its words."""
    wanted = set(content_stems(phrase))
    scored = [
        (contains_phrase(passage.text, phrase), len(wanted & set(content_stems(passage.text))), -passage.number)
        for passage in passages
    ]
    if not scored or not wanted:
        return None
    best = max(scored)
    return -best[2] if best[0] or best[1] >= share * len(wanted) else None
