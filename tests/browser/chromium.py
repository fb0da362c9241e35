"""Opens pages in headless Chromium, over WebDriver's plain HTTP (https://www.w3.org/TR/webdriver2/) and, for what that
has no word for, the DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

FLAGS = [
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
]  # fmt: skip
PORT = re.compile(r"started successfully on port (\d+)")


def programs() -> tuple[str, str] | None:
    """Chromium and its driver, or None where either is missing."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Chromium:
    """A browser of its own: an empty profile, and nothing kept."""

    def __init__(self, profile: Path) -> None:
        found = programs()
        assert found is not None
        browser, driver = found
        self._log = profile / "driver.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([driver, "--port=0"], stdout=log, stderr=subprocess.STDOUT)
        try:
            self._base = f"http://127.0.0.1:{self._port()}"
            flags = [*FLAGS, f"--user-data-dir={profile / 'profile'}"]
            if os.geteuid() == 0:
                flags.append("--no-sandbox")  # its sandbox does not work for root
            wanted = {
                "goog:chromeOptions": {"binary": browser, "args": flags},
                "goog:loggingPrefs": {"browser": "ALL"},
            }
            self._session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        except BaseException:
            self.close()
            raise

    def _port(self) -> int:
        for _ in range(200):
            if found := PORT.search(self._log.read_text()):
                return int(found[1])
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"the driver does not answer: {self._log.read_text()}")

    def _call(self, method: str, path: str, data: Any = None) -> Any:
        body = None if method != "POST" else json.dumps(data or {}).encode()
        request = urllib.request.Request(self._base + path, body, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by way of a proxy
        try:
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()[:2000]) from None

    def _in(self, method: str, path: str, data: Any = None) -> Any:
        return self._call(method, f"/session/{self._session}{path}", data)

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self._in("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def show(self, page: Path, width: int, height: int, *, dark: bool = False) -> None:
        """Open a page in a window of that size, in CSS pixels; below 600 it is a phone's."""
        phone = width < 600
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])
        self.complaints()
        self._in("POST", "/url", {"url": page.as_uri()})

    def run(self, script: str) -> Any:
        """What a function body returns in the page."""
        return self._in("POST", "/execute/sync", {"script": script, "args": []})

    def complaints(self) -> list[str]:
        """What the console says since the last time: errors of scripts, of the policy, of loading."""
        return [entry["message"] for entry in self._in("POST", "/se/log", {"type": "browser"})]

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A screenshot, of the whole page if asked."""
        taken = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))

    def close(self) -> None:
        """End the browser and its driver."""
        try:
            if hasattr(self, "_session"):
                self._in("DELETE", "")
        finally:
            self._process.terminate()
            self._process.wait(20)
