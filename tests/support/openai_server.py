"""A chat completions server for the OpenAI adapter: answers by a script, well or badly, and records the requests."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

LIMIT_S = 10.0


def chunk(
    text: str | None = None, *, finish: str | None = None, usage: dict[str, object] | None = None
) -> bytes:
    """One server-sent event, as OpenAI's reference describes it."""
    choices = (
        [] if usage else [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}]
    )
    return event({"object": "chat.completion.chunk", "choices": choices, "usage": usage})


def event(value: object) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


DONE = b"data: [DONE]\n\n"


@dataclass
class Script:
    """`body` are the pieces of one answer; an Event among them is waited for, None ends the connection at once."""

    status: int = 200
    body: list[bytes | asyncio.Event | None] = field(default_factory=list)


@dataclass
class ChatServer:
    """`disconnects` counts the callers that went before their answer was complete."""

    answer: Callable[[dict[str, Any]], Script]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.requests.append(body)
                self.headers.append(headers)
                await self._reply(self.answer(body), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _reply(
        self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(f"HTTP/1.1 {script.status} X\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for piece in script.body:
            if piece is None:
                raise ConnectionResetError
            if isinstance(piece, asyncio.Event):
                await self._wait(piece, reader)
                continue
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _wait(self, gate: asyncio.Event, reader: asyncio.StreamReader) -> None:
        opened = asyncio.ensure_future(gate.wait())
        gone = asyncio.ensure_future(reader.read(1))
        done, waiting = await asyncio.wait(
            {opened, gone}, timeout=LIMIT_S, return_when=asyncio.FIRST_COMPLETED
        )
        for task in waiting:
            task.cancel()
        if opened not in done:
            self.disconnected.set()
            raise ConnectionResetError


@asynccontextmanager
async def open_chat_server(answer: Callable[[dict[str, Any]], Script]) -> AsyncIterator[ChatServer]:
    chat = ChatServer(answer)
    server = await asyncio.start_server(chat.serve, "127.0.0.1", 0)
    chat.port = server.sockets[0].getsockname()[1]
    try:
        yield chat
    finally:
        server.close()
        await asyncio.wait_for(server.wait_closed(), LIMIT_S)


def scripted(text: str, *, pieces: int = 4, finish: str = "stop") -> Script:
    """A well-behaved answer."""
    size = -(-len(text) // pieces)
    parts = [chunk(text[at : at + size]) for at in range(0, len(text), size)]
    usage: dict[str, object] = {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    return Script(body=[b": welcome\n\n", *parts, chunk(finish=finish), chunk(usage=usage), DONE])
