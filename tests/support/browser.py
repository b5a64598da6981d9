"""A real Chromium without a window, spoken to by the DevTools protocol over two pipes: no port, no driver, no further package."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import trio

from tests.support.waiting import PATIENCE, eventually

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """Debian's is first."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab."""

    def __init__(self, commands: trio.lowlevel.FdStream, answers: trio.lowlevel.FdStream) -> None:
        self._commands = commands
        self._answers = answers
        self._buffer = b""
        self._ids = count(1)
        self._session: str | None = None
        self.said: list[str] = []
        """Errors on the page's console, refused resources and exceptions among them."""

    async def open(self) -> None:
        target = await self._call("Target.createTarget", url="about:blank")
        attached = await self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self._call(f"{domain}.enable")

    async def go(self, url: str) -> None:
        await self._call("Page.navigate", url=url)

    async def read(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = await self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        shown = ""

        async def look() -> bool:
            nonlocal shown
            found = bool(await self.read(expression))
            shown = "" if found else await self.read("document.body?.innerText")
            return found

        await eventually(look, lambda: f"{expression}\n{shown}\n{self.said}")

    async def look(self, width: int, *, dark: bool, file: Path) -> None:
        """A picture of the whole page on a screen of this width, in light or dark colours."""
        await self.resize(width, dark=dark)
        taken = await self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        await trio.Path(file).write_bytes(base64.b64decode(taken["data"]))

    async def resize(self, width: int, *, dark: bool = False) -> None:
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self._call("Emulation.setEmulatedMedia", features=scheme)
        for height in (900, None):  # laid out at this width, then as high as that makes it
            size = height or await self.read("document.documentElement.scrollHeight")
            await self._call(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=int(size),
                deviceScaleFactor=1,
                mobile=width < 600,
            )

    async def _call(self, method: str, **params: Any) -> dict[str, Any]:
        id_ = next(self._ids)
        message: dict[str, Any] = {"id": id_, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        with trio.fail_after(PATIENCE):
            await self._commands.send_all(json.dumps(message).encode() + b"\0")
            while (answer := await self._next()).get("id") != id_:
                self._take_note(answer)
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    async def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            received = await self._answers.receive_some()
            assert received, "the browser ended"
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def _take_note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.said.append(str(params["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.said.append(params["entry"]["text"])


@asynccontextmanager
async def browser(program: str, profile: Path) -> AsyncIterator[Page]:
    """A tab in a browser of its own; it is killed at the end."""
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()
    flags = (
        "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-extensions --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync --hide-scrollbars "
        "--force-color-profile=srgb --remote-debugging-pipe about:blank"
    )
    launch = f'exec "$0" "$@" 3<&{commands_out} 4>&{answers_in}'
    process = await trio.lowlevel.open_process(
        ["bash", "-c", launch, program, f"--user-data-dir={profile}", *flags.split()],
        pass_fds=(commands_out, answers_in),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(commands_out)
    os.close(answers_in)
    async with (
        trio.lowlevel.FdStream(commands_in) as commands,
        trio.lowlevel.FdStream(answers_out) as answers,
    ):
        page = Page(commands, answers)
        try:
            await page.open()
            yield page
        finally:
            with trio.CancelScope(shield=True):
                with trio.move_on_after(5) as patience:  # deadline of the subject: it is killed then
                    await commands.aclose()  # the end of its pipe is the end of the browser
                    await process.wait()
                if patience.cancelled_caught:
                    os.killpg(process.pid, 9)
                    await process.wait()
