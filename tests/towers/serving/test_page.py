"""The web page, in a real browser."""

from __future__ import annotations

import re
import shutil

import pytest

from towerzoo.towers.serving.page import page

selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service as Driver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOKEN = "a-token-of-the-tests"
TEXTS = """
return [...document.querySelectorAll(arguments[0])].map((one) => one.checkVisibility() ? one.innerText.trim() : "");
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs the Debian packages chromium and chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = selenium.Chrome(options=options, service=Driver(driver))
    running.set_page_load_timeout(20)
    yield running
    running.quit()


class Page:
    def __init__(self, browser, service, width=1280):
        self.browser = browser
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get_log("browser"), browser.get_log("performance")
        browser.get(f"http://127.0.0.1:{service.port}/")

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        """Visible texts of all elements at one moment: the page may replace elements between two calls."""
        return self.browser.execute_script(TEXTS, selector)

    def until(self, done):
        return WebDriverWait(self.browser, 10, poll_frequency=0.05).until(lambda _: done())

    def titles(self, run=1):
        return self.texts(f".run:nth-child({run}) .title")

    @property
    def focused(self):
        return self.browser.switch_to.active_element

    def press(self, *keys):
        self.focused.send_keys(*keys)

    def tab_to(self, selector):
        for _ in range(30):
            if self.browser.execute_script("return document.activeElement.matches(arguments[0])", selector):
                return
            self.press(Keys.TAB)
        raise AssertionError(f"the Tab key does not reach {selector}")


def test_the_file_loads_nothing_from_elsewhere():
    html, headers = page()
    assert not re.findall(rb"(?:https?:)?//[a-z]|@import|url\(", html)
    assert "default-src 'none'" in headers["content-security-policy"]


def test_a_known_user_gets_a_list_with_explanations(browser, service):
    seen = Page(browser, service)
    seen.until(lambda: len(seen.titles()) == 10)
    user = seen.one("#user").get_attribute("value")
    items = service.recommend(user=user, details=True)["items"]
    assert seen.titles() == [item["title"] for item in items]
    assert all(text.endswith(" %") for text in seen.texts(".chance"))
    button = seen.one(".why button")
    assert button.accessible_name == f"Why {items[0]['title']}?"
    button.click()
    seen.until(lambda: seen.texts(".detail th"))
    assert button.get_attribute("aria-expanded") == "true"
    assert "Ranks 1 of" in seen.one(".detail").text
    assert any(text.startswith("Gender: ") for text in seen.texts(".detail th"))


def test_the_keyboard_alone_is_enough_for_a_new_user(browser, service, recommender):
    title = recommender.names.title(8)
    seen = Page(browser, service)
    seen.until(lambda: seen.titles())
    seen.tab_to("#who-known")
    seen.press(Keys.ARROW_RIGHT)
    seen.tab_to("#search")
    seen.press(title[:-7].lower())
    seen.until(lambda: title in seen.texts("[role=option]"))
    assert seen.focused.get_attribute("aria-expanded") == "true"
    while seen.texts("[role=option][aria-selected=true]") != [title]:
        seen.press(Keys.ARROW_DOWN)
    seen.press(Keys.ENTER)
    expected = [item["title"] for item in service.recommend(liked=[title])["items"]]
    seen.until(lambda: seen.titles() == expected)
    assert "The user tower has no history" in seen.one("#message").text
    seen.tab_to("#k")
    seen.press(Keys.CONTROL, "a")
    seen.press("3", Keys.ENTER)
    seen.until(lambda: seen.titles() == expected[:3])
    seen.until(lambda: seen.focused.get_attribute("id") == "result")
    seen.one(f'[aria-label="Remove {title}"]').send_keys(Keys.ENTER)
    seen.until(lambda: seen.titles() == [])
    assert "Choose a title" in seen.one("#message").text


def test_two_runs_are_side_by_side_or_stacked_on_narrow_screens(browser, start, trained, runs):
    service = start(trained, runs)
    seen = Page(browser, service)
    seen.until(lambda: len(seen.all(".run")) == 2 and seen.titles(2))
    assert seen.texts(".run h2") == ["tiny-1", "tiny-2"]
    assert seen.titles(1) == seen.titles(2)  # copies of one run
    assert "10 of 10 are in both lists." in seen.one("#message").text
    assert seen.texts(".both")[0] == "no. 1 in the other list"
    first, second = (run.rect for run in seen.all(".run"))
    assert first["y"] == second["y"]
    for width in (390, 320):
        narrow = Page(browser, service, width=width)
        narrow.until(lambda: narrow.titles(2))  # noqa: B023
        first, second = (run.rect for run in narrow.all(".run"))
        assert second["y"] >= first["y"] + first["height"]
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_every_control_has_a_name_and_the_console_is_empty(browser, service):
    seen = Page(browser, service)
    seen.until(lambda: seen.titles())
    browser.execute_script("document.querySelectorAll('[hidden]').forEach(e => e.hidden = false)")
    browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    controls = seen.all("input, select, button")
    assert len(controls) > 15
    assert [control.get_attribute("outerHTML") for control in controls if not control.accessible_name.strip()] == []
    assert seen.one("html").get_attribute("lang") == "en"
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")] == []


def test_the_browser_calls_only_this_service(browser, service):
    seen = Page(browser, service)
    seen.until(lambda: seen.titles())
    urls = re.findall(
        r'"url":"((?:https?|wss?)://[^"]+)"', "".join(entry["message"] for entry in browser.get_log("performance"))
    )
    assert urls
    assert [url for url in urls if not url.startswith(f"http://127.0.0.1:{service.port}/")] == []


def test_the_page_asks_for_the_token_and_shows_errors(browser, start, trained):
    seen = Page(browser, start(trained, token=TOKEN))
    seen.until(lambda: seen.one("#token").is_displayed())
    seen.until(lambda: "Authorization must be" in seen.one("#message").text)
    seen.one("#token").send_keys(TOKEN, Keys.ENTER)
    seen.until(lambda: len(seen.titles()) == 10)
    assert not seen.one("#token").is_displayed()
    seen.one("#user").clear()
    seen.one("#user").send_keys("nobody", Keys.ENTER)
    seen.until(lambda: "The person must be a known user" in seen.one("#message").text)
    assert seen.titles() == []
