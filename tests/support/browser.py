"""A headless Chromium that opens a page from disk, and says what went wrong there."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
DESKTOP, PHONE = (1200, 900), (390, 844)


class Browser:
    """One page at a time."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, size: tuple[int, int] = DESKTOP, *, scheme: str = "light") -> None:
        """Open a page in a window of `size` pixels, for someone whose system is `light` or `dark`."""
        self.logs()
        self.requests()
        self._ask(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self.resize(size)
        self.driver.get(page.as_uri())

    def resize(self, size: tuple[int, int]) -> None:
        """Make the window as large, or as small, as no real one may be."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=size == PHONE,
        )

    def logs(self) -> list[str]:
        """Return what the console got since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return what was asked for since the page was opened, but for data that stands in the page itself."""
        events = [
            json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")
        ]
        urls = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith("data:")]

    def script(self, text: str, *arguments: object) -> Any:
        """Run the body of a function in the page and return what it returns."""
        return self.driver.execute_script(text, *arguments)

    def all(self, selector: str) -> list[Any]:
        """Return the elements that a CSS selector matches."""
        return list(self.driver.find_elements("css selector", selector))

    def one(self, selector: str) -> Any:
        """Return the only element that a CSS selector matches, as soon as it is there: scripts may make it."""
        from selenium.webdriver.support.ui import WebDriverWait

        (result,) = WebDriverWait(self.driver, 20).until(lambda _: self.all(selector))
        return result

    def until(self, script: str) -> None:
        """Wait until the body of a function in the page returns true."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 20).until(lambda _: self.script(script))

    def texts(self, selector: str) -> list[str]:
        """Return the text of each element."""
        return self.script(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)",
            selector,
        )

    def draw(self) -> None:
        """Come near every plot, since each waits for that, and see it drawn."""
        from selenium.webdriver.support.ui import WebDriverWait

        for box in self.all(".plot"):
            self.script("arguments[0].scrollIntoView()", box)
            WebDriverWait(self.driver, 20).until(
                lambda _, box=box: box.find_elements("css selector", ".main-svg")
            )

    def choose(self, selector: str, value: str) -> None:
        """Choose from a list, as a user does."""
        self.script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))",
            self.one(selector),
            value,
        )

    def screenshot(self, file: Path) -> Path:
        """Write the whole page as an image."""
        width = self.script("return innerWidth")
        height = self.script("return document.documentElement.scrollHeight")
        result = self._ask(
            "Page.captureScreenshot",
            captureBeyondViewport=True,
            clip={"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
        )
        file.write_bytes(base64.b64decode(result["data"]))
        return file

    def paper(self, file: Path) -> Path:
        """Write the page as it prints, as PDF."""
        result = self._ask(
            "Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69
        )
        file.write_bytes(base64.b64decode(result["data"]))
        return file

    def _ask(self, command: str, **parameters: object) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium; without it the test is skipped, unless CI_BROWSER says that it must be there."""
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    missing = [name for name, path in programs.items() if path is None]
    if missing:
        reason = f"{' and '.join(missing)} not installed: apt-get install chromium chromium-driver"
        pytest.fail(reason) if os.environ.get("CI_BROWSER") == "1" else pytest.skip(reason)
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(programs["chromium"])
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with TemporaryDirectory(
        ignore_cleanup_errors=True
    ) as folder:  # Chromium leaves one of its own behind
        service = webdriver.ChromeService(
            str(programs["chromedriver"]), env={**os.environ, "TMPDIR": folder}
        )
        driver = webdriver.Chrome(options=options, service=service)
        try:
            yield Browser(driver)
        finally:
            driver.quit()
