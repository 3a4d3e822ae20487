"""What each competitor sells, how much it overlaps with the profile, and the intent behind each keyword."""

import re
from collections.abc import Sequence
from typing import Any

from sandbox.answers import Blocks
from sandbox.answers.icp import brief_sentences
from sandbox.answers.text import content_stems, joined, noun_phrases, sentences, starts_upper, word_count

_SELLS_WORDS_MAX = 10
_TITLE_BREAK = re.compile(r"\s+[|–—·-]\s+|:\s+")
_QUESTION = re.compile(
    r"^(how|what|why|when|who|which|where|guide|is|are|can|should)\b|\b(guide|checklist|examples?|template|definition|"
    r"meaning|explained|basics|tips|best practices|steps|process steps)\b",
    re.I,
)
_BUY = re.compile(r"\b(buy|price|prices|pricing|cost|quote|demo|trial|coupon|order online|hire|subscription)\b", re.I)


def answer(blocks: Blocks) -> dict[str, Any]:
    brief = blocks.json("brief")
    wanted = set(content_stems(" ".join(brief_sentences(brief))))
    competitors = [entry for entry in blocks.json("competitors") if isinstance(entry, dict)]
    names = [_site_name(entry) for entry in competitors]
    return {
        "competitors": [_competitor(entry, wanted) for entry in competitors],
        "intents": [
            {"keyword": str(keyword), "intent": intent_of(str(keyword), names)} for keyword in blocks.json("keywords")
        ],
    }


def intent_of(keyword: str, names: Sequence[str]) -> str:
    """By word rules: a competitor's name is navigational, then what asks and what buys; other names of goods and
    methods are compared."""
    compact = keyword.lower().replace(" ", "")
    if any(name and name in compact for name in names):
        return "navigational"
    if _QUESTION.search(keyword):
        return "informational"
    if _BUY.search(keyword):
        return "transactional"
    return "commercial"


def _competitor(entry: dict[str, Any], wanted: set[str]) -> dict[str, str]:
    text = " ".join([str(entry.get("title", "")), *map(str, entry.get("passages") or [])])
    shared = wanted & set(content_stems(text))
    share = len(shared) / len(wanted) if wanted else 0.0
    overlap = "high" if share >= 0.4 else "medium" if share >= 0.2 else "low"
    return {
        "domain": str(entry.get("domain", "")),
        "sells": _sells(entry),
        "overlap": overlap,
        "overlap_reason": _reason(text, shared),
    }


def _reason(text: str, shared: set[str]) -> str:
    ranked = sorted(shared, key=lambda name: (-content_stems(text).count(name), name))
    return f"Both speak of {joined(ranked[:3])}" if ranked else "Hardly any wording in common"


def _sells(entry: dict[str, Any]) -> str:
    """The longest part of the title that is not the site's name, else the first noun phrases of its text."""
    name = _site_name(entry)
    parts = [part.strip() for part in _TITLE_BREAK.split(str(entry.get("title", "")))]
    named = [part for part in parts if part and part.lower().replace(" ", "") != name and word_count(part) > 1]
    if named:
        return starts_upper(" ".join(max(named, key=len).split()[:_SELLS_WORDS_MAX]))
    for passage in map(str, entry.get("passages") or []):
        phrases = noun_phrases(sentences(passage)[0] if sentences(passage) else "")
        if phrases:
            return starts_upper(joined(phrases[:2]))
    return "Not said on its pages"


def _site_name(entry: dict[str, Any]) -> str:
    return str(entry.get("domain", "")).lower().removeprefix("www.").partition(".")[0].replace("-", "")
