"""Sites to publish to: a stand-in always, a real WordPress where its packages are installed."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.wordpress import real_site as real
from tests.wordpress.publishing import OPEN
from tests.wordpress.stand_in import StandInSite

INSTALL = "run `make wordpress` to install them (needs root)"


@pytest.fixture(scope="session")
def real_site() -> Iterator[real.RealSite]:
    """One WordPress for all tests of the session; tests ``clear`` it."""
    absent = real.missing()
    if absent:
        if os.environ.get("INFIN8_WORDPRESS_REQUIRED"):
            pytest.fail(f"no real WordPress: {absent} not installed; {INSTALL}")
        pytest.skip(f"no real WordPress: {absent} not installed; {INSTALL}")
    with real.real_site() as site:
        site.php("do_action('init');")  # the first request of all is the slow one
        yield site


@pytest_asyncio.fixture
async def stand_in() -> AsyncIterator[StandInSite]:
    site = StandInSite()
    await site.start()
    yield site
    await site.stop()


@pytest_asyncio.fixture(autouse=True)
async def close_publishers() -> AsyncIterator[None]:
    yield
    while OPEN:
        await OPEN.pop().close()


@pytest.fixture(params=["stand-in", "real"])
def site(request: pytest.FixtureRequest) -> StandInSite | real.RealSite:
    """A site without posts and with pretty permalinks."""
    name = "stand_in" if request.param == "stand-in" else "real_site"
    found: StandInSite | real.RealSite = request.getfixturevalue(name)
    found.clear()
    return found
