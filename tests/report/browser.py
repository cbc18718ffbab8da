"""A headless Chromium that opens one page and tells what it logged and what it tried to load; spoken to through a pipe."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe"]


@dataclass
class Page:
    """The page that is open: `errors` it logged, `requests` it made beyond its own file."""

    reader: int
    writer: int
    session: str = ""
    buffered: bytes = b""
    count: int = 0
    url: str = ""
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a DevTools command; what the page reports meanwhile is kept."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        os.write(self.writer, json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def open(self, path: Path) -> None:
        """Load the file and wait until it is drawn."""
        self.url = path.as_uri()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=self.url)
        self.evaluate("new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))")
        self.evaluate("new Promise(done => setTimeout(done, 100))")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def look(self, path: Path, *, width: int, height: int = 900, scheme: str = "light", whole: bool = True) -> None:
        """A screenshot at this width in this colour scheme."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def print(self, path: Path) -> None:
        """The page as PDF."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=False)["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.buffered:
            chunk = os.read(self.reader, 1 << 20)
            assert chunk, "the browser went away"
            self.buffered += chunk
        message, self.buffered = self.buffered.split(b"\0", 1)
        decoded: dict[str, Any] = json.loads(message)
        return decoded

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Log.entryAdded" if parameters["entry"]["level"] == "error":
                self.errors.append(parameters["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(parameters["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if parameters["type"] == "error":
                self.errors.append(json.dumps(parameters["args"]))
            case "Network.requestWillBeSent" if parameters["request"]["url"] != self.url:
                self.requests.append(parameters["request"]["url"])


@contextmanager
def page() -> Iterator[Page]:
    """A browser with one empty page, ended on leaving."""
    assert CHROMIUM, "no Chromium on this machine"
    to_browser, from_browser = os.pipe(), os.pipe()
    with TemporaryDirectory() as profile:
        command = " ".join(
            ["exec", CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"3<&{to_browser[0]}", f"4>&{from_browser[1]}"]
        )
        process = subprocess.Popen(
            ["bash", "-c", command],
            pass_fds=(to_browser[0], from_browser[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        opened = Page(from_browser[0], to_browser[1])
        try:
            target = opened.call("Target.createTarget", url="about:blank")["targetId"]
            opened.session = opened.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            yield opened
        finally:
            os.close(to_browser[1])
            os.close(from_browser[0])
            process.terminate()
            process.wait(20)
