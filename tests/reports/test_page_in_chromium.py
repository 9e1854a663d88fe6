"""The page in a real browser: no errors, sortable from the keyboard, readable when narrow and in the dark.

Needs Chromium and its driver (Debian: `apt-get install chromium chromium-driver`). `SCREENSHOTS=folder`
keeps pictures to look at.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import stores
from stores import Truth

import reports
from reports.comparison import ComparisonOptions

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs Chromium and its driver: apt-get install chromium chromium-driver",
    ),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chromium") / "run"
    methods = {"uit": 60.0, "uit-no-tir": 52.0, "baseline": 45.0, "clip-zero-shot": 12.0}
    truth = Truth(
        r1=methods,
        people=60,
        seeds=2,
        datasets=("rendered-plaza", "rendered-station"),
        transfer=True,
        failed={("baseline", 1): "oom"},
        untrained=frozenset({"clip-zero-shot"}),
        directions=("t2i",),
    )
    stores.write(folder, truth)
    stores.add_pictures(folder, "rendered-plaza", caption="A woman in a red coat.")
    stores.add_pictures(
        folder, "rendered-plaza", caption="A tall man in a green <script>alert(1)</script> coat."
    )
    return reports.build([folder], options=ComparisonOptions(resamples=300)).path


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def show(
    browser: Chrome, page: Path, *, width: int = 1360, dark: bool = False, medium: str = "screen"
) -> None:
    """Load the page on a screen of that width."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": scheme})
    browser.get(page.as_uri())
    if folder := os.environ.get("SCREENSHOTS"):
        name = f"{medium}-{width}-{'dark' if dark else 'light'}.png"
        browser.save_screenshot(str(Path(folder) / name))


def test_the_page_opens_without_a_message_on_the_console_and_runs_no_foreign_script(
    browser: Chrome, page: Path
) -> None:
    show(browser, page)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.scripts.length") == 1
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_the_first_screen_holds_the_outcome_its_plot_what_was_decided_and_a_query(
    browser: Chrome, page: Path
) -> None:
    show(browser, page, width=1280)
    for part in (".lead", "figure.drawing", ".decided", ".decide", ".first-query .images"):
        bottom = f"return document.querySelector('{part}').getBoundingClientRect().bottom"
        assert browser.execute_script(bottom) < 800, part


def test_a_table_sorts_from_the_keyboard_with_empty_places_last(browser: Chrome, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    show(browser, page)
    table = browser.find_element("id", "table-r1-rendered-plaza")
    heading = table.find_elements("css selector", "thead th")[1]
    button = heading.find_element("tag name", "button")

    def column() -> list[float]:
        cells = table.find_elements("css selector", "tbody tr td:nth-child(2)")
        return [float(cell.get_attribute("data-sort") or "nan") for cell in cells]

    button.send_keys(Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "descending"
    assert column() == sorted(column(), reverse=True)
    button.send_keys(Keys.SPACE)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(column())


def test_everything_that_reacts_is_reached_with_the_tab_key(browser: Chrome, page: Path) -> None:
    show(browser, page)
    reacts = "[...document.querySelectorAll('a, button, summary, .scroll')]"
    assert browser.execute_script(f"return {reacts}.filter(part => part.tabIndex < 0).length") == 0


def test_a_number_opens_the_runs_it_came_from(browser: Chrome, page: Path) -> None:
    show(browser, page)
    link = browser.find_element("css selector", "#table-unfinished tbody a")
    browser.execute_script("arguments[0].click()", link)
    target = (link.get_attribute("href") or "").split("#")[1]
    browser.execute_async_script("setTimeout(arguments[0], 100)")
    assert browser.execute_script("return document.getElementById(arguments[0]).open", target)


@pytest.mark.parametrize("width", [360, 768, 1360])
def test_the_page_never_scrolls_sideways(browser: Chrome, page: Path, width: int) -> None:
    show(browser, page, width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_paper_contrast_in_light_and_dark(browser: Chrome, page: Path, dark: bool) -> None:
    """At least 4.5 to 1, for headings, muted notes, verdicts, and the labels inside figures."""
    show(browser, page, dark=dark)
    paper = luminance(browser, "body", "background-color")
    for selector, colour in (
        *((selector, "color") for selector in ("h1", ".note", "td.worse", "td.unknown", ".flag")),
        ("svg.figure text", "fill"),
    ):
        ink = luminance(browser, selector, colour)
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5, selector


def luminance(browser: Chrome, selector: str, name: str) -> float:
    """Relative luminance (WCAG) of a computed colour."""
    script = "return getComputedStyle(document.querySelector(arguments[0])).getPropertyValue(arguments[1])"
    text = browser.execute_script(script, selector, name)
    channels = [float(part) / 255 for part in text[text.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_printed_the_page_is_black_on_white_whatever_the_screen(browser: Chrome, page: Path) -> None:
    show(browser, page, dark=True, medium="print")
    assert luminance(browser, "body", "background-color") == pytest.approx(1.0)
    assert luminance(browser, "body", "color") == pytest.approx(0.0)
