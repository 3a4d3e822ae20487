"""A proxy between a client and Postgres, on Unix sockets: it delays, half-opens, and loses the reply of COMMIT."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

SOCKET_NAME = ".s.PGSQL.5432"
# What asyncpg sends to commit: a message of one simple query.
COMMIT = b"Q\x00\x00\x00\x0cCOMMIT;\x00"
CHUNK_BYTES = 65_536


@dataclass
class PostgresProxy:
    """``folder`` is the host to connect to. The faults are in force from the moment they are set."""

    folder: Path
    target: Path
    lost_replies_left: int = 0
    delay_seconds: float = 0.0
    swallows: bool = False
    lost_replies: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _pipes: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(str(self.target / SOCKET_NAME))
        except OSError:
            writer.close()
            return
        link = _Link(self, server_reader, server_writer, reader, writer)
        self._writers |= {writer, server_writer}
        pipes = [asyncio.create_task(link.to_server()), asyncio.create_task(link.to_client())]
        self._pipes |= set(pipes)
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in (writer, server_writer):
                end.close()
                self._writers.discard(end)
            for pipe in pipes:
                pipe.cancel()
                self._pipes.discard(pipe)

    def cut_all(self) -> None:
        """Every connection ends now, on both sides."""
        for writer in list(self._writers):
            writer.close()


@dataclass
class _Link:
    proxy: PostgresProxy
    server_reader: asyncio.StreamReader
    server_writer: asyncio.StreamWriter
    client_reader: asyncio.StreamReader
    client_writer: asyncio.StreamWriter
    loses_next_reply: bool = False

    async def to_server(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self.client_reader.read(CHUNK_BYTES):
                if self.proxy.lost_replies_left > 0 and data == COMMIT:
                    self.proxy.lost_replies_left -= 1
                    self.loses_next_reply = True
                await self._delay()
                self.server_writer.write(data)
                await self.server_writer.drain()

    async def to_client(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self.server_reader.read(CHUNK_BYTES):
                if self.loses_next_reply:  # Postgres has committed and says so: nobody hears it
                    self.proxy.lost_replies += 1
                    return
                await self._delay()
                self.client_writer.write(data)
                await self.client_writer.drain()

    async def _delay(self) -> None:
        """Half-open: both ends stay connected and nothing passes, for as long as it lasts."""
        while True:
            if not self.proxy.swallows:
                break
            await asyncio.sleep(0.05)
        if self.proxy.delay_seconds:
            await asyncio.sleep(self.proxy.delay_seconds)


@asynccontextmanager
async def postgres_proxy(folder: Path, target: Path) -> AsyncIterator[PostgresProxy]:
    """``target`` is the folder of the server's socket, ``folder`` a short path of its own."""
    proxy = PostgresProxy(folder, target)
    folder.mkdir(mode=0o700, exist_ok=True)  # noqa: ASYNC240  once, before anything runs
    server = await asyncio.start_unix_server(proxy.serve, path=str(folder / SOCKET_NAME))
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut_all()
        for pipe in list(proxy._pipes):
            pipe.cancel()
        await asyncio.gather(*proxy._pipes, return_exceptions=True)
