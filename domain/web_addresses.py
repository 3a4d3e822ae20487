"""Web addresses in text that should have none: an answer of a model, a label, a heading."""

import re
import unicodedata
from collections.abc import Collection

from domain.identifiers import bare_domain

# Endings under which a word with a dot in it is taken for the name of a host although no path follows. Those that are
# also words ("in", "is") or kinds of files ("py", "md") count with a path only.
_PLAIN_ENDINGS = """
    com net org io ai app dev info biz xyz online site website shop store cloud tech live life world space fun icu top
    club link click page blog news agency digital media group email support finance software systems solutions
    services company network business example test invalid localhost onion
    co.uk org.uk com.au com.br co.jp co.in co.nz uk eu fr nl ch cz dk fi gr hu ie jp kr lt lv mx nz pt ro ru se sk ua
    us cn hk sg tw za tk ml gq
"""
_ENDINGS = "|".join(sorted(map(re.escape, _PLAIN_ENDINGS.split()), key=len, reverse=True))
_LABELS = r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}"
# Words of technology that look like hosts.
_NAMES = frozenset({"asp.net", "ado.net", "vb.net", "ml.net"})
_SCHEME = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,15}\s?:\s?//\S|\b(?:javascript|mailto)\s?:\s?\S|\bdata:[a-z]+/\S|//[^\W_]|\bwww\d?\.\w",
    re.IGNORECASE,
)
_MAIL = re.compile(r"[\w.+-]@[\w-]")
_HOST = re.compile(rf"(?<![\w.@-])(?P<host>{_LABELS}(?:{_ENDINGS}))(?![\w-])(?!\.\w)", re.IGNORECASE)
_HOST_AND_PATH = re.compile(rf"(?<![\w.@-])(?P<host>{_LABELS}[a-z]{{2,24}})(?::\d+)?/[^\s/]", re.IGNORECASE)
_ADDRESS = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?:[:/]\S|\b(?!\.\d))")
_DOTS = re.compile("[\u3002\uff0e\uff61\u2024\ufe52]")


def web_address_in(text: str, own_domains: Collection[str] = ()) -> str | None:
    """The first web or mail address in a text, host names without a scheme included; None when there is none.

    A bare host name of ``own_domains`` (bare domains) is a name that may be called, an address on it is still one.
    """
    plain = _DOTS.sub(".", unicodedata.normalize("NFKC", text))
    for pattern in (_SCHEME, _MAIL, _HOST_AND_PATH, _ADDRESS):
        found = pattern.search(plain)
        if found is not None:
            return found[0]
    hosts = (found["host"] for found in _HOST.finditer(plain))
    return next((host for host in hosts if not _is_a_name(host, own_domains)), None)


def _is_a_name(host: str, own_domains: Collection[str]) -> bool:
    return host.lower() in _NAMES or bare_domain(host.lower()) in own_domains
