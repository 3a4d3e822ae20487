"""Sources that a text names: addresses, and whom it says it has something from."""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from domain.identifiers import bare_domain

_NAME_WORD = r"(?:(?<!\w)[A-Z0-9][\w&’'.-]{0,40}\w|(?<!\w)[A-Z])"
_NAME = rf"(?P<name>{_NAME_WORD}(?:\s(?:(?:of|for|and|&|the|de)\s)?{_NAME_WORD}){{0,5}})"
_WORK = (
    r"(?:study|survey|report|poll|research|analysis|white\s?paper|benchmark|index|data|figures|statistics|findings|paper|"
    r"article)"
)
_SAYS = (
    r"(?:found|finds|shows?|showed|reports?|reported|estimates?|estimated|says|said|states?|stated|notes?|noted|suggests?|"
    r"suggested|reveals?|revealed|predicts?|predicted|concludes?|concluded|surveyed|published|calculates?|calculated)"
)
_STUDY = r"(?:study|survey|report|poll|research|white\s?paper|benchmark)"
_ATTRIBUTIONS = (
    re.compile(rf"(?i:\baccording\sto)\s(?:(?:the|a|an|its|research\s(?:by|from))\s)?(?:\d{{4}}\s)?{_NAME}"),
    re.compile(rf"(?i:\b{_STUDY})\s(?:by|from|at|conducted\sby|published\sby|commissioned\sby)\s(?:the\s)?{_NAME}"),
    re.compile(rf"{_NAME}(?:['’]s)?\s(?:(?:own|recent|latest|annual|new)\s|\d{{4}}\s)*(?i:{_WORK})\s{_SAYS}\b"),
    re.compile(rf"(?:(?i:\banalysts|researchers|experts|economists|scientists)\s(?:at|from)\s)(?:the\s)?{_NAME}"),
    re.compile(
        rf"(?i:\bas)\s{_NAME}\s(?:reports?|reported|notes?|noted|puts\sit|points\sout|found|finds|estimates?)\b"
    ),
    re.compile(rf"(?i:\b(?:source:|sources:|cited\sin|reported\sby))\s(?:the\s)?{_NAME}"),
)
_ADDRESS = re.compile(r"\b(?:https?://|www\.)[^\s<>()\[\]\"'”’]+", re.IGNORECASE)
_NO_NAMES_TEXT = """
    The A An This That These Those It They We You I Our Your Their Its Some Many Most One Each Every All If When In On
    At For And But Or As January February March April May June July August September October November December Monday
    Tuesday Wednesday Thursday Friday Saturday Sunday
"""
_NO_NAMES = frozenset(_NO_NAMES_TEXT.split())


class NamedSource(NamedTuple):
    start: int
    end: int
    name: str


def named_sources(text: str) -> list[NamedSource]:
    """Whom the text says it has something from ("according to Gartner", "a study by MIT"), each span once."""
    found: dict[tuple[int, int], NamedSource] = {}
    for pattern in _ATTRIBUTIONS:
        for match in pattern.finditer(text):
            name, start = match["name"], match.start("name")
            while " " in name and (name.split(" ")[0] in _NO_NAMES or name.split(" ")[0].isdigit()):
                first = name.split(" ")[0]
                start, name = start + len(first) + 1, name[len(first) + 1 :]
            name = re.sub(r"['’]s$", "", name).rstrip(".,")
            if name and name not in _NO_NAMES and not name.isdigit():
                found.setdefault((start, start + len(name)), NamedSource(start, start + len(name), name))
    return _longest(sorted(found.values()))


def _longest(found: list[NamedSource]) -> list[NamedSource]:
    return [
        one
        for one in found
        if not any(other != one and other.start <= one.start and one.end <= other.end for other in found)
    ]


def is_known(name: str, sources: Sequence[str], names: Collection[str]) -> bool:
    """Whether a source's text or the name of a site or company carries the name: whole, its initials, or its first
    word where that tells."""
    texts = [*sources, *names]
    if any(_word_pattern(name).search(text) for text in texts):
        return True
    squashed = _squash(name)
    if len(squashed) > 2 and any(
        squashed in _squash(one) or _squash(one) in squashed for one in names if len(_squash(one)) > 2
    ):
        return True
    capitals = [word for word in re.findall(r"[A-Z][\w&-]*", name) if word not in _NO_NAMES]
    initials = "".join(word[0] for word in capitals)
    if len(initials) > 2 and any(re.search(rf"\b{re.escape(initials)}\b", text) for text in texts):
        return True
    return bool(capitals) and all(any(_word_pattern(word).search(text) for text in texts) for word in capitals)


def _word_pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)


def _squash(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def addresses(text: str) -> list[NamedSource]:
    return [
        NamedSource(match.start(), match.start() + len(match[0].rstrip(".,;:!?")), match[0].rstrip(".,;:!?"))
        for match in _ADDRESS.finditer(text)
    ]


def is_in_pool(address: str, pool: Collection[str]) -> bool:
    """Whether the pool has this page; scheme, ``www.``, fragment and a closing slash make no difference."""
    return address_key(address) in {address_key(one) for one in pool}


def address_key(address: str) -> str:
    plain = address if "//" in address else f"https://{address}"
    try:
        host = bare_domain(plain)
    except ValueError:
        return address
    rest = plain.split("//", 1)[1].partition("#")[0]
    path = rest[rest.find("/") :] if "/" in rest else ""
    return f"{host}{path.rstrip('/')}"
