"""Sentences of source passages that can be told again in an article, with their source named."""

import re
from collections.abc import Sequence

from sandbox.answers.lexicon import DETERMINERS, VERBS, word_set
from sandbox.answers.text import Passage, content_stems, digest, is_unwelcome, sentences, word_count

_WORDS_MIN, _WORDS_MAX = 5, 16
_UNFIT = re.compile(
    r"[\d\"“”‘«»:;?!()\[\]<>–—]|\b(we|our|ours|us|i|my|me|you|your|this|these|those|such|here|there|both)\b",
    re.IGNORECASE,
)
_POINTS_BACK = re.compile(
    r"^that\b|^(?:\w+\s+){0,2}(it|they|them|its|their|he|she|his|her|both|each|another|other|others|rest|then|also|instead|so|"
    r"but|and|or|none|neither|same|latter|former)\b",
    re.IGNORECASE,
)
_PRONOUN_ALONE = re.compile(r"^[^,]*\b(it|they|them|its|their)\b[^,]*$", re.IGNORECASE)
_CONTINUES = re.compile(
    r"\b(therefore|however|thus|hence|nevertheless|that (?:person|note|day|figure|point|list|rest|step|message|form|"
    r"way|time|case|one|record|report|date|amount|order|supplier))\b",
    re.IGNORECASE,
)
_IS_AN_ANSWER = re.compile(r"^(?:yes|no|never|sure|sometimes|of course)\b\s*[,.]", re.IGNORECASE)
_AUXILIARIES = frozenset(
    {"is", "are", "was", "were", "can", "may", "must", "should", "will", "has", "have", "do", "does"}
)
_BULLET = re.compile(r"^\W+")
_NAMES = word_set("monday tuesday wednesday thursday friday saturday sunday january february march april june july "
                  "august september october november december")  # fmt: skip


def claims_of(passage: Passage, *, names: Sequence[str]) -> list[str]:
    """Statements and advice of 5 to 16 words that stand on their own, without full stop and, where the first word is
    no name, with a small letter. No numbers, no quotations, none that names one of ``names``."""
    found = [_BULLET.sub("", sentence) for sentence in sentences(passage.text)]
    return [_embedded(sentence) for sentence in found if stands_alone(sentence, names)]


def is_statement(claim: str) -> bool:
    """Whether it can stand after "that": it begins as a noun phrase does, not with an imperative."""
    first, *rest = claim.lower().split()
    if first in VERBS:
        return False
    return first in DETERMINERS or (first.endswith("s") and bool(rest)) or first.endswith(("ing", "ion", "ment", "ity"))


def section_of(passage: Passage, headings: Sequence[str]) -> int:
    """The place of the one heading that may retell the passage: near to it, with some chance, so that none is left
    without. Outline and sections agree on it without knowing of each other."""
    present = set(content_stems(passage.text))

    def nearness(place: int) -> float:
        shared = len(present & set(content_stems(headings[place])))
        return min(shared, 2) + 2 * (digest(passage.text, headings[place]) % 1000) / 1000

    return max(range(len(headings)), key=nearness, default=0)


def stands_alone(sentence: str, names: Sequence[str]) -> bool:
    """A whole sentence of 5 to 16 words that needs none before it, without numbers and names."""
    lower = sentence.lower()
    return (
        sentence.endswith(".")
        and sentence[0].isalpha()
        and _WORDS_MIN <= word_count(sentence) <= _WORDS_MAX
        and not _UNFIT.search(sentence.rstrip("."))
        and not _POINTS_BACK.match(sentence)
        and not _IS_AN_ANSWER.match(sentence)
        and has_verb(sentence)
        and not _PRONOUN_ALONE.match(sentence)
        and not _CONTINUES.search(sentence)
        and not is_unwelcome(sentence)
        and not any(name and name in lower for name in names)
        and not any(word in _NAMES for word in lower.rstrip(".").split())
    )


def has_verb(sentence: str) -> bool:
    """Whether it is a whole sentence, as far as a list of verbs and the ending of a third person tell."""
    tokens = [token.strip(".,").lower() for token in sentence.split()]
    return any(token in VERBS or token in _AUXILIARIES for token in tokens)


def _embedded(sentence: str) -> str:
    sentence = sentence.rstrip(".")
    first = sentence.split()[0]
    return sentence if first.isupper() and len(first) > 1 else sentence[0].lower() + sentence[1:]
