"""From the bytes of a web page to its visible text: decoded, without what a reader would not see, in passages."""

import re
import unicodedata
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, lookup
from dataclasses import dataclass

import charset_normalizer
import trafilatura
from selectolax.lexbor import LexborHTMLParser, LexborNode

PASSAGE_WORDS_MAX = 60
SENTENCE_WORDS_MAX = 90
PASSAGE_CHARACTERS_MAX = 700
HEADINGS_MAX = 60
TITLE_CHARACTERS_MAX = 300
TEXT_WORDS_MIN = 20

_META_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([a-zA-Z0-9_:.-]+)", re.IGNORECASE)
_BOMS = ((BOM_UTF8, "utf-8-sig"), (BOM_UTF16_LE, "utf-16"), (BOM_UTF16_BE, "utf-16"))
_WEB_ENCODINGS = (
    *("utf-8", "utf-16", "utf-32", "iso8859", "cp", "windows", "koi8", "mac", "tis-620", "gb", "hz", "big5"),
    *("euc", "iso2022", "shift", "johab"),
)
# Encodings whose bytes can look like valid UTF-8, so that the declaration has to be believed.
_DECLARED_FIRST = ("utf-16", "utf-32", "iso2022", "hz")
_NOT_TEXT = "script, style, noscript, template, svg, iframe, object, select, textarea, button, dialog"
_HIDDEN = "[hidden], [aria-hidden='true'], input[type='hidden']"
_CHROME = "nav, header, footer, aside, form, [role='navigation'], [role='banner'], [role='contentinfo']"
_BLOCKS = "h1, h2, h3, h4, h5, h6, p, li, dt, dd, blockquote, figcaption, caption, td, th, pre"
_INVISIBLE_STYLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)"
    r"|(?:opacity|font-size|max-height)\s*:\s*0(?:\.0+)?(?:px|em|rem|%)?\s*(?:;|!|$)|text-indent\s*:\s*-\d{3,}",
    re.IGNORECASE,
)
_CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_CSS_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_CSS_AT_BLOCK = re.compile(r"@[^{};]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")
_SIMPLE_SELECTOR = re.compile(r"[a-z]*[.#][A-Za-z0-9_-]+")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s+[\"'“‘(\[]?[^\W_a-zß-ÿ])|[。！？]+[”’」』]*")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|Inc|Ltd|Co|Corp|Mr|Mrs|Ms|Dr|Prof|St|No|approx|[A-Z]))\.$")
_CLAUSE_END = re.compile(r"(?<=[,;:–—])\s+")


@dataclass(frozen=True)
class PageText:
    """``canonical_url`` is as the page states it: unchecked, perhaps relative."""

    title: str
    headings: tuple[str, ...]
    passages: tuple[str, ...]
    content_text: str
    canonical_url: str | None
    links: tuple[str, ...]


def decode_html(body: bytes, declared: str | None) -> str:
    """Text of a page. ``declared`` is the charset of its Content-Type header; a wrong declaration is seen through."""
    for bom, encoding in _BOMS:
        if body.startswith(bom):
            return body.decode(encoding, errors="replace")
    stated = [name for name in (_codec(declared), _codec(_meta_charset(body))) if name]
    first = [name for name in stated if name.startswith(_DECLARED_FIRST)]
    for encoding in (*first, "utf-8", *stated):
        try:
            return body.decode(encoding)
        except UnicodeDecodeError:
            continue
    guessed = charset_normalizer.from_bytes(body[:200_000]).best()
    return body.decode(guessed.encoding if guessed else "utf-8", errors="replace")


def _meta_charset(body: bytes) -> str | None:
    found = _META_CHARSET.search(body[:4096])
    return found[1].decode("ascii") if found else None


def _codec(name: str | None) -> str | None:
    """Python's name of an encoding as browsers read it: Latin-1 and ASCII mean Windows-1252 to them. What Python
    calls a codec but is no encoding of pages (``base64``) is none."""
    try:
        codec = lookup((name or "").strip().strip("\"'")).name
    except LookupError:
        return None
    if codec in ("iso8859-1", "ascii"):
        return "cp1252"
    return codec if codec.startswith(_WEB_ENCODINGS) else None


def page_text(html: str, url: str) -> PageText:
    """What a reader of the page sees. ``links`` are those of its visible anchors, in order."""
    document = LexborHTMLParser(html)
    _remove_invisible(document)
    headings = _headings(document)
    content = _main_text(document, url)
    return PageText(
        title=_title(document, headings),
        headings=headings,
        passages=passages_of(content, skipping=frozenset(headings)),
        content_text=content,
        canonical_url=_attribute(document, "link[rel='canonical']", "href"),
        links=tuple(link.attributes.get("href") or "" for link in document.css("a[href]")),
    )


def _remove_invisible(document: LexborHTMLParser) -> None:
    hidden_selectors = _hidden_by_style_sheet(document)
    for selector in (_NOT_TEXT, _HIDDEN, *hidden_selectors):
        _remove(document.css(selector))
    _remove([node for node in document.css("[style]") if _INVISIBLE_STYLE.search(node.attributes.get("style") or "")])


def _remove(nodes: list[LexborNode]) -> None:
    for node in nodes:
        if node.tag not in ("html", "body"):
            node.decompose()


def _hidden_by_style_sheet(document: LexborHTMLParser) -> list[str]:
    """Plain class and id selectors that the page's own style sheets hide; rules for other media don't count."""
    selectors: list[str] = []
    for sheet in document.css("style"):
        css = _CSS_AT_BLOCK.sub("", _CSS_COMMENT.sub("", sheet.text(deep=True)))
        for names, declarations in _CSS_RULE.findall(css):
            if _INVISIBLE_STYLE.search(declarations):
                selectors += [name.strip() for name in names.split(",") if _SIMPLE_SELECTOR.fullmatch(name.strip())]
    return selectors


def _title(document: LexborHTMLParser, headings: tuple[str, ...]) -> str:
    node = document.css_first("head title")
    stated = clean_text(node.text(deep=True)) if node else ""
    title = stated or clean_text(_attribute(document, "meta[property='og:title']", "content") or "")
    return (title or (headings[0] if headings else ""))[:TITLE_CHARACTERS_MAX]


def _attribute(document: LexborHTMLParser, selector: str, name: str) -> str | None:
    node = document.css_first(selector)
    return node.attributes.get(name) if node else None


def _headings(document: LexborHTMLParser) -> tuple[str, ...]:
    texts = (_text_of(node)[:TITLE_CHARACTERS_MAX] for node in document.css("h1, h2, h3"))
    return tuple(dict.fromkeys(text for text in texts if text))[:HEADINGS_MAX]


def _text_of(node: LexborNode) -> str:
    return clean_text(node.text(deep=True, separator=" "))


def _main_text(document: LexborHTMLParser, url: str) -> str:
    """The main text by trafilatura; by blocks of the page where it finds too little to be the whole."""
    by_blocks = _text_by_blocks(document)
    extracted = trafilatura.extract(
        document.html or "", url=url, include_comments=False, include_tables=True, favor_recall=True
    )
    lines = [clean_text(line.strip().strip("|").lstrip("-•")) for line in (extracted or "").splitlines()]
    main = "\n".join(line for line in lines if line)
    return main if _words(main) * 2 >= _words(by_blocks) else by_blocks


def _text_by_blocks(document: LexborHTMLParser) -> str:
    copy = LexborHTMLParser(document.html or "")
    _remove(copy.css(_CHROME))
    blocks = [node for node in copy.css(_BLOCKS) if node.css_first("p, li, dd, td, blockquote") in (None, node)]
    lines = dict.fromkeys(_text_of(block) for block in blocks)
    text = "\n".join(line for line in lines if line)
    if _words(text) >= TEXT_WORDS_MIN or copy.body is None:
        return text
    return clean_text(copy.body.text(deep=True, separator=" "))


def clean_text(text: str) -> str:
    """Whitespace normalised; characters that nobody sees (zero-width, tags, direction, controls) left out."""
    visible = (character for character in unicodedata.normalize("NFC", text) if _is_visible(character))
    return " ".join("".join(visible).split())


def _is_visible(character: str) -> bool:
    if character.isspace():
        return True
    if 0xFE00 <= ord(character) <= 0xFE0F or 0xE0100 <= ord(character) <= 0xE01EF:
        return False
    return unicodedata.category(character) not in ("Cf", "Cc", "Co", "Cs", "Cn")


def passages_of(content: str, *, skipping: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The content's sentences in order, gathered into passages of at most about 60 words; lines in ``skipping``
    (the headings) are left out. A sentence is cut only when it is longer than 90 words."""
    passages: list[str] = []
    current = ""
    for line in content.splitlines():
        if line in skipping:
            passages, current = [*passages, current], ""
            continue
        for sentence in _sentences(line):
            joined = _joined(current, sentence)
            if current and (_words(joined) > PASSAGE_WORDS_MAX or len(joined) > PASSAGE_CHARACTERS_MAX):
                passages, joined = [*passages, current], sentence
            current = joined
    return tuple(passage for passage in [*passages, current] if _words(passage) > 2 or len(passage) > 40)


def _joined(text: str, sentence: str) -> str:
    if not text:
        return sentence
    return f"{text} {sentence}" if text[-1] in '.!?…:;,。！？"”’)' else f"{text}; {sentence}"


def _sentences(line: str) -> list[str]:
    sentences: list[str] = []
    ends = [found.end() for found in _SENTENCE_END.finditer(line)]
    for start, end in zip([0, *ends], [*ends, len(line)], strict=True):
        part = line[start:end].strip()
        if sentences and _ABBREVIATION.search(sentences[-1]):
            sentences[-1] = f"{sentences[-1]} {part}"
        elif part:
            sentences.append(part)
    return [part for sentence in sentences for part in _bounded(sentence)]


def _bounded(sentence: str) -> list[str]:
    if _words(sentence) <= SENTENCE_WORDS_MAX and len(sentence) <= PASSAGE_CHARACTERS_MAX:
        return [sentence]
    parts: list[str] = []
    for clause in _CLAUSE_END.split(sentence):
        joined = f"{parts[-1]} {clause}" if parts else clause
        if parts and _words(joined) <= PASSAGE_WORDS_MAX and len(joined) <= PASSAGE_CHARACTERS_MAX:
            parts[-1] = joined
        else:
            parts += _cut(clause)
    return parts


def _cut(clause: str) -> list[str]:
    """By words where there are any (within 60), else by characters."""
    parts: list[str] = []
    words = [word[at : at + PASSAGE_CHARACTERS_MAX] for word in clause.split() for at in range(0, len(word), 700)]
    for word in words:
        joined = f"{parts[-1]} {word}" if parts else word
        if parts and _words(joined) <= PASSAGE_WORDS_MAX and len(joined) <= PASSAGE_CHARACTERS_MAX:
            parts[-1] = joined
        else:
            parts.append(word)
    return parts


def _words(text: str) -> int:
    return len(text.split())
