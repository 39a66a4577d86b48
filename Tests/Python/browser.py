"""A headless Chromium, driven through its DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import websocket

PATIENCE = 120.0  # seconds, for a machine that is busy with other things


class Browser:
    """One page at a time. Used as a context manager."""

    def __enter__(self) -> Browser:
        program = shutil.which("chromium")
        assert program, "chromium is not installed: Scripts/setup.sh test-packages"
        self._profile = tempfile.TemporaryDirectory(prefix="igdm-chromium-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--hide-scrollbars", "--disable-background-networking", "--remote-debugging-port=0",
                "--remote-allow-origins=*", f"--user-data-dir={self._profile.name}", "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port = self._port()
        tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE))
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        self._socket = websocket.create_connection(address, timeout=PATIENCE)
        self._number = 0
        self.complaints: list[str] = []
        """What the console was told as an error or a warning, and exceptions, since open()."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._command(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._profile.cleanup()

    def open(self, page: Path, width: int, scheme: str) -> None:
        """Loads a file in a window of that width, in the "light" or "dark" colour scheme."""
        self.complaints.clear()
        self._command("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self._command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._loaded = False
        self._command("Page.navigate", url=page.resolve().as_uri())
        while not self._loaded:
            self._receive()

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self._command("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Writes the whole page as PNG."""
        answer = self._command("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(answer["data"]))

    def _port(self) -> int:
        file, end = Path(self._profile.name) / "DevToolsActivePort", time.monotonic() + PATIENCE
        while time.monotonic() < end:
            assert self._process.poll() is None, f"chromium ended with {self._process.returncode}"
            if file.exists() and (lines := file.read_text().split()):
                return int(lines[0])
            time.sleep(0.1)
        raise AssertionError("chromium did not open its port")

    def _command(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        number = self._number
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = self._receive()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv())
        about = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Runtime.exceptionThrown":
                self.complaints.append(str(about["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if about["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(about["args"]))
            case "Log.entryAdded" if about["entry"]["level"] in ("error", "warning"):
                self.complaints.append(str(about["entry"]))
            case "Network.requestWillBeSent" if not about["request"]["url"].startswith(("file:", "data:")):
                self.complaints.append(f"loads {about['request']['url']}")
        return message
