"""A browser at one page of a board. Selenium is imported when it is used, since it may not be installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Browser:
    """Headless Chromium at one page, and what a reader does there."""

    def __init__(self, driver: Any, page: Path) -> None:
        self.driver, self.page = driver, page

    def open(self, state: str = "") -> None:
        self.driver.get("about:blank")
        self.driver.get(f"{self.page.as_uri()}#{state}")
        self.until("return document.documentElement.dataset.ready")

    def until(self, script: str) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 60, 0.05).until(lambda driver: driver.execute_script(script))

    def run(self, script: str, *values: Any) -> Any:
        return self.driver.execute_script(script, *values)

    def find(self, css: str) -> Any:
        return self.driver.find_element("css selector", css)

    def press(self, *keys: str) -> None:
        from selenium import webdriver

        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def table(self) -> dict[str, list[tuple[str, str]]]:
        """By heading the name and rank of each line."""
        found = self.run("""return [...document.querySelectorAll("section.group")].map((group) => [
            group.querySelector("h2").textContent, [...group.querySelectorAll("tbody tr")].map((row) => [
            row.querySelector("th").textContent, row.querySelector("td.rank").textContent])])""")
        return {heading: [(name, rank) for name, rank in lines] for heading, lines in found}

    def hash(self) -> str:
        return str(self.run("return location.hash"))
