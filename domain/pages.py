"""What was read of a web page: the sources that everything later has to stand on."""

from domain.money import Frozen

# Fillers and joiners that Unicode calls letters, marks or symbols, and nobody sees.
BLANK_CHARACTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")


class Page(Frozen):
    """``passages`` are the page's text in order, each at most about 60 words; ``content_text`` all of it."""

    url: str
    title: str
    headings: tuple[str, ...]
    passages: tuple[str, ...]
    content_text: str
    is_own_site: bool = False


class SkippedPage(Frozen):
    """A page that was tried and left out, or not read whole; ``reason`` says in one line why."""

    url: str
    reason: str


class SiteRead(Frozen):
    """``failure`` says in one line why nothing (or not all) could be read; ``pages`` is empty then."""

    site: str
    pages: tuple[Page, ...] = ()
    failure: str | None = None
    skipped: tuple[SkippedPage, ...] = ()


class KeptAnswer(Frozen):
    """What an address answered, kept so that it is not asked again, or asked under a condition only.

    ``location`` is where it redirects to. ``fresh_seconds`` is how long after its fetching it needs not be asked again,
    ``age_seconds`` how long ago that is by the clock of whoever keeps it.
    """

    url: str
    status: int
    location: str | None = None
    content_type: str = ""
    charset: str | None = None
    body: bytes = b""
    etag: str | None = None
    last_modified: str | None = None
    fresh_seconds: float = 0
    age_seconds: float = 0

    @property
    def is_fresh(self) -> bool:
        return self.age_seconds < self.fresh_seconds


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
