"""Other words for the same: light rewording of a retold sentence, so that it is no copy of its source.

Every group holds words that can stand for each other in any sentence, in the same form.
"""

import re
from collections.abc import Iterable, Mapping

from sandbox.answers.text import digest

_GROUPS = (
    "every each",
    "usually normally",
    "nearly almost",
    "begins starts",
    "quickly promptly",
    "finished completed",
    "hidden concealed",
    "large sizeable",
    "needs requires",
    "nobody no-one",
    "easy simple",
    "whole entire",
    "several various",
    "choose select",
    "chooses selects",
    "problems difficulties",
    "problem difficulty",
    "errors mistakes",
    "cannot can't",
    "don't do~not",
    "isn't is~not",
    "aren't are~not",
    "prevents avoids",
    "protects safeguards",
    "begun started",
    "helpful useful",
    "quietly silently",
    "finishes completes",
    "faults defects",
    "fault defect",
    "collects gathers",
    "collect gather",
    "rarely seldom",
    "roughly approximately",
    "costly expensive",
    "dangerous hazardous",
)


def _alternatives() -> Mapping[str, tuple[str, ...]]:
    groups = [tuple(word.replace("~", " ").replace("no-one", "no one") for word in group.split()) for group in _GROUPS]
    return {word: tuple(other for other in group if other != word) for group in groups for word in group}


_ALTERNATIVES = _alternatives()
_PATTERN = re.compile(
    rf"\b(?:{'|'.join(sorted(map(re.escape, _ALTERNATIVES), key=len, reverse=True))})\b", re.IGNORECASE
)
_ARTICLE = re.compile(r"\b(an?)\s+(\w)", re.IGNORECASE)


def reworded(text: str, *seed: object, keeping: Iterable[str] = ()) -> str:
    """The text with most of the words that have another one replaced by it; phrases in ``keeping`` stay as they are."""
    kept = [match.span() for phrase in keeping for match in re.finditer(re.escape(phrase), text, re.IGNORECASE)]

    def replace(match: re.Match[str]) -> str:
        is_kept = any(start < match.end() and match.start() < end for start, end in kept)
        if is_kept or digest(*seed, text, match.start()) % 4 == 0:
            return match[0]
        options = _ALTERNATIVES[match[0].lower()]
        chosen = options[digest(*seed, match[0]) % len(options)]
        return chosen[0].upper() + chosen[1:] if match[0][0].isupper() else chosen

    changed = _PATTERN.sub(replace, text)
    return changed if changed == text else _ARTICLE.sub(_agreeing, changed)


def _agreeing(match: re.Match[str]) -> str:
    """ "a" or "an" by the letter that follows: none of the words above, nor most others, sound otherwise."""
    article = "an" if match[2].lower() in "aeio" else "a" if match[2].lower() != "u" else match[1].lower()
    return f"{article.capitalize() if match[1][0].isupper() else article} {match[2]}"
