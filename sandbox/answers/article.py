"""What outline, sections and repairs of an article share: the request's facts and the names they go by."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.answers import Blocks
from sandbox.answers.text import Passage, count_phrase, digest, is_plural

UNNAMED_FIRMS = "many organizations"
_QUESTION_WORDS = re.compile(r"^(how|what|why|when|who|which|where|is|are|can|should|does|do)\b", re.IGNORECASE)
_AUDIENCE_BREAK = re.compile(r"\s+(?:at|in|of|for|from|with|on|within)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class ArticleFacts:
    """The blocks of an article's request. ``rivals`` are the keywords or titles of its sibling articles."""

    keyword: str
    words: int
    note: str
    rivals: tuple[str, ...]
    spokes: tuple[str, ...]
    organization: str
    people: str
    firms: str
    terms: tuple[str, ...]
    passages: tuple[Passage, ...]

    @classmethod
    def of(cls, blocks: Blocks) -> "ArticleFacts":
        article, brief = blocks.json("article"), blocks.json("brief")
        people, firms = _audience(brief)
        return cls(
            keyword=str(article["keyword"]).strip(),
            words=int(article.get("words") or 900),
            note=str(article.get("note") or ""),
            rivals=tuple(str(name) for name in article.get("siblings") or []),
            spokes=tuple(str(name) for name in article.get("spokes") or []),
            organization=str(brief["organization"]["name"]),
            people=people,
            firms=firms,
            terms=tuple(dict.fromkeys(str(term).strip() for term in blocks.json("terms", []) if str(term).strip())),
            passages=tuple(Passage.all_of(blocks.json("passages", []))),
        )

    @property
    def seed(self) -> str:
        return f"{self.keyword.lower()}/{self.note}"

    def owns(self, thing: str) -> bool:
        """Whether this article, and none of its siblings, is the one to use a thing they could all use."""
        mine = digest(self.keyword.lower(), thing)
        return all(digest(rival.lower(), thing) < mine for rival in self.rivals if rival.lower() != self.keyword.lower())


def _audience(brief: Mapping[str, Any]) -> tuple[str, str]:
    """The people and the kind of firm written for: "controllers" and "mid-size distributors"."""
    for audience in map(str, brief.get("audiences") or []):
        people, *rest = _AUDIENCE_BREAK.split(audience.strip(), maxsplit=1)
        if is_plural(people):
            return people, rest[0] if rest and is_plural(rest[0]) else UNNAMED_FIRMS
    return "the people involved", UNNAMED_FIRMS


def heading_pattern(template: str) -> re.Pattern[str]:
    """Reads a heading made from the template; the group ``kw`` is what it was made about."""
    pattern = re.escape(template).replace(re.escape("{kw}"), "(?P<kw>.+)").replace(re.escape("{who}"), ".+")
    pattern = pattern.replace(re.escape("{firms}"), ".+")
    return re.compile(f"^{re.sub(r'<([^<>|]*)' + PIPE + r'([^<>|]*)>', r'(?:' + GROUPS, pattern)}$", re.IGNORECASE)
