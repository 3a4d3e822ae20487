"""From the bytes of a web page to its visible text: decoded, without what a reader would not see, in passages."""

import re
import unicodedata
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, lookup
from dataclasses import dataclass

import charset_normalizer
import trafilatura
from selectolax.lexbor import LexborHTMLParser, LexborNode

from domain.pages import BLANK_CHARACTERS
from providers.page_visibility import remove, remove_invisible

PASSAGE_WORDS_MAX = 60
SENTENCE_WORDS_MAX = 90
PASSAGE_CHARACTERS_MAX = 700
HEADINGS_MAX = 60
TITLE_CHARACTERS_MAX = 300
TEXT_WORDS_MIN = 20
BLOCKS_MAX = 20_000
DEPTH_MAX = 1_000
TAGS_MAX = 100_000

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9-]{0,30})")
# Elements without an end, or that end where the next one begins.
_CLOSED_BY_OTHERS_TEXT = """
    area base br col embed hr img input link meta param source track wbr p li dt dd td th tr thead tbody tfoot option
    optgroup rp rt colgroup caption html head body path rect circle line polygon use stop image
"""
_CLOSED_BY_OTHERS = frozenset(_CLOSED_BY_OTHERS_TEXT.split())

_META_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([a-zA-Z0-9_:.-]+)", re.IGNORECASE)
_BOMS = ((BOM_UTF8, "utf-8-sig"), (BOM_UTF16_LE, "utf-16"), (BOM_UTF16_BE, "utf-16"))
_WEB_ENCODINGS = (
    *("utf-8", "utf-16", "utf-32", "iso8859", "cp", "windows", "koi8", "mac", "tis-620", "gb", "hz", "big5"),
    *("euc", "iso2022", "shift", "johab"),
)
# Encodings whose bytes can look like valid UTF-8, so that the declaration has to be believed.
_DECLARED_FIRST = ("iso2022", "hz")
_WIDE = ("utf-16", "utf-32")
GUESSED_BYTES_MAX = 100_000
# Labels that browsers know and Python does not; and the larger encoding that browsers read a smaller one as.
_LABELS_OF_BROWSERS = {
    "x-cp1252": "cp1252", "x-cp1251": "cp1251", "x-cp1250": "cp1250", "x-sjis": "cp932", "windows-31j": "cp932",
    "x-gbk": "gbk", "x-euc-jp": "euc_jp", "x-mac-roman": "mac_roman", "x-mac-cyrillic": "mac_cyrillic",
    "iso-8859-8-i": "iso8859_8", "iso-8859-8-e": "iso8859_8", "unicode-1-1-utf-8": "utf-8", "x-unicode20utf8": "utf-8",
    "ks_c_5601-1987": "cp949", "windows-949": "cp949", "dos-874": "cp874", "logical": "iso8859_8",
}  # fmt: skip
_READ_AS = {
    "iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030", "gbk": "gb18030",
    "shift_jis": "cp932", "euc_kr": "cp949", "tis-620": "cp874", "iso8859-11": "cp874", "big5": "big5hkscs",
}  # fmt: skip
_CHROME = "nav, header, footer, aside, form, [role='navigation'], [role='banner'], [role='contentinfo']"
_BLOCKS = "h1, h2, h3, h4, h5, h6, p, li, dt, dd, blockquote, figcaption, caption, td, th, pre"
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
    has_scripts: bool = False


def decode_html(body: bytes, declared: str | None) -> str:
    """Text of a page. ``declared`` is the charset of its Content-Type header; a wrong declaration is seen through."""
    for bom, encoding in _BOMS:
        if body.startswith(bom):
            return body.decode(encoding, errors="replace")
    wide = _wide_encoding(body)
    if wide is not None:
        return body.decode(wide, errors="replace")
    stated = [name for name in (_codec(declared), _codec(_meta_charset(body))) if name and not name.startswith(_WIDE)]
    first = [name for name in stated if name.startswith(_DECLARED_FIRST)]
    for encoding in (*first, "utf-8", *stated):
        try:
            return body.decode(encoding)
        except UnicodeDecodeError:
            continue
    if _is_cut_utf8(body):
        return body.decode("utf-8", errors="ignore")
    guessed = charset_normalizer.from_bytes(body[:GUESSED_BYTES_MAX]).best()
    return body.decode(guessed.encoding if guessed else "utf-8", errors="replace")


def _wide_encoding(body: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark, by where its zero bytes are; no declaration is believed."""
    start = body[:400]
    if len(start) < 8 or start.count(0) * 4 < len(start):
        return None
    zeros = [start[position::4].count(0) * 4 > len(start) // 2 for position in range(4)]
    return {
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
    }.get((zeros[0], zeros[1], zeros[2], zeros[3]))


def _is_cut_utf8(body: bytes) -> bool:
    """UTF-8 whose last character lost its end, or with a stray byte or two among many good characters."""
    text = body.decode("utf-8", errors="replace")
    return text.count("\ufffd") * 200 < sum(character > "\x7f" for character in text)


def _meta_charset(body: bytes) -> str | None:
    found = _META_CHARSET.search(body[:4096])
    return found[1].decode("ascii") if found else None


def _codec(name: str | None) -> str | None:
    """Python's name of an encoding as browsers read it: Latin-1 and ASCII mean Windows-1252 to them. What Python
    calls a codec but is no encoding of pages (``base64``) is none."""
    label = (name or "").strip().strip("\"'").lower()
    try:
        codec = lookup(_LABELS_OF_BROWSERS.get(label, label)).name
    except (LookupError, ValueError):
        return None
    codec = _READ_AS.get(codec, codec)
    return codec if codec.startswith(_WEB_ENCODINGS) else None


class UnreadableMarkupError(ValueError):
    """``str(error)`` says in a few words what is wrong with the markup."""


def page_text(html: str, url: str) -> PageText:
    """What a reader of the page sees. ``links`` are those of its visible anchors, in order.

    Raises UnreadableMarkupError for markup made to keep a parser busy.
    """
    _check_size(html)
    document = LexborHTMLParser(html)
    draws_by_script = len(document.css("script")) > 0
    remove_invisible(document)
    headings = _headings(document)
    content = _main_text(document, url)
    return PageText(
        title=_title(document, headings),
        headings=headings,
        passages=passages_of(content, skipping=frozenset(headings)),
        content_text=content,
        canonical_url=_attribute(document, "link[rel='canonical']", "href"),
        links=tuple(link.attributes.get("href") or "" for link in document.css("a[href]")),
        has_scripts=draws_by_script,
    )


def _check_size(html: str) -> None:
    """Parsers take the square of the depth: minutes for a page of nothing but open tags."""
    depth = 0
    for count, found in enumerate(_TAG.finditer(html)):
        if count > TAGS_MAX:
            raise UnreadableMarkupError(f"it has more than {TAGS_MAX} tags")
        if found[2].lower() in _CLOSED_BY_OTHERS:
            continue
        depth = max(0, depth - 1) if found[1] else depth + 1
        if depth > DEPTH_MAX:
            raise UnreadableMarkupError(f"its elements are nested more than {DEPTH_MAX} deep")


def _title(document: LexborHTMLParser, headings: tuple[str, ...]) -> str:
    node = document.css_first("head title")
    title = clean_text(node.text(deep=True)) if node else ""
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
    remove(copy, _CHROME)
    blocks = [
        node for node in copy.css(_BLOCKS)[:BLOCKS_MAX] if node.css_first("p, li, dd, td, blockquote") in (None, node)
    ]
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
    if character in BLANK_CHARACTERS or 0xFE00 <= ord(character) <= 0xFE0F or 0xE0100 <= ord(character) <= 0xE01EF:
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
        if sentences and len(sentences[-1]) < PASSAGE_CHARACTERS_MAX and _ABBREVIATION.search(sentences[-1][-12:]):
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
