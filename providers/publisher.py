"""Publishes to a folder: pages that open in a browser, their Markdown, an index, a sitemap and a manifest.

Layout: ``OUTPUT/DOMAIN/WORKFLOW/SLUG.html`` (and ``.md``), with ``index.html``, ``sitemap.xml``, ``feed.xml`` and
``manifest.json`` beside the articles, and ``OUTPUT/index.html`` over all sites. Names come from ids, slugs and the
domain only. Each file is written whole or not at all; a lock per folder lets several publishers work at once, and
whoever holds it asks first whether the publication is still its own to carry out.
"""

import asyncio
import fcntl
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from domain import publication_feed, publication_site
from domain.assembly import content_hash, slug_of
from domain.errors import ConfigurationError, ProviderUnavailableError
from domain.publication_site import Manifest
from domain.publishing import (
    PublicationRecord,
    PublicationRequest,
    PublicationResult,
    PublicationState,
    SiteDescription,
)

LOCK_FILE = ".lock"
MANIFEST_FILE = "manifest.json"
NAME_CHARACTERS_MAX = 40
DOMAIN_CHARACTERS_MAX = 120
LOCK_TIMEOUT_SECONDS = 30.0
LOCK_TRIED_EVERY_SECONDS = 0.05
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")

ResultT = TypeVar("ResultT")


class _RefusedError(Exception):
    """The request can't be carried out; the message says why and what to do."""


class FilesPublisher:
    """``output_dir`` is made when it is first written to."""

    def __init__(self, output_dir: Path | str) -> None:
        self._output_dir = Path(output_dir)

    async def publish(self, request: PublicationRequest, record: PublicationRecord | None = None) -> PublicationResult:
        """Writes the article's files. The same again is UNCHANGED; whatever hinders is FAILED with the reason. A folder
        needs no memory but its manifest: the record is only asked whose turn it is. Without one it is everybody's.

        Raises ClaimLostError when it is another attempt's turn, ProviderUnavailableError while another publisher holds
        the folder: one that was stopped in the middle, until it goes on or ends.
        """
        return await self._result_of(self._publish(request, record))

    async def relink(self, request: PublicationRequest, record: PublicationRecord | None = None) -> PublicationResult:
        """Links are drawn anew by writing the page again."""
        return await self.publish(request, record)

    async def unpublish(
        self, request: PublicationRequest, record: PublicationRecord | None = None
    ) -> PublicationResult:
        """Removes the article's files, if it wrote them, and its line in the manifest; ``finish`` does the rest."""
        return await self._result_of(self._unpublish(request, record))

    async def _result_of(self, work: Awaitable[PublicationResult]) -> PublicationResult:
        try:
            return await work
        except _RefusedError as error:
            return PublicationResult(state=PublicationState.FAILED, reason=str(error))
        except OSError as error:
            return PublicationResult(state=PublicationState.FAILED, reason=self._reason(error))

    async def finish(self, workflow_id: UUID, site: SiteDescription) -> str:
        """Rebuilds index, sitemap, feed and manifest from exactly the site's articles, and the overview of all sites.

        Returns the path of the site's index. Raises ConfigurationError when the folder is not ours to write,
        ProviderUnavailableError when it can't be written now.
        """
        try:
            return await self._finish(workflow_id, site)
        except _RefusedError as error:
            raise ConfigurationError(str(error)) from error
        except OSError as error:
            raise ProviderUnavailableError(self._reason(error)) from error

    def _reason(self, error: OSError) -> str:
        return f"can't write {error.filename or self._output_dir}: {error.strerror}; mend that and retry"

    async def _publish(self, request: PublicationRequest, record: PublicationRecord | None) -> PublicationResult:
        _check(request)
        folder = await asyncio.to_thread(self._folder_of, request)
        async with _locked(folder):
            if record is not None:
                await record.check()
            return await _to_its_end(_write_article, request, folder)

    async def _unpublish(self, request: PublicationRequest, record: PublicationRecord | None) -> PublicationResult:
        folder = await asyncio.to_thread(self._folder_of, request)
        if not await asyncio.to_thread(folder.exists):
            return _gone()
        async with _locked(folder):
            if record is not None:
                await record.check()
            return await _to_its_end(_remove_article, request, folder)

    async def _finish(self, workflow_id: UUID, site: SiteDescription) -> str:
        folder = await asyncio.to_thread(self._site_folder, site.domain, site.workflow_name, workflow_id)
        async with _locked(folder):
            await _to_its_end(_write_lists, workflow_id, site, folder)
        root = folder.parents[1]
        async with _locked(root):
            await _to_its_end(_write_overview, root)
        return str(folder / "index.html")

    def _folder_of(self, request: PublicationRequest) -> Path:
        return self._site_folder(request.domain, request.workflow_name, request.workflow_id)

    def _site_folder(self, domain: str, workflow_name: str, workflow_id: UUID) -> Path:
        """DOMAIN/NAME-ID: names are for people, the start of the id keeps workflows apart."""
        safe_domain = re.sub(r"[^a-z0-9.-]+", "-", domain.lower()).strip(".-")[:DOMAIN_CHARACTERS_MAX] or "site"
        name = slug_of(workflow_name)[:NAME_CHARACTERS_MAX].rstrip("-")
        return _inside(self._output_dir.resolve(), safe_domain, f"{name}-{workflow_id.hex[:8]}")


# In a thread, under the folder's lock


def _write_article(request: PublicationRequest, folder: Path) -> PublicationResult:
    manifest = _manifest_in(folder) or publication_site.manifest_of_request(request)
    page_path = _inside(folder, f"{request.slug}.html")
    _check_owner(request, manifest, page_path)
    earlier = manifest.entry(request.article_id)
    entry = publication_site.manifest_entry(request, earlier)
    files = {
        page_path: publication_site.render_page(request, entry.dates),
        _inside(folder, f"{request.slug}.md"): publication_site.render_markdown(request, entry.dates),
    }
    changed = [_write_when_other(path, text) for path, text in files.items()]
    if entry != earlier:
        changed.append(_store_manifest(folder, manifest.with_entry(entry)))
    state = PublicationState.PUBLISHED if any(changed) else PublicationState.UNCHANGED
    external_id = str(page_path.relative_to(folder.parents[1]))
    return PublicationResult(state=state, external_id=external_id, url=page_path.as_uri())


def _remove_article(request: PublicationRequest, folder: Path) -> PublicationResult:
    manifest = _manifest_in(folder) or publication_site.manifest_of_request(request)
    page_path = _inside(folder, f"{request.slug}.html")
    _check_owner(request, manifest, page_path)
    stood = page_path.exists()
    for path in (page_path, _inside(folder, f"{request.slug}.md")):
        path.unlink(missing_ok=True)
    _sync_folder(folder)
    _store_manifest(folder, manifest.without_entry(request.article_id))
    return PublicationResult(state=PublicationState.UNPUBLISHED) if stood else _gone()


def _gone() -> PublicationResult:
    return PublicationResult(state=PublicationState.UNPUBLISHED, reason="it was no longer there")


def _write_lists(workflow_id: UUID, site: SiteDescription, folder: Path) -> None:
    manifest = publication_site.manifest_of_site(workflow_id, site, _manifest_in(folder))
    _store_manifest(folder, manifest)
    _write_when_other(folder / "index.html", publication_site.render_index(manifest))
    _write_when_other(folder / "sitemap.xml", publication_site.render_sitemap(manifest))
    _write_or_remove(folder / publication_site.FEED_FILE, publication_feed.render_feed(manifest))


def _write_overview(root: Path) -> None:
    sites = [
        (str(path.parent.relative_to(root)), manifest)
        for path in sorted(root.glob(f"*/*/{MANIFEST_FILE}"))
        if (manifest := _readable_manifest_in(path.parent)) and manifest.articles
    ]
    sites.sort(key=lambda site: (site[1].organization_name.casefold(), site[0]))
    _write_when_other(root / "index.html", publication_site.render_overview(sites))


def _check(request: PublicationRequest) -> None:
    if not _SLUG.fullmatch(request.slug) or request.slug != request.document.slug:
        raise _RefusedError(f"the slug {request.slug!r} is not the document's: write the article anew")
    found = content_hash(request.document)
    if found != request.content_hash:
        raise _RefusedError(
            f"the article's content ({found[:12]}…) is not what was approved ({request.content_hash[:12]}…): "
            "approve its present content"
        )


def _check_owner(request: PublicationRequest, manifest: Manifest, page_path: Path) -> None:
    """A page is overwritten only by the article that it is a page of."""
    if manifest.workflow_id != request.workflow_id:
        raise _RefusedError(f"{page_path.parent} belongs to workflow {manifest.workflow_id}: move that folder away")
    taken = next((one for one in manifest.articles if one.slug == request.slug), None)
    if taken and taken.article_id != request.article_id:
        raise _RefusedError(f"the slug {request.slug} is that of article {taken.article_id}: one of them needs another")
    mark = publication_site.article_mark(request.article_id)
    if page_path.exists() and mark not in page_path.read_text(encoding="utf-8", errors="replace"):
        raise _RefusedError(f"{page_path} is a file that this article did not write: move it away and retry")


def _manifest_in(folder: Path) -> Manifest | None:
    path = folder / MANIFEST_FILE
    try:
        return publication_site.read_manifest(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _RefusedError(f"{path} can't be read as a manifest: move it away and retry") from error


def _readable_manifest_in(folder: Path) -> Manifest | None:
    """Of another site: what is wrong with it is not this site's trouble."""
    try:
        return _manifest_in(folder)
    except _RefusedError:
        return None


def _store_manifest(folder: Path, manifest: Manifest) -> bool:
    return _write_when_other(folder / MANIFEST_FILE, publication_site.render_manifest(manifest))


def _inside(folder: Path, *names: str) -> Path:
    """The path below the folder; a link that leads out of it is refused."""
    path = folder.joinpath(*names)
    resolved = path.resolve()
    if resolved != path or not resolved.is_relative_to(folder):
        raise _RefusedError(f"{path} leads to {resolved}, outside of {folder}: remove that link")
    return path


def _write_when_other(path: Path, text: str) -> bool:
    """Writes unless the file says exactly that already, reads back; tells whether it wrote. Raises OSError."""
    wanted = text.encode()
    if path.exists() and path.read_bytes() == wanted:
        return False
    _write_whole(path, wanted)
    if path.read_bytes() != wanted:
        raise OSError(5, "what was written does not read back the same", str(path))
    return True


def _write_or_remove(path: Path, text: str | None) -> None:
    """None takes the file away."""
    if text is None:
        path.unlink(missing_ok=True)
    else:
        _write_when_other(path, text)


def _write_whole(path: Path, content: bytes) -> None:
    """Another process sees the old file or the new one, and after a power cut too."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Locks


class _FolderLock:
    """A folder's lock file; the operating system lets go of it when the process ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Whether nobody else holds it. Raises OSError when the folder can't be made or written to."""
        if self._descriptor is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._folder / LOCK_FILE, flags, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


@asynccontextmanager
async def _locked(folder: Path) -> AsyncIterator[None]:
    """Waits without a thread: those that wait must not keep the one from working that holds the lock."""
    lock, deadline = _FolderLock(folder), time.monotonic() + LOCK_TIMEOUT_SECONDS
    try:
        while not await _to_its_end(lock.take):
            if time.monotonic() > deadline:
                raise ProviderUnavailableError(f"another publisher has held {folder} for {LOCK_TIMEOUT_SECONDS:.0f} s")
            await asyncio.sleep(LOCK_TRIED_EVERY_SECONDS)
        yield
    finally:
        lock.release()


async def _to_its_end(work: Callable[..., ResultT], *facts: object) -> ResultT:
    """In a thread, which nothing can stop: a cancellation waits for its end, so that the lock outlives it."""
    future = asyncio.get_running_loop().run_in_executor(None, partial(work, *facts))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        raise
