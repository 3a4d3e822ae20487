"""What was read of a web page: the sources that everything later has to stand on."""

from domain.money import Frozen


class Page(Frozen):
    """``passages`` are the page's text in order, each at most about 60 words; ``content_text`` all of it."""

    url: str
    title: str
    headings: tuple[str, ...]
    passages: tuple[str, ...]
    content_text: str
    is_own_site: bool = False


class SiteRead(Frozen):
    """``failure`` says in one line why nothing (or not all) could be read; ``pages`` is empty then."""

    site: str
    pages: tuple[Page, ...] = ()
    failure: str | None = None


class Passage(Frozen):
    """A numbered passage as prompts cite it; numbers start at 1."""

    number: int
    url: str
    text: str


def numbered_passages(pages: list[Page], *, characters_max: int) -> tuple[Passage, ...]:
    """Passages of the pages in order, numbered from 1, cut where the sum of characters would pass the bound."""
    passages: list[Passage] = []
    characters = 0
    for page in pages:
        for text in page.passages:
            characters += len(text)
            if characters > characters_max:
                return tuple(passages)
            passages.append(Passage(number=len(passages) + 1, url=page.url, text=text))
    return tuple(passages)
