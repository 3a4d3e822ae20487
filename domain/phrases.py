"""Phrases that may not stand in an article: the brief's own, and claims that nobody here can make."""

from domain.brief import Brief
from domain.text import phrase_pattern

# An article has no experience, makes no tests and checks no facts; nor does it talk about its making.
UNFOUNDED_PHRASES = (
    "as an AI",
    "as a language model",
    "facts verified",
    "fact-checked",
    "in our experience",
    "in my experience",
    "we tested",
    "we surveyed",
    "we interviewed",
    "our research shows",
    "our research found",
    "our own research",
    "our study",
    "our survey",
    "lorem ipsum",
    "[insert",
)


def refused_phrases(text: str, brief: Brief | None = None) -> list[str]:
    """Banned phrases the text uses, each once: those of the brief's voice first."""
    own = brief.voice.banned_phrases if brief else ()
    phrases = dict.fromkeys(phrase for phrase in (*own, *UNFOUNDED_PHRASES) if phrase.strip())
    return [phrase for phrase in phrases if phrase_pattern(phrase).search(text)]
