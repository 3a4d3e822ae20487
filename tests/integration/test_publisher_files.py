import asyncio
import fcntl
import json
import os
import re
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from domain.assembly import Document
from domain.errors import ClaimLostError, ConfigurationError, ProviderUnavailableError
from domain.publication_site import read_manifest
from domain.publishing import PublicationState, SiteDescription, site_description
from providers import publisher
from providers.publisher import FilesPublisher
from tests.unit.quality.samples import CRUMBWORKS, HARBORLINE, HUB, SAMPLES, WORKFLOW_ID, paragraph, section
from tests.unit.test_publishing import AP_NAMES, CHANGED_AT, request_of

ROOT = Path(__file__).resolve().parents[2]
SITE = f"harborline.example/spring-{WORKFLOW_ID.hex[:8]}"
SLUG = "accounts-payable-automation"


@cache
def documents() -> list[Document]:
    return [SAMPLES[name].document() for name in AP_NAMES]


def site(**changes: Any) -> SiteDescription:
    facts: dict[str, Any] = {
        "workflow_name": "spring",
        "organization": HARBORLINE.organization,
        "domain": "harborline.example",
        "documents": documents(),
        "is_demo_text": False,
    }
    return site_description(**{**facts, **changes})


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def pages_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.html"))


async def publish_all(output: Path) -> str:
    files = FilesPublisher(output)
    for document in documents():
        result = await files.publish(request_of(document))
        assert result.state is PublicationState.PUBLISHED, result.reason
    return await files.finish(WORKFLOW_ID, site())


async def test_site_is_whole_and_every_link_in_it_resolves(tmp_path: Path) -> None:
    index = await publish_all(tmp_path)
    assert Path(index) == tmp_path / SITE / "index.html"
    names = {path.name for path in (tmp_path / SITE).iterdir()} - {".lock"}
    slugs = [document.slug for document in documents()]
    assert names == {
        "index.html",
        "sitemap.xml",
        "feed.xml",
        "manifest.json",
        *(f"{slug}{end}" for slug in slugs for end in (".html", ".md")),
    }
    for page in pages_in(tmp_path):
        for href in re.findall(r'href="([^"]+)"', page.read_text()):
            parts = urlsplit(href)
            if not parts.scheme:
                target = page.parent / parts.path if parts.path else page
                assert target.is_file(), f"{page}: {href}"
                assert not parts.fragment or f'id="{parts.fragment}"' in target.read_text()


async def test_result_names_the_page(tmp_path: Path) -> None:
    result = await FilesPublisher(tmp_path).publish(request_of(HUB.document()))
    page = tmp_path / SITE / f"{SLUG}.html"
    assert result.url == page.as_uri()
    assert result.external_id == f"{SITE}/{SLUG}.html"
    assert result.reason is None
    assert page.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


async def test_the_same_again_is_unchanged_and_touches_nothing(tmp_path: Path) -> None:
    await publish_all(tmp_path)
    before = snapshot(tmp_path)
    for document in documents():
        later = request_of(document, published_at=CHANGED_AT)
        assert (await FilesPublisher(tmp_path).publish(later)).state is PublicationState.UNCHANGED
    await FilesPublisher(tmp_path).finish(WORKFLOW_ID, site())
    assert snapshot(tmp_path) == before


async def test_changed_content_is_published_and_keeps_its_first_date(tmp_path: Path) -> None:
    await publish_all(tmp_path)
    changed = HUB.document((section(paragraph("A new beginning.", 1)), *HUB.contents[1:]))
    result = await FilesPublisher(tmp_path).publish(request_of(changed, published_at=CHANGED_AT))
    assert result.state is PublicationState.PUBLISHED
    page = (tmp_path / SITE / f"{SLUG}.html").read_text()
    assert "A new beginning." in page
    assert '"datePublished": "2026-03-05T09:30:00+00:00"' in page
    assert '"dateModified": "2026-04-01T08:00:00+00:00"' in page


async def test_links_that_changed_are_published(tmp_path: Path) -> None:
    await publish_all(tmp_path)
    fewer = request_of(HUB.document(), available_slugs=["three-way-matching"])
    assert (await FilesPublisher(tmp_path).publish(fewer)).state is PublicationState.PUBLISHED
    assert "invoice-approval-workflow.html" not in (tmp_path / SITE / f"{SLUG}.html").read_text()


async def test_crash_before_the_manifest_is_mended_by_trying_again(tmp_path: Path) -> None:
    await FilesPublisher(tmp_path).publish(request_of(HUB.document()))
    folder = tmp_path / SITE
    page = (folder / f"{SLUG}.html").read_bytes()
    (folder / "manifest.json").unlink()
    (folder / f"{SLUG}.md").unlink()
    result = await FilesPublisher(tmp_path).publish(request_of(HUB.document()))
    assert result.state is PublicationState.PUBLISHED
    assert (folder / f"{SLUG}.html").read_bytes() == page
    assert (await FilesPublisher(tmp_path).publish(request_of(HUB.document()))).state is PublicationState.UNCHANGED


async def test_finish_lists_exactly_what_it_is_given(tmp_path: Path) -> None:
    await publish_all(tmp_path)
    await FilesPublisher(tmp_path).finish(WORKFLOW_ID, site(documents=documents()[:2]))
    manifest = read_manifest((tmp_path / SITE / "manifest.json").read_text())
    assert [entry.slug for entry in manifest.articles] == [document.slug for document in documents()[:2]]
    assert manifest.articles[0].published_at is not None
    assert "invoice-approval-workflow" not in (tmp_path / SITE / "index.html").read_text()


async def test_overview_lists_every_site_and_minds_no_broken_one(tmp_path: Path) -> None:
    await publish_all(tmp_path)
    broken = tmp_path / "other.example" / "x"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{")
    bread = SAMPLES["sourdough production planning"].document()
    other = {"organization": CRUMBWORKS.organization, "domain": "crumbworks.example", "workflow_name": "Night shift"}
    request = request_of(bread, workflow_id=UUID(int=9), **other)
    assert (await FilesPublisher(tmp_path).publish(request)).state is PublicationState.PUBLISHED
    await FilesPublisher(tmp_path).finish(UUID(int=9), site(documents=[bread], **other))
    overview = (tmp_path / "index.html").read_text()
    assert 'href="crumbworks.example/night-shift-00000000/index.html"' in overview
    assert f'href="{SITE}/index.html"' in overview
    assert overview.index("Crumbworks") < overview.index("Harborline")
    assert "2 sites, 4 articles" in overview


# --- what is refused ---


async def test_content_that_was_not_approved_is_refused(tmp_path: Path) -> None:
    request = request_of(HUB.document(), content_hash="0" * 64)
    result = await FilesPublisher(tmp_path).publish(request)
    assert result.state is PublicationState.FAILED
    assert "not what was approved" in (result.reason or "")
    assert pages_in(tmp_path) == []


@pytest.mark.parametrize("slug", ["../evil", "a/b", "A", "", "..", "a.b", "-a", "other"])
async def test_slug_that_is_not_the_documents_is_refused(tmp_path: Path, slug: str) -> None:
    request = request_of(HUB.document()).model_copy(update={"slug": slug})
    result = await FilesPublisher(tmp_path / "out").publish(request)
    assert result.state is PublicationState.FAILED
    assert pages_in(tmp_path) == []


async def test_slug_that_is_no_slug_is_refused_though_the_document_has_it(tmp_path: Path) -> None:
    document = HUB.document().model_copy(update={"slug": "../evil"})
    result = await FilesPublisher(tmp_path / "out").publish(request_of(document))
    assert result.state is PublicationState.FAILED
    assert pages_in(tmp_path) == []


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "..", "", "a\x00b", "x" * 300, "請求書"])
async def test_names_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    output = tmp_path / "deep" / "out"
    result = await FilesPublisher(output).publish(request_of(HUB.document(), workflow_name=name, domain=name))
    assert result.state is PublicationState.PUBLISHED
    pages = pages_in(tmp_path)
    assert len(pages) == 1
    assert len(pages[0].relative_to(output).parts) == 3


async def test_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / SITE
    folder.mkdir(parents=True)
    page = folder / f"{SLUG}.html"
    page.write_text("my own page")
    result = await FilesPublisher(tmp_path).publish(request_of(HUB.document()))
    assert result.state is PublicationState.FAILED
    assert str(page) in (result.reason or "")
    assert page.read_text() == "my own page"


async def test_slug_of_another_article_is_refused(tmp_path: Path) -> None:
    await publish_all(tmp_path)
    twin = HUB.document().model_copy(update={"article_id": UUID(int=3)})
    result = await FilesPublisher(tmp_path).publish(request_of(twin))
    assert result.state is PublicationState.FAILED
    assert str(HUB.plan.article_id) in (result.reason or "")


async def test_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    output = tmp_path / "out"
    (output / "harborline.example").mkdir(parents=True)
    (output / SITE).symlink_to(outside)
    result = await FilesPublisher(output).publish(request_of(HUB.document()))
    assert result.state is PublicationState.FAILED
    assert list(outside.iterdir()) == []
    with pytest.raises(ConfigurationError, match="outside"):
        await FilesPublisher(output).finish(WORKFLOW_ID, site())


async def test_page_that_is_a_link_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("keep me")
    (tmp_path / "out" / SITE).mkdir(parents=True)
    (tmp_path / "out" / SITE / f"{SLUG}.html").symlink_to(target)
    result = await FilesPublisher(tmp_path / "out").publish(request_of(HUB.document()))
    assert result.state is PublicationState.FAILED
    assert target.read_text() == "keep me"


async def test_folder_of_another_workflow_is_refused(tmp_path: Path) -> None:
    await publish_all(tmp_path)
    twin = UUID(WORKFLOW_ID.hex[:8] + "0" * 24)
    result = await FilesPublisher(tmp_path).publish(request_of(HUB.document(), workflow_id=twin))
    assert result.state is PublicationState.FAILED
    assert str(WORKFLOW_ID) in (result.reason or "")


async def test_broken_manifest_is_told(tmp_path: Path) -> None:
    await publish_all(tmp_path)
    (tmp_path / SITE / "manifest.json").write_text('{"version": 1}')
    result = await FilesPublisher(tmp_path).publish(request_of(HUB.document()))
    assert result.state is PublicationState.FAILED
    assert "manifest" in (result.reason or "")


async def test_output_that_is_no_folder_is_told(tmp_path: Path) -> None:
    output = tmp_path / "file"
    output.write_text("")
    result = await FilesPublisher(output).publish(request_of(HUB.document()))
    assert result.state is PublicationState.FAILED
    assert str(output) in (result.reason or "")
    with pytest.raises(ProviderUnavailableError, match="can't write"):
        await FilesPublisher(output).finish(WORKFLOW_ID, site())


async def test_lock_that_nobody_lets_go_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "LOCK_TIMEOUT_SECONDS", 0.2)
    await publish_all(tmp_path)
    with (tmp_path / SITE / ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ProviderUnavailableError, match="another publisher"):  # which may pass: tried again
            await FilesPublisher(tmp_path).publish(request_of(HUB.document()))
        with pytest.raises(ProviderUnavailableError, match="another publisher"):
            await FilesPublisher(tmp_path).finish(WORKFLOW_ID, site())
    assert (await FilesPublisher(tmp_path).publish(request_of(HUB.document()))).state is PublicationState.UNCHANGED


# --- several at once, and sudden ends ---


async def test_many_at_once_in_one_process(tmp_path: Path) -> None:
    files = FilesPublisher(tmp_path)
    results = await asyncio.gather(*(files.publish(request_of(document)) for document in documents() * 4))
    states = [result.state for result in results]
    assert states.count(PublicationState.PUBLISHED) == 3
    assert states.count(PublicationState.UNCHANGED) == 9
    await asyncio.gather(*(files.finish(WORKFLOW_ID, site()) for _ in range(4)))
    _assert_whole(tmp_path)


PUBLISHING_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from providers.publisher import FilesPublisher
from tests.integration.test_publisher_files import documents, request_of, site, WORKFLOW_ID
from tests.unit.test_publishing import CHANGED_AT

async def run(output, rounds):
    files = FilesPublisher(output)
    print("begun", flush=True)
    for number in range(rounds):
        for document in documents():
            links = ["three-way-matching"] if number % 2 else [one.slug for one in documents()]
            result = await files.publish(request_of(document, available_slugs=links))
            assert result.state in ("PUBLISHED", "UNCHANGED"), result.reason
        await files.finish(WORKFLOW_ID, site())

asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
"""


def _start(output: Path, rounds: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", PUBLISHING_FOR_EVER, str(output), str(rounds)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def _assert_whole(output: Path) -> None:
    manifest = read_manifest((output / SITE / "manifest.json").read_text())
    assert {entry.slug for entry in manifest.articles} == {document.slug for document in documents()}
    for page in pages_in(output):
        assert page.read_text().endswith("</html>\n")
    json.loads((output / SITE / "manifest.json").read_text())


def test_several_processes_at_once_leave_a_whole_site_and_a_reader_sees_whole_pages(tmp_path: Path) -> None:
    running = [_start(tmp_path, 4) for _ in range(3)]
    page = tmp_path / SITE / f"{SLUG}.html"
    looks = 0
    while any(process.poll() is None for process in running):
        if page.exists():
            assert page.read_text().endswith("</html>\n")
            looks += 1
    assert [process.communicate(timeout=60)[0].strip() for process in running] == ["begun"] * 3
    assert [process.returncode for process in running] == [0, 0, 0]
    assert looks > 100
    _assert_whole(tmp_path)
    assert list(tmp_path.rglob("*.tmp")) == []


async def test_killed_publisher_leaves_whole_files_and_the_next_one_goes_on(tmp_path: Path) -> None:
    await publish_all(tmp_path)
    for delay_seconds in (0.01, 0.05, 0.12):
        process = _start(tmp_path, 100_000)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "begun"
        time.sleep(delay_seconds)  # noqa: ASYNC251 -- the other process is to get somewhere
        process.kill()
        process.communicate(timeout=30)
        _assert_whole(tmp_path)
    await FilesPublisher(tmp_path).publish(request_of(HUB.document()))
    await FilesPublisher(tmp_path).finish(WORKFLOW_ID, site())
    assert (await FilesPublisher(tmp_path).publish(request_of(HUB.document()))).state is PublicationState.UNCHANGED


async def test_feed_goes_with_what_it_told_of(tmp_path: Path) -> None:
    await publish_all(tmp_path)
    feed = tmp_path / SITE / "feed.xml"
    assert feed.read_text().count("<entry>") == len(documents())
    await FilesPublisher(tmp_path).finish(WORKFLOW_ID, site(documents=[]))
    assert not feed.exists()
    assert "feed.xml" not in (tmp_path / SITE / "index.html").read_text()


# --- whose turn it is ---


class Turn:
    """A publication's record that says whose turn it is, and looks at the folder's lock while it is asked."""

    external_id = None
    confirmed_mode = None

    def __init__(self, folder: Path, *, is_lost: bool) -> None:
        self._lock_file = folder / ".lock"
        self._is_lost = is_lost
        self.asked = 0

    async def check(self) -> None:
        self.asked += 1
        with self._lock_file.open("r+") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if self._is_lost:
            raise ClaimLostError("a later attempt has begun")

    async def keep(self, external_id: str, *, instead_of: str | None) -> str:
        raise AssertionError(f"{external_id} instead of {instead_of}: a folder has no ids of its own")


@pytest.mark.parametrize("what", ["publish", "relink", "unpublish"])
async def test_who_has_lost_its_turn_touches_nothing(tmp_path: Path, what: str) -> None:
    await publish_all(tmp_path)
    before = snapshot(tmp_path)
    old = HUB.document((section(paragraph("What was approved before.", 1)), *HUB.contents[1:]))
    lost = Turn(tmp_path / SITE, is_lost=True)
    with pytest.raises(ClaimLostError):
        await getattr(FilesPublisher(tmp_path), what)(request_of(old), lost)
    assert snapshot(tmp_path) == before
    ours = Turn(tmp_path / SITE, is_lost=False)
    result = await getattr(FilesPublisher(tmp_path), what)(request_of(old), ours)
    assert result.state in (PublicationState.PUBLISHED, PublicationState.UNPUBLISHED), result.reason
    assert (lost.asked, ours.asked) == (1, 1)


async def test_a_cancelled_publisher_keeps_the_folder_until_its_thread_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread can't be stopped: what it writes late would be written beside whoever has the folder then."""
    begun, goes_on = threading.Event(), threading.Event()
    write = publisher._write_when_other

    def slowly(path: Path, text: str) -> bool:
        begun.set()
        assert goes_on.wait(30)
        return write(path, text)

    monkeypatch.setattr(publisher, "_write_when_other", slowly)
    task = asyncio.ensure_future(FilesPublisher(tmp_path).publish(request_of(HUB.document())))
    assert await asyncio.to_thread(begun.wait, 30)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.02)
    with (tmp_path / SITE / ".lock").open("r+") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert (tmp_path / SITE / f"{SLUG}.html").read_text().endswith("</html>\n")


async def test_those_who_wait_for_a_folder_hold_up_nobody_elses_thread(tmp_path: Path) -> None:
    """Among them the lookup of the database's address, without which whoever holds the folder could not go on."""
    await publish_all(tmp_path)
    with (tmp_path / SITE / ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = [
            asyncio.ensure_future(FilesPublisher(tmp_path).publish(request_of(HUB.document()))) for _ in range(64)
        ]
        await asyncio.wait(waiting, timeout=0.3)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 10) == "free"
        fcntl.flock(lock, fcntl.LOCK_UN)
    assert {result.state for result in await asyncio.gather(*waiting)} == {PublicationState.UNCHANGED}
