"""Turning a frame of the grammar into a sentence.

A frame holds choices ``[one|another]``, slots ``{name}`` and verbs that agree with the slot before them
``<is|are>``. Every choice is made from the seed, so two articles that share a frame seldom share its words.
"""

import re
from collections.abc import Mapping

from sandbox.answers.text import digest, is_plural, starts_upper

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_PART = re.compile(r"\{(?P<slot>\w+)\}|<(?P<one>[^<>|]*)\|(?P<many>[^<>|]*)>")
_SLOT = re.compile(r"\{(\w+)\}")


def slots_of(frame: str) -> list[str]:
    return _SLOT.findall(frame)


def choices_made(frame: str, *seed: object) -> str:
    """The frame without choices, innermost first; a slot may stand inside a choice."""
    place = 0
    while (match := _CHOICE.search(frame)) is not None:
        options = match[1].split("|")
        chosen = options[digest(*seed, place, match[1]) % len(options)]
        frame = f"{frame[: match.start()]}{chosen}{frame[match.end() :]}"
        place += 1
    return frame


def first_choices(frame: str) -> str:
    """The frame as it reads best: each choice's first option."""
    while (match := _CHOICE.search(frame)) is not None:
        frame = f"{frame[: match.start()]}{match[1].partition('|')[0]}{frame[match.end() :]}"
    return frame


def filled(frame: str, values: Mapping[str, str]) -> str:
    """A frame without choices, with its slots filled and its verbs in agreement. Raises KeyError for a slot without
    a value."""
    plural = False

    def replace(match: re.Match[str]) -> str:
        nonlocal plural
        if match["slot"] is None:
            return match["many"] if plural else match["one"]
        value = values[match["slot"]]
        plural = is_plural(value)
        return value

    return " ".join(_PART.sub(replace, frame).split())


def as_sentence(text: str) -> str:
    text = starts_upper(text.strip())
    return text if text.endswith((".", "?")) else f"{text}."
