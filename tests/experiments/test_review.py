"""The review page in a real browser: drag, split, merge, keys, save and reload; and what its server refuses."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from episodes.annotations import Segment, read_annotations, truth_curve
from episodes.returns import annotated_return
from episodes.store import EpisodeStore
from experiments.review.server import Review, make_server
from tests import ROOT
from tests.helpers.some_episodes import make_spec
from tests.helpers.vlm_server import made_episode

PROPOSED = {
    "0": {"segments": [{"type": "hesitation", "m": 10, "n": 16, "note": "waits"},
                       {"type": "retry", "m": 20, "n": 26, "note": "<b>misses</b>"}], "summary": "Lifts the cube."},
    "1": {"segments": None},
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    store = EpisodeStore.create(tmp_path / "store", make_spec(hz=10.0))
    store.append([made_episode(0, T=40), made_episode(1, T=30)])
    (store.path / "proposals.json").write_text(json.dumps(PROPOSED))
    return store


def review_of(store: EpisodeStore) -> Review:
    return Review(store, store.path / "annotations.csv", store.path / "proposals.json")


@pytest.fixture
def address(store: EpisodeStore) -> Iterator[str]:
    server = make_server(review_of(store))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def browser() -> Iterator[Any]:
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver or not chromium:
        pytest.skip("needs chromium and chromium-driver (apt-get install chromium chromium-driver)")
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1200,900",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options, ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


class Page:
    """The page as a person uses it."""

    def __init__(self, browser: Any, address: str, pictures: Path) -> None:
        from selenium.webdriver.support.wait import WebDriverWait

        self.browser, self.address, self.pictures = browser, address, pictures
        self.until = lambda test: WebDriverWait(browser, 20, 0.05).until(lambda _: test())
        self.open()

    def open(self, fragment: str = "") -> None:
        self.browser.get("about:blank")
        self.browser.get(self.address + fragment)
        self.until(lambda: self.find("#list tr") and self.find("#curve polyline"))

    def find(self, css: str) -> Any:
        from selenium.webdriver.common.by import By

        return self.browser.find_elements(By.CSS_SELECTOR, css)

    def rows(self) -> list[tuple[str, int, int]]:
        cells = [[c.text for c in row.find_elements("css selector", "td")] for row in self.find("#list tr")[1:]]
        return [(c[0], int(c[1]), int(c[2])) for c in cells]

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def drag(self, css: str, frames: float, T: int) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        width = self.find("#marked")[0].size["width"]
        move = ActionChains(self.browser, duration=20).click_and_hold(self.find(css)[0])
        move.move_by_offset(round(frames * width / T), 0).release().perform()

    def said(self) -> str:
        return self.find("#said")[0].text

    def save(self) -> None:
        self.find("#save")[0].click()
        self.until(lambda: self.said() == "Saved.")

    def shot(self, name: str) -> None:
        self.browser.save_screenshot(str(self.pictures / f"{name}.png"))


def test_a_person_corrects_the_proposals(browser: Any, address: str, store: EpisodeStore, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    page = Page(browser, address, tmp_path)
    assert page.rows() == [("hesitation", 10, 16), ("retry", 20, 26)]
    assert "not reviewed" in page.find("#state")[0].text and "0 of 2 reviewed" in page.find("#count")[0].text
    assert "Lifts the cube." in page.find("#task")[0].text and "<b>misses</b>" in page.find("#list")[0].text
    page.shot("proposed")

    page.drag('.seg[data-i="0"] .grip.n', 1, 40)  # an end by one frame
    assert page.rows()[0] == ("hesitation", 10, 17)
    page.drag('.seg[data-i="0"] .grip.n', 8, 40)  # it stops before its neighbour
    assert page.rows()[0] == ("hesitation", 10, 19)
    page.press("z")
    assert page.rows()[0] == ("hesitation", 10, 17)
    page.press(",", ">")  # the keys do the same: start back, end on
    assert page.rows()[0] == ("hesitation", 9, 18)
    page.press("<")
    assert page.rows() == [("hesitation", 9, 17), ("retry", 20, 26)]

    page.find("#list tr[data-i='1']")[0].click()  # pick the second, go inside, split it
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "s")
    assert page.rows() == [("hesitation", 9, 17), ("retry", 20, 22), ("retry", 23, 26)]
    page.shot("split")
    page.find("#list tr[data-i='0']")[0].click()  # merge the first two
    page.press("m")
    assert page.rows() == [("hesitation", 9, 22), ("retry", 23, 26)]
    page.find("#split")[0].click()  # at 9, its first frame: a part would have one frame
    assert "two frames" in page.said() and len(page.rows()) == 2
    page.find("#list tr[data-i='1']")[0].click()
    page.press("t")  # a failure has no truth curve
    page.until(lambda: "No truth curve" in page.said() and not page.find("#curve polyline"))
    page.press("t", "t", Keys.DELETE)
    assert page.rows() == [("hesitation", 9, 22)]
    page.press("t")
    page.until(lambda: page.find("#curve polyline"))
    assert "unsaved" in page.find("#state")[0].text
    page.save()
    assert "reviewed" in page.find("#state")[0].text and "1 of 2 reviewed" in page.find("#count")[0].text
    page.shot("saved")

    page.open("#0")  # from the disk again
    assert page.rows() == [("retry", 9, 22)]
    review = review_of(store)
    assert review.annotations == {0: (Segment("retry", 9, 22),)} == read_annotations(store.path / "annotations.csv")
    assert (store.path / "annotations.csv").read_text() == "episode,type,m,n\n0,retry,9,22\n"
    np.testing.assert_array_equal(truth_curve(review.annotations[0], 40), annotated_return(40, 9, 22, "retry"))

    page.press("n")  # the next episode has no readable proposal: it is looked at all the same
    page.until(lambda: "no readable proposal" in page.find("#task")[0].text)
    assert page.rows() == []
    page.press(*[Keys.ARROW_RIGHT] * 5, "a")
    assert page.rows() == [("hesitation", 5, 15)]
    page.press(Keys.DELETE, Keys.ENTER)
    page.until(lambda: page.said() == "Saved.")
    assert read_annotations(store.path / "annotations.csv")[1] == ()
    page.press(" ")
    page.until(lambda: "frame 2" in page.find("#clock")[0].text)
    drawn = browser.execute_script(
        "const c = document.getElementById('view-front'); return [...c.getContext('2d').getImageData(0, 0, 1, 1).data]"
    )
    assert drawn[3] == 255 and 20 <= drawn[0] <= 230
    wrong = browser.get_log("browser")
    assert not wrong, wrong


def ask(url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]


def test_what_the_server_refuses(address: str, store: EpisodeStore) -> None:
    segments = [{"type": "retry", "m": 5, "n": 9}]
    assert ask(address + "api/save", {"episode": 0, "segments": segments})[0] == 200
    before = (store.path / "annotations.csv").read_text()
    for body, message in [
        ({"episode": 0, "segments": [{"type": "retry", "m": 5, "n": 39}]}, "needs 0 < m < n < 39"),
        ({"episode": 0, "segments": [{"type": "pause", "m": 5, "n": 9}]}, "pause"),
        ({"episode": 0, "segments": [{"type": "retry", "m": 5.5, "n": 9}]}, "whole numbers"),
        ({"episode": 0, "segments": segments * 2}, "overlaps"),
        ({"episode": 7, "segments": []}, "no episode 7"),
        ({"segments": []}, "episode"),
        ([], ""),
    ]:
        status, error = ask(address + "api/save", body)
        assert status == 400 and message in error
    assert ask(address + "api/save", {"episode": 0, "segments": []}, Origin="http://evil.example")[0] == 403
    assert ask(address + "api/save", {"episode": 0, "segments": []}, Host="evil.example")[0] == 403
    assert ask(address + "api/episodes", None, Host="evil.example")[0] == 403
    assert ask(address + "api/save", {"episode": 0, "segments": []}, **{"Content-Type": "text/plain"})[0] == 400
    assert ask(address + "api/frame?episode=0&camera=front&t=40")[0] == 400
    assert ask(address + "api/frame?episode=0&camera=../x&t=1")[0] == 400
    assert ask(address + "../../etc/passwd")[0] == 404
    assert (store.path / "annotations.csv").read_text() == before
    host = socket.gethostbyname(socket.gethostname())
    if not host.startswith("127."):  # nobody else reaches it
        with pytest.raises(OSError):
            socket.create_connection((host, int(address.rsplit(":", 1)[1].strip("/"))), timeout=2).close()


def test_files_of_another_store_are_refused(store: EpisodeStore) -> None:
    (store.path / "annotations.csv").write_text("episode,type,m,n\n5,retry,3,9\n")
    with pytest.raises(ValueError, match=r"annotations.csv: speaks of episode 5, which .* lacks"):
        review_of(store)
    (store.path / "annotations.csv").unlink()
    (store.path / "proposals.json").write_text('{"0": {"segments": [{"m": 1}]}}')
    with pytest.raises(ValueError, match=r"proposals.json: .*propose the segments again"):
        review_of(store)


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.review", str(tmp_path / "nothing"), "browser=false"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "not an episode store" in done.stderr


def test_edits_of_another_program_are_not_overwritten(store: EpisodeStore) -> None:
    review, file = review_of(store), store.path / "annotations.csv"
    review.save(0, [Segment("retry", 5, 9)])
    review.save(1, [])
    theirs = file.read_text() + "2,retry,3,9\n"
    file.write_text(theirs)
    with pytest.raises(ValueError, match=r"annotations.csv was changed by another program"):
        review.save(0, [])
    assert file.read_text() == theirs


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_proposals_with_numbers_that_no_browser_reads_are_refused(number: str, store: EpisodeStore) -> None:
    (store.path / "proposals.json").write_text(f'{{"0": {{"segments": null, "score": {number}}}}}')
    with pytest.raises(ValueError, match=rf"proposals.json: {number} is no JSON number"):
        review_of(store)
