"""The Prefect UI in headless Chromium: fill in a form, send it, look at pages.

For scripts/screenshots and the test that does the same. Needs Chromium and its driver (Debian:
apt-get install chromium chromium-driver) and the Python package selenium.
"""

import io
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from support.prefect_api import Api

_SECONDS = 120
_SECONDS_TO_SEND = 15.0
_COLOURS = 64
_SWITCHES = ("headless=new", "no-sandbox", "disable-gpu", "window-size=1180,1250")


def missing_programs() -> list[str]:
    """Return which of Chromium and its driver are not installed."""
    return [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]


class Browser:
    """Chromium on the UI of one server. Use it in a ``with`` statement."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._ui = str(api.client.base_url).rstrip("/").removesuffix("/api") + "/v2"
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for switch in _SWITCHES:
            options.add_argument(f"--{switch}")
        os.environ.setdefault("SE_OFFLINE", "true")
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        self._chrome = webdriver.Chrome(options=options, service=service)
        self._known: set[str] = set()
        self._pressed_s = 0.0

    def __enter__(self) -> Self:
        """Return the browser."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Close it."""
        self._chrome.quit()

    @property
    def text(self) -> str:
        """Text of the page."""
        return self._chrome.find_element(By.TAG_NAME, "body").text

    def show(self, page: str, text: str) -> None:
        """Open a page of the UI and wait until it says something, pictures and graphs included."""
        self._chrome.get(f"{self._ui}/{page}")
        self.wait_for(text)
        time.sleep(3)  # pictures and graphs come after the text

    def wait_for(self, text: str) -> None:
        """Wait until the page says something."""
        self._wait(lambda: text in self.text, f"{self._chrome.current_url} does not say {text!r}")

    def pictures(self) -> int:
        """Return how many plots the page shows."""
        found = self._chrome.find_elements(By.CSS_SELECTOR, "img[src^='data:image']")
        return sum(int(each.get_property("naturalWidth")) > 0 for each in found)

    def open_form(self, deployment: str) -> None:
        """Open the form that starts a run of a deployment."""
        found = self._api.request("GET", f"/deployments/name/{deployment}").json()
        self.show(f"deployments/deployment/{found['id']}/run", "Submit")

    def fill_in(self, before: str, now: str) -> None:
        """Type over the field that holds a value."""
        field = self._wait(lambda: self._field(before), f"the form has no field with {before!r}")
        self._chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", field)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(now)
        time.sleep(1)

    def submit(self) -> None:
        """Press the form's button."""
        self._known = {run["id"] for run in self._runs()}
        self._press_submit()

    def complaint(self, value: str) -> str:
        """Return what the browser says against a field's value, beside it; empty if nothing."""
        field = self._wait(lambda: self._field(value), f"the form has no field with {value!r}")
        return str(field.get_property("validationMessage"))

    def wait_for_run(self, name: str) -> str:
        """Return the id of the run that the form just sent has started, once it bears a name.

        A form that is sent is left; one that still stands was pressed before it was ready.
        """

        def started() -> list[str]:
            if time.monotonic() - self._pressed_s > _SECONDS_TO_SEND:
                self._press_submit()
            runs = self._runs(name)
            return [run["id"] for run in runs if run["id"] not in self._known]

        found: list[str] = self._wait(started, f"no run is called {name}")
        return found[0]

    def save(self, path: Path) -> None:
        """Write what is seen as a small PNG."""
        image = Image.open(io.BytesIO(self._chrome.get_screenshot_as_png())).convert("RGB")
        image.quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)

    def _press_submit(self) -> None:
        self._pressed_s = time.monotonic()
        for button in self._chrome.find_elements(By.XPATH, "//button[normalize-space()='Submit']"):
            self._chrome.execute_script("arguments[0].click()", button)

    def _runs(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the newest runs, or those of a name."""
        wanted: dict[str, Any] = {"sort": "EXPECTED_START_TIME_DESC"}
        if name is not None:
            wanted["flow_runs"] = {"name": {"any_": [name]}}
        answer = self._api.request("POST", "/flow_runs/filter", json=wanted)
        return list(answer.json())

    def _field(self, value: str) -> WebElement | None:
        fields = self._chrome.find_elements(By.CSS_SELECTOR, "input, textarea")
        return next((each for each in fields if each.get_attribute("value") == value), None)

    def _wait(self, what: Callable[[], Any], problem: str) -> Any:
        try:
            return WebDriverWait(self._chrome, _SECONDS).until(lambda _: what())
        except TimeoutException:
            raise AssertionError(f"{problem}; the page says:\n{self.text[:3000]}") from None
