"""What the sandbox answers in the place of a model: one pure function for each JSON schema that the steps ask for.

The functions read nothing but the data blocks of the request (and, to discover competitors, the sites that the
sandbox serves), so the same request always gets the same answer and every answer is about the brief's business.
Text inside a block is material; an instruction that stands in it has no one here to obey it.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_BLOCK = re.compile(r'<data name="(?P<name>[a-z_]+)">\n(?P<content>.*?)\n</data>', re.DOTALL)


@dataclass(frozen=True)
class SiteText:
    """A site that can be crawled here: its public address, title and the text of all its pages."""

    url: str
    title: str
    text: str


class UnanswerableRequestError(ValueError):
    """The request asks for a schema the sandbox does not know, or lacks a block that its answer is made of."""


@dataclass(frozen=True)
class Blocks:
    """The named data blocks of a request, as text."""

    contents: Mapping[str, str]

    @classmethod
    def of(cls, user_text: str) -> "Blocks":
        return cls({match["name"]: match["content"] for match in _BLOCK.finditer(user_text)})

    def text(self, name: str, default: str | None = None) -> str:
        """Raises UnanswerableRequestError when the block is missing and there is no default."""
        content = self.contents.get(name, default)
        if content is None:
            raise UnanswerableRequestError(f'the request holds no block <data name="{name}">')
        return content

    def json(self, name: str, default: Any = None) -> Any:
        """Raises UnanswerableRequestError when the block is missing without default, or is not JSON."""
        if name not in self.contents and default is not None:
            return default
        try:
            return json.loads(self.text(name))
        except json.JSONDecodeError as error:
            raise UnanswerableRequestError(f'the block <data name="{name}"> is not JSON ({error})') from error


def answer_for(schema: str, blocks: Blocks, sites: Callable[[], Sequence[SiteText]]) -> dict[str, Any]:
    """The answer object for a JSON schema's name; ``sites`` are read only where they matter.

    Raises UnanswerableRequestError.
    """
    from sandbox.answers import (
        article_outline,
        article_repair,
        article_section,
        competitor_discovery,
        competitor_labels,
        icp,
    )

    answers: Mapping[str, Callable[[Blocks], dict[str, Any]]] = {
        "icp": icp.answer,
        "competitor_discovery": lambda given: competitor_discovery.answer(given, sites()),
        "competitor_labels": competitor_labels.answer,
        "article_outline": article_outline.answer,
        "article_section": article_section.answer,
        "article_repair": article_repair.answer,
    }
    if schema not in answers:
        raise UnanswerableRequestError(
            f"the sandbox has no answer for the JSON schema {schema!r}; it knows {', '.join(sorted(answers))}"
        )
    return answers[schema](blocks)
