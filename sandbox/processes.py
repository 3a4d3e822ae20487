"""Starting, watching and ending the local stack's server processes."""

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

Log = Callable[[str], None]

EXEC_TIED = Path(__file__).with_name("exec_tied.py")
POLL_SECONDS = 0.01
LOG_KEEP_BYTES = 5_000_000
TCP_LISTENING = "0A"


class LocalStackError(Exception):
    """The local stack can't do what was asked; the message is one line that says what to do."""


class ServerUser(NamedTuple):
    """The account a server runs under when we are root and it must not be."""

    name: str
    user_id: int
    group_id: int


class ProcessState(StrEnum):
    RUNNING = "running"
    ZOMBIE = "zombie"
    GONE = "gone"


def silent(_message: str) -> None:
    """A log that keeps nothing."""


def make_state_folder(state_dir: Path) -> Path:
    """The state folder's absolute path, made when it is missing; an existing folder keeps its mode.

    A folder made by root can be passed through, not listed, by others: Postgres refuses to run as root, and
    the account it runs under has to reach its data.
    """
    state_dir = state_dir.absolute()
    if not state_dir.is_dir():
        try:
            state_dir.mkdir(parents=True)
            state_dir.chmod(0o711 if os.geteuid() == 0 else 0o700)
        except OSError as problem:
            raise LocalStackError(
                f"cannot make the state folder {state_dir}: {problem.strerror}; choose another with INFIN8_STATE_DIR"
            ) from problem
    return state_dir.resolve()


class FolderLock:
    """An exclusive lock on a file, held until `release` or until the process ends, however it ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, path: Path, *, refusal: str) -> "FolderLock":
        """Take the lock or raise LocalStackError with `refusal` at once when another process holds it."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as problem:
            raise LocalStackError(
                f"cannot open the lock {path}: {problem.strerror}; choose another folder with INFIN8_STATE_DIR"
            ) from problem
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise LocalStackError(refusal) from None
        return cls(path, descriptor)

    def release(self) -> None:
        """Give the lock back; the file stays, because removing it would let two holders in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def write_atomically(path: Path, text: str) -> None:
    """Write a private file (0600) so that a reader sees the old or the new text, never a part."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def spawn_tied(
    command: Sequence[str],
    *,
    log_file: Path,
    parent_death_signal: signal.Signals,
    user: ServerUser | None = None,
    home: Path,
) -> subprocess.Popen[bytes]:
    """Start a server that gets `parent_death_signal` when this process (strictly: this thread) ends.

    It runs in a session of its own, so that a terminal's Ctrl-C reaches us alone and the servers stop in
    their order. Its output is appended to `log_file`. Its HOME is `home`: Temporal keeps a file there, and
    the person's own home is none of its business. The pid is the server's own.
    """
    user_id, group_id = (user.user_id, user.group_id) if user else (-1, -1)
    tie = [str(os.getpid()), str(parent_death_signal.value), str(user_id), str(group_id)]
    with open_log(log_file) as output:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(EXEC_TIED), *tie, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=plain_environment(home),
            start_new_session=True,
        )


@contextlib.contextmanager
def open_log(log_file: Path) -> Iterator[int]:
    """A log file's descriptor for appending; a log over `LOG_KEEP_BYTES` is begun anew."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    if log_file.exists() and log_file.stat().st_size > LOG_KEEP_BYTES:
        flags |= os.O_TRUNC
    descriptor = os.open(log_file, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def plain_environment(home: Path) -> dict[str, str]:
    """The environment for servers: nothing of the caller's that could change what they do."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "LANG": "C", "TZ": "UTC", "HOME": str(home)}


def program_output(command: Sequence[str], home: Path) -> str:
    """What a program of the stack prints; raises LocalStackError when it doesn't run on this machine."""
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd="/", env=plain_environment(home)
        )
    except subprocess.CalledProcessError as problem:
        raise LocalStackError(f"{command[0]} does not run here: {problem.stderr.strip()}") from problem
    except OSError as problem:
        raise LocalStackError(f"{command[0]} does not run here: {problem.strerror}") from problem
    return answer.stdout


def log_size(log_file: Path) -> int:
    """Bytes in a log now, to read from here on later."""
    return log_file.stat().st_size if log_file.exists() else 0


def log_since(log_file: Path, offset: int) -> str:
    """What a server wrote after `offset`."""
    if not log_file.exists():
        return ""
    with log_file.open("rb") as file:
        file.seek(offset if offset <= log_file.stat().st_size else 0)
        return file.read().decode(errors="replace")


async def wait_for_exit(process: subprocess.Popen[bytes], timeout_seconds: float) -> bool:
    """Whether our child ended, and was reaped, within the time."""
    deadline = time.monotonic() + timeout_seconds
    while process.poll() is None:
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


async def end_child(process: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn, giving it its seconds, until the child has ended; SIGKILL comes last."""
    for signal_number, timeout_seconds in (*steps, (signal.SIGKILL, 10.0)):
        if process.poll() is not None:
            return
        process.send_signal(signal_number)
        if await wait_for_exit(process, timeout_seconds):
            return
    raise LocalStackError(f"process {process.pid} does not end, not even by SIGKILL")


async def end_leftover(pid: int, steps: Sequence[tuple[signal.Signals, float]]) -> ProcessState:
    """End a server that an earlier, killed process of ours left behind; its last state (zombie or gone)."""
    for signal_number, timeout_seconds in (*steps, (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_number)
        state = await wait_while(ProcessState.RUNNING, pid, timeout_seconds)
        if state is not ProcessState.RUNNING:
            return state
    raise LocalStackError(f"process {pid} of an earlier run does not end; end it by hand: kill -9 {pid}")


async def wait_while(unwanted: ProcessState, pid: int, timeout_seconds: float) -> ProcessState:
    """The state a process of somebody else's has when it leaves `unwanted`, or when the time is over."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        state = process_state(pid)
        if state is not unwanted or time.monotonic() >= deadline:
            return state
        await asyncio.sleep(POLL_SECONDS)


def process_state(pid: int) -> ProcessState:
    """Whether a process runs, has ended but was not reaped, or is gone."""
    status = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            letter = status.read_text(errors="replace").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return ProcessState.GONE
    else:
        letter = _ask_ps(pid, "stat=")[:1]
        if not letter:
            return ProcessState.GONE
    return ProcessState.ZOMBIE if letter in "ZXx" else ProcessState.RUNNING


def process_command(pid: int) -> str:
    """A process's command line, empty when it is gone, a zombie or not ours to read."""
    if not Path("/proc/self/cmdline").exists():
        return _ask_ps(pid, "args=")
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _ask_ps(pid: int, field: str) -> str:
    ps = shutil.which("ps")
    if ps is None:
        return ""
    answer = subprocess.run([ps, "-o", field, "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def listens_on(pid: int, port: int) -> bool:
    """Whether this very process holds the listening TCP socket of a port: an answer alone proves nothing."""
    if not Path("/proc/net/tcp").exists():
        return _lsof_says_listening(pid, port)
    sockets = _listening_socket_inodes(port)
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    return any(_link_target(descriptor) in sockets for descriptor in descriptors)


def _listening_socket_inodes(port: int) -> set[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            fields = line.split()
            if fields[3] == TCP_LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return inodes


def _link_target(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _lsof_says_listening(pid: int, port: int) -> bool:
    lsof = shutil.which("lsof")
    if lsof is None:
        return process_state(pid) is ProcessState.RUNNING
    command = [lsof, "-nP", "-a", "-p", str(pid), f"-iTCP:{port}", "-sTCP:LISTEN", "-t"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.split() == [str(pid)]


def free_port(ip: str, preferred: int = 0) -> int:
    """A TCP port nobody listens on right now, `preferred` when it is free; another may take it meanwhile."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ip, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise LocalStackError(f"no free TCP port on {ip}")
