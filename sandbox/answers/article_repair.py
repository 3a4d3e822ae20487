"""A section again, without the problems that are named.

Sentences that hold a quoted passage of a problem go (a number or quotation without source, a banned phrase, a keyword
said too often), terms that are missed get a sentence, and a section that is too like another article is written anew
in other words. What a sentence takes away, another one makes up for.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sandbox.answers import Blocks
from sandbox.answers.text import contains_phrase, digest, sentences, word_count
from sandbox.answers.writer import SectionTask, SectionWriter, block_words, paragraph_blocks

_QUOTED = re.compile(r"“([^“”]*)”|\"([^\"]*)\"")
_MISSED = re.compile(r"\b(?:terms?|cover\w*|missing|write about)\b", re.IGNORECASE)
_TOO_ALIKE = re.compile(r"\b(?:too like|near[- ]duplicate|repeats|too similar|shingles?|same as)\b", re.IGNORECASE)
_TOO_DENSE = re.compile(r"\b(?:times|density|too often|say it once)\b", re.IGNORECASE)
_LONG_PARAGRAPH_WORDS = 140


@dataclass(frozen=True)
class _Wishes:
    """What the problems ask for: texts to lose, terms to add, the keyword once only, other words throughout."""

    lose: tuple[str, ...]
    add: tuple[str, ...]
    is_dense: bool
    is_alike: bool


def answer(blocks: Blocks) -> dict[str, Any]:
    problems = [str(problem) for problem in blocks.json("problems")]
    draft = [block for block in blocks.json("draft", []) if isinstance(block, dict)]
    task = SectionTask.of(blocks)
    wishes = _wishes(problems, task.facts.keyword)
    task = replace(task, variant=f"repair {digest(*problems)}", avoid=_text_of(draft), says_keyword=not wishes.is_dense)
    if wishes.is_alike or not draft:
        terms = dict.fromkeys([*task.facts.terms, *wishes.add])
        return {"blocks": SectionWriter(task.with_terms(list(terms))).write()}
    return {"blocks": _mended(draft, task, wishes)}


def _wishes(problems: Sequence[str], keyword: str) -> _Wishes:
    lose: list[str] = []
    add: list[str] = []
    for problem in problems:
        quoted = [text.strip() for pair in _QUOTED.findall(problem) for text in pair if text.strip()]
        if _TOO_ALIKE.search(problem):
            continue
        if _MISSED.search(problem) and not _TOO_DENSE.search(problem):
            add += quoted
        else:
            lose += [text for text in quoted if text.lower() != keyword.lower()]
    return _Wishes(
        lose=tuple(lose),
        add=tuple(add),
        is_dense=any(_TOO_DENSE.search(problem) and contains_phrase(problem, keyword) for problem in problems),
        is_alike=any(_TOO_ALIKE.search(problem) for problem in problems),
    )


def _mended(draft: Sequence[dict[str, Any]], task: SectionTask, wishes: _Wishes) -> list[dict[str, Any]]:
    known = {passage.number for passage in task.facts.passages}
    spared = task.facts.keyword if wishes.is_dense else ""
    kept: list[dict[str, Any]] = []
    for block in draft:
        text = " ".join(_kept(sentences(str(block.get("text") or "")), wishes.lose, task, spared, kept))
        items = _kept(map(str, block.get("items") or []), wishes.lose, task, spared, kept)
        cited = [number for number in block.get("passages") or [] if number in known]
        if text or items:
            kept.append({"kind": block.get("kind", "paragraph"), "text": text, "items": items, "passages": cited})
    words_lost = sum(map(block_words, draft)) - sum(map(block_words, kept))
    if words_lost > 0 or wishes.add:
        writer = SectionWriter(task.with_terms(wishes.add))
        kept += paragraph_blocks(writer.sentences(words_lost, has_lead=False))
    return [piece for block in kept for piece in _shortened(block)]


def _kept(
    texts: Iterable[str], lose: Sequence[str], task: SectionTask, spared: str, earlier: Sequence[dict[str, Any]]
) -> list[str]:
    """Texts without those that hold what has to go; of those with the ``spared`` keyword only the section's first."""
    kept: list[str] = []
    for text in texts:
        is_repeated = (
            bool(spared)
            and contains_phrase(text, spared)
            and contains_phrase(f"{_text_of(earlier)} {' '.join(kept)}", spared)
        )
        if not is_repeated and not task.facts.is_banned(text) and not any(_holds(text, part) for part in lose):
            kept.append(text)
    return kept


def _holds(text: str, part: str) -> bool:
    return part.casefold() in text.casefold()


def _shortened(block: dict[str, Any]) -> list[dict[str, Any]]:
    """A paragraph that is too long becomes two that cite the same."""
    parts = sentences(str(block["text"]))
    if block["kind"] != "paragraph" or word_count(str(block["text"])) <= _LONG_PARAGRAPH_WORDS or len(parts) < 2:
        return [block]
    middle = len(parts) // 2
    return [{**block, "text": " ".join(half)} for half in (parts[:middle], parts[middle:])]


def _text_of(blocks: Sequence[dict[str, Any]]) -> str:
    texts = [str(text) for block in blocks for text in (block.get("text") or "", *(block.get("items") or []))]
    return "\n".join(texts)
