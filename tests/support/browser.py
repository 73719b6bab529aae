"""A headless Chromium that works the Prefect UI as a person would: by the labels it shows."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import ElementClickInterceptedException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

WAIT_SECONDS = 60.0
LABEL = "//label[normalize-space(.)='{name} (Optional)']"
CONTROLS = ".//input or .//textarea or .//button[@role='tab' or starts-with(@aria-label, 'Select')]"
FORM_ITEM = f"{LABEL}/ancestor::div[{CONTROLS}][1]"


@contextmanager
def browser(width: int = 1280, height: int = 900) -> Iterator["Browser"]:
    """Open a Chromium and close it whatever happens."""
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.add_argument(f"--window-size={width},{height}")
    options.add_argument("--hide-scrollbars")
    options.binary_location = shutil.which("chromium") or ""
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


class Browser:
    """One page at a time.

    Args:
        driver: The open Chromium.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, url: str, text: str) -> None:
        """Open a page and wait until it shows ``text``."""
        self.driver.get(url)
        self.see(text)

    def see(self, text: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until the page shows ``text``."""
        WebDriverWait(self.driver, seconds).until(lambda _: text in self.text, text)

    def gone(self, text: str) -> None:
        """Wait until the page no longer shows ``text``: a message lies over the buttons."""
        WebDriverWait(self.driver, WAIT_SECONDS).until(lambda _: text not in self.text, text)

    @property
    def text(self) -> str:
        """What the page shows."""
        return str(self.driver.execute_script("return document.body.innerText"))

    def fill(self, name: str, value: str) -> None:
        """Type into the field with this label; an optional one is switched on first."""
        item = self._find(FORM_ITEM.format(name=name))
        boxes = item.find_elements(By.CSS_SELECTOR, "input:not([type=checkbox]), textarea")
        if not boxes:
            item.find_element(By.XPATH, ".//button[@role='tab'][1]").click()
            WebDriverWait(self.driver, WAIT_SECONDS).until(
                lambda _: item.find_elements(By.CSS_SELECTOR, "input, textarea")
            )
            boxes = item.find_elements(By.CSS_SELECTOR, "input, textarea")
        boxes[0].send_keys(Keys.CONTROL, "a")
        boxes[0].send_keys(value)

    def choose(self, name: str, option: str) -> None:
        """Pick from the drop-down with this label."""
        item = self._find(FORM_ITEM.format(name=name))
        item.find_element(By.CSS_SELECTOR, "button[aria-label^='Select']").click()
        self._find(f"//*[@role='option'][normalize-space(.)='{option}']").click()

    def press(self, text: str) -> None:
        """Press the button that says ``text``."""
        button = self._find(f"//button[normalize-space(.)='{text}']")
        # A message that floats over the page catches the mouse until it goes.
        waiting = WebDriverWait(
            self.driver, WAIT_SECONDS, ignored_exceptions=[ElementClickInterceptedException]
        )

        def click(_: Any) -> bool:
            button.click()
            return True

        waiting.until(click, text)

    def log_in(self, login: str) -> None:
        """Type the login into Prefect's own form for it."""
        box = self._find("//input[@type='password']")
        box.send_keys(login)
        self.press("Login")

    def picture(self, path: Path) -> None:
        """Keep what is seen as a PNG."""
        self.driver.save_screenshot(str(path))

    def _find(self, xpath: str) -> Any:
        waiting = WebDriverWait(self.driver, WAIT_SECONDS)
        return waiting.until(lambda driver: driver.find_element(By.XPATH, xpath), xpath)
