"""The folders of web sites that the sandbox serves: one folder a site, one file a page."""

import re
from collections.abc import Sequence
from pathlib import Path

from selectolax.lexbor import LexborHTMLParser

from sandbox.answers import SiteText

BUILT_IN_SITES = Path(__file__).parent / "sites"
CONTENT_TYPES = {
    ".html": "text/html",
    ".txt": "text/plain",
    ".xml": "application/xml",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
_SITE_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


def find_page(sites_dirs: Sequence[Path], site: str, page: str) -> Path | None:
    """The file behind ``/sites/SITE/PAGE``: PAGE itself, PAGE.html or PAGE/index.html, in the first folder that has
    the site; None outside these folders and for other kinds of files."""
    if not _SITE_NAME.fullmatch(site):
        return None
    folder = next((folder / site for folder in sites_dirs if (folder / site).is_dir()), None)
    if folder is None:
        return None
    page = page.strip("/") or "index"
    for candidate in (folder / page, folder / f"{page}.html", folder / page / "index.html"):
        resolved = candidate.resolve()
        if resolved.is_relative_to(folder.resolve()) and resolved.is_file() and resolved.suffix in CONTENT_TYPES:
            return resolved
    return None


def site_texts(sites_dirs: Sequence[Path]) -> list[SiteText]:
    """Every site that is served, each once, in the order of their names."""
    folders = {folder.name: folder for sites in reversed(sites_dirs) if sites.is_dir() for folder in sites.iterdir()}
    return [_site_text(folder) for _, folder in sorted(folders.items()) if (folder / "index.html").is_file()]


def _site_text(folder: Path) -> SiteText:
    pages = [LexborHTMLParser(file.read_bytes()) for file in sorted(folder.glob("*.html"))]
    home = LexborHTMLParser((folder / "index.html").read_bytes())
    title = home.css_first("title")
    texts = [page.body.text(separator=" ") for page in pages if page.body is not None]
    return SiteText(
        url=f"https://{folder.name}.example",
        title=title.text(strip=True) if title is not None else folder.name,
        text=" ".join(" ".join(texts).split()),
    )
