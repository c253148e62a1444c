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

OPTIONS = ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync")
MORE_OPTIONS = ("disable-background-networking", "disable-component-update")
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
    for option in (*OPTIONS, *MORE_OPTIONS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{option}")
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
    view = Page(browser, service)
    view.until(lambda: len(view.titles()) == 10)
    user = view.one("#user").get_attribute("value")
    items = service.recommend(user=user, details=True)["items"]
    assert view.titles() == [item["title"] for item in items]
    assert all(text.endswith("%") for text in view.texts(".chance"))
    button = view.one(".why button")
    assert button.accessible_name == f"Why {items[0]['title']}?"
    button.click()
    view.until(lambda: view.texts(".detail th"))
    assert button.get_attribute("aria-expanded") == "true"
    assert "Ranks 1 of" in view.one(".detail").text
    assert any(text.startswith("Gender: ") for text in view.texts(".detail th"))


def test_the_keyboard_alone_is_enough_for_a_new_user(browser, service, recommender):
    title = recommender.names.title(8)
    view = Page(browser, service)
    view.until(lambda: view.titles())
    view.tab_to("#who-known")
    view.press(Keys.ARROW_RIGHT)
    view.tab_to("#search")
    view.press(title[:-7].lower())
    view.until(lambda: title in view.texts("[role=option]"))
    assert view.focused.get_attribute("aria-expanded") == "true"
    while view.texts("[role=option][aria-selected=true]") != [title]:
        view.press(Keys.ARROW_DOWN)
    view.press(Keys.ENTER)
    expected = [item["title"] for item in service.recommend(liked=[title])["items"]]
    view.until(lambda: view.titles() == expected)
    assert "The user tower has no history" in view.one("#message").text
    view.tab_to("#k")
    view.press(Keys.CONTROL, "a")
    view.press("3", Keys.ENTER)
    view.until(lambda: view.titles() == expected[:3])
    view.until(lambda: view.focused.get_attribute("id") == "result")
    view.one(f'[aria-label="Remove {title}"]').send_keys(Keys.ENTER)
    view.until(lambda: view.titles() == [])
    assert "Choose a title" in view.one("#message").text


def test_two_runs_are_side_by_side_or_stacked_on_narrow_screens(browser, start, trained, runs):
    service = start(trained, runs)
    view = Page(browser, service)
    view.until(lambda: len(view.all(".run")) == 2 and view.titles(2))
    assert view.texts(".run h2") == ["tiny-1", "tiny-2"]
    assert view.titles(1) == view.titles(2)  # copies of one run
    assert "10 of 10 are in both lists." in view.one("#message").text
    assert view.texts(".both")[0] == "no. 1 in the other list"
    first, second = (run.rect for run in view.all(".run"))
    assert first["y"] == second["y"]
    narrow = Page(browser, service, width=320)
    narrow.until(lambda: narrow.titles(2))
    first, second = (run.rect for run in narrow.all(".run"))
    assert second["y"] >= first["y"] + first["height"]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 320


def test_every_control_has_a_name_and_only_this_service_is_called(browser, service):
    view = Page(browser, service)
    view.until(lambda: view.titles())
    browser.execute_script("document.querySelectorAll('[hidden]').forEach(e => e.hidden = false)")
    browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    controls = view.all("input, select, button")
    assert len(controls) > 15
    assert [control.get_attribute("outerHTML") for control in controls if not control.accessible_name.strip()] == []
    assert view.one("html").get_attribute("lang") == "en"
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")] == []
    messages = "".join(entry["message"] for entry in browser.get_log("performance"))
    urls = re.findall(r'"url":"((?:https?|wss?)://[^"]+)"', messages)
    assert urls
    assert [url for url in urls if not url.startswith(f"http://127.0.0.1:{service.port}/")] == []


def test_the_page_asks_for_the_token_and_shows_errors(browser, start, trained):
    view = Page(browser, start(trained, token=TOKEN))
    view.until(lambda: view.one("#token").is_displayed())
    view.until(lambda: "Authorization must be" in view.one("#message").text)
    view.one("#token").send_keys(TOKEN, Keys.ENTER)
    view.until(lambda: len(view.titles()) == 10)
    assert not view.one("#token").is_displayed()
    view.one("#user").clear()
    view.one("#user").send_keys("nobody", Keys.ENTER)
    view.until(lambda: "The person must be a known user" in view.one("#message").text)
    assert view.titles() == []
