"""Pages that a search model names beside its answer, and how they become sources.

Dialects: ``annotations`` of type url_citation in the message (OpenAI, OpenRouter), ``citations`` (addresses) and
``search_results`` (objects with a url) beside the choices (Perplexity).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from domain.grounding import claim_spans, prepared, support, ungrounded
from domain.grounding.references import address_key
from domain.money import Frozen
from domain.pages import Passage

CITED_PER_ANSWER_MAX = 6
CITED_PER_ARTICLE_MAX = 30
URL_CHARACTERS_MAX = 2_000
FIRST_CITED_PASSAGE = 100_001
PASSAGES_PER_CITED_PAGE_MAX = 60
CITED_PER_BLOCK_MAX = 3


class CitedPage(Frozen):
    """A cited page as it was read. ``url`` is the address that answered; ``passages`` is empty when ``failure`` says
    why it could not be read; ``position`` counts an article's cited pages from 0."""

    position: int
    cited_url: str
    url: str
    title: str
    passages: tuple[str, ...]
    failure: str | None = None


def is_search_model(model: str) -> bool:
    """Whether a model searches the web before it answers, so that its answers may cite pages."""
    name = model.lower()
    return name.startswith("perplexity/") or name.startswith("sonar") or "search" in name or name.endswith(":online")


def cited_urls(answer_body: str) -> tuple[str, ...]:
    """Web addresses that an answer cites, each page once, in order; nothing for a body that can't be read."""
    try:
        answer = json.loads(answer_body)
    except (ValueError, RecursionError):
        return ()
    found: dict[str, str] = {}
    for url in _urls(answer) if isinstance(answer, Mapping) else ():
        if _is_web_address(url):
            found.setdefault(address_key(url), url.strip())
    return tuple(found.values())[:CITED_PER_ANSWER_MAX]


def _urls(answer: Mapping[str, Any]) -> list[Any]:
    choices = _items(answer.get("choices"))
    messages = [choice.get("message") for choice in choices if isinstance(choice, Mapping)]
    named = [one for message in messages if isinstance(message, Mapping) for one in _items(message.get("annotations"))]
    named += [one for message in messages if isinstance(message, Mapping) for one in _items(message.get("citations"))]
    named += [*_items(answer.get("citations")), *_items(answer.get("search_results"))]
    return [_url_of(one) for one in named]


def _url_of(citation: Any) -> Any:
    if not isinstance(citation, Mapping):
        return citation
    inner = citation.get("url_citation")
    return inner.get("url") if isinstance(inner, Mapping) else citation.get("url")


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_web_address(url: Any) -> bool:
    """One that can be fetched and stored: no NUL, no control character, no lone surrogate."""
    if not isinstance(url, str) or len(url) > URL_CHARACTERS_MAX or not url.strip().isprintable():
        return False
    try:
        parts = urlsplit(url.strip())
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def cited_passages(pages: Sequence[CitedPage]) -> tuple[Passage, ...]:
    """Passages of the pages that could be read, with numbers of their own beside those that were crawled."""
    return tuple(
        Passage(
            number=FIRST_CITED_PASSAGE + page.position * PASSAGES_PER_CITED_PAGE_MAX + place, url=page.url, text=text
        )
        for page in pages
        for place, text in enumerate(page.passages[:PASSAGES_PER_CITED_PAGE_MAX])
    )


def carrying_passages(texts: Sequence[str], sources: Sequence[str], cited: Sequence[Passage]) -> tuple[int, ...]:
    """Numbers of the cited pages' passages that carry what ``sources`` (the texts of a block's own passages) don't."""
    if not cited:
        return ()
    best = (_best(text[start:end], cited) for text in texts for start, end in _sentences_without_source(text, sources))
    return tuple(dict.fromkeys(number for number in best if number is not None))[:CITED_PER_BLOCK_MAX]


def _sentences_without_source(text: str, sources: Sequence[str]) -> list[tuple[int, int]]:
    failing = ungrounded(text, sources)
    source = prepared(tuple(sources))
    return [
        (start, end)
        for start, end in claim_spans(text)
        if any(claim.start < end and claim.end > start for claim in failing)
        or not support(text[start:end], source).is_supported
    ]


def _best(sentence: str, cited: Sequence[Passage]) -> int | None:
    """The passage that supports the sentence best and carries its numbers and quotations; None when none does."""
    scored = [(support(sentence, prepared((passage.text,))), passage) for passage in cited]
    carrying = [
        (one.score, -passage.number)
        for one, passage in scored
        if one.is_supported and not ungrounded(sentence, [passage.text])
    ]
    return -max(carrying)[1] if carrying else None
