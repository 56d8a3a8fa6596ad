"""leaderboard.html in headless Chromium, by its DOM."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finefuse import api
from finefuse.judge.board.leaderboard import make_leaderboard
from finefuse.judge.frame import correctness
from finefuse.types import Record
from helpers.answers import predicted
from helpers.browser import Browser

webdriver = pytest.importorskip("selenium.webdriver", reason="the tests of the page need selenium")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
DRIVER = shutil.which("chromedriver") or ""
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium with its chromedriver is installed"),
]
HOSTILE = {
    "script": "</script><script>window.pwned = 1</script>",
    "image": '"><img src=x onerror="window.pwned = 2">',
    "bidi": "a\u202eb\x1b[31m",
    "formula": "=HYPERLINK(1)",
}
SKILLS = {"full": 0.9, "lp-ft": 0.88, "linear-probe": 0.7, **dict.fromkeys(HOSTILE.values(), 0.6)}


def rows(build: ModuleType) -> list[Record]:
    rng = random.Random(0)
    found = []
    for backbone in ("cnn-s", "vit-t"):
        for seed in range(3):
            for label, skill in SKILLS.items():
                scores = build.scores([rng.random() < skill for _ in range(200)])
                more = {"seconds": 1 + 10 * skill + rng.random(), "source.accuracy": 0.9 - skill / 2, **BEFORE}
                more["contended"] = label == "lp-ft"
                found.append(build.row(label=label, seed=seed, backbone=backbone) | scores | more)
            for number in range(3):
                scores = build.scores([rng.random() < 0.8 + number / 20 for _ in range(200)])
                where = {"pool": "pool", "seed": seed, "backbone": backbone, "round": number}
                found.append(build.row("fuse", "soup", **where) | scores | {"key": f"soup {backbone} {seed} {number}"})
    reason = f"it broke: {HOSTILE['script']}{HOSTILE['bidi']}"
    return [*found, build.row(label="broken", status="failed", reason=reason, key="the broken one")]


BEFORE = {"source.before.accuracy": 0.85}
CLASSES = ("zero", HOSTILE["image"], HOSTILE["bidi"])


@pytest.fixture(scope="module")
def build(fixture_module: Callable[[str], ModuleType]) -> ModuleType:
    """tests/fixtures/records_builder.py: synthetic records."""
    return fixture_module("records_builder")


@pytest.fixture(scope="module")
def records(build: ModuleType) -> list[Record]:
    return rows(build)


@pytest.fixture(scope="module")
def page(build: ModuleType, records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "demo"
    ours = [row["label"] == "full" and row["backbone"] == "cnn-s" and row["status"] == "ok" for row in records]
    build.write(
        folder, [predicted(row, CLASSES, folder) if one else row for row, one in zip(records, ours, strict=True)]
    )
    (file,) = api.report(folder, reporters="page").written
    return file


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1440,900"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield Browser(driver, page)
    finally:
        driver.quit()


@pytest.fixture(autouse=True)
def no_complaint(browser: Browser) -> Iterator[None]:
    """Nothing is logged, nothing hostile runs, and nothing but the file itself is asked for."""
    yield
    assert [entry["message"] for entry in browser.driver.get_log("browser")] == []
    assert browser.run("return window.pwned ?? null") is None
    messages = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    requests = (m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent")
    asked = {url.partition("#")[0] for url in requests if not url.startswith("blob:")}
    assert asked <= {browser.page.as_uri(), "about:blank"}


def drawn(records: list[Record]) -> dict[str, list[tuple[str, str]]]:
    """The names and ranks that Python gives."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in make_leaderboard("demo", records).lines.to_dict("records"):
        rank, lowest = line["rank"], line["rank.lowest"]
        text = "" if rank != rank or not line["ok"] else f"{rank}{'=' * line['tied']}"
        ends = f" {rank}–{lowest}" if text and lowest > rank else ""
        found.setdefault(f"{line['dataset']} · {line['backbone']}", []).append((line["strategy"], text + ends))
    return found


def plain(name: str) -> str:
    return name.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b")


def same(found: dict[str, list[tuple[str, str]]], records: list[Record]) -> bool:
    expected = {heading: [(plain(name), rank) for name, rank in lines] for heading, lines in drawn(records).items()}
    assert found == expected
    return True


def test_the_table_has_the_ranks_of_the_board(browser: Browser, records: list[Record]) -> None:
    browser.open()
    assert same(browser.table(), records)
    assert len({rank for lines in browser.table().values() for _, rank in lines}) > 3


def test_ranks_are_computed_anew_for_what_is_searched_for(browser: Browser, records: list[Record]) -> None:
    browser.open()
    before = browser.table()
    browser.find("input[type=search]").send_keys("p")
    browser.until("return document.querySelector('#status').textContent.includes('ranked anew')")
    found = browser.table()
    named = [row for row in records if "p" in f"{row['label']} {row['pool']}".lower() or "p" in row.get("reason", "")]
    assert same(found, named)
    assert found != {heading: [line for line in lines if line in found[heading]] for heading, lines in before.items()}
    assert browser.hash() == "#q=p"


def test_seconds_taken_beside_other_work_are_marked(browser: Browser, records: list[Record]) -> None:
    browser.open("on=cnn-s")
    found = browser.run("""return [...document.querySelectorAll('tbody tr')].map((row) => [
        row.querySelector("th").textContent, row.querySelector("td[data-id=seconds]")?.textContent ?? ""])""")
    lines = make_leaderboard("demo", records).lines.query("backbone == 'cnn-s'")
    contended = {plain(name) for name, yes, ok in lines[["strategy", "contended", "ok"]].values if yes and ok}
    assert {name for name, seconds in found if seconds.startswith("~")} == contended
    assert 0 < len(contended) < len(found)


def test_chosen_lines_are_hidden_by_a_click(browser: Browser, records: list[Record]) -> None:
    browser.open()
    browser.find("input[aria-label='choose full']").click()
    browser.run("[...document.querySelectorAll('#status button')].find((b) => b.textContent === 'Hide').click()")
    assert browser.hash() == "#hide=full"
    assert same(browser.table(), [row for row in records if row["label"] != "full"])
    browser.run("[...document.querySelectorAll('#status button')].find((b) => b.textContent === 'Show all').click()")
    assert same(browser.table(), records)


def test_a_column_sorts_and_says_so(browser: Browser) -> None:
    browser.open("on=cnn-s")
    order = (
        "return [...document.querySelectorAll('td[data-id=\"seconds\"]')].map((cell) => parseFloat(cell.textContent))"
    )
    for direction in ("ascending", "descending"):
        browser.find("th[data-id='seconds'] button").click()
        assert browser.find("th[data-id='seconds']").get_attribute("aria-sort") == direction
        found = [value for value in browser.run(order) if value is not None]
        assert found == sorted(found, reverse=direction == "descending")
        assert browser.run("return document.activeElement.textContent.slice(0, 8)") == "training"
    browser.find("th.rank button").click()
    assert "sort" not in browser.hash()


def test_columns_are_picked(browser: Browser) -> None:
    browser.open()
    assert not browser.driver.find_elements("css selector", "th[data-id='cpu_seconds']")
    browser.find("details.columns summary").click()
    browser.find("input[data-column='cpu_seconds']").click()
    assert browser.find("th[data-id='cpu_seconds']").text == "processor"
    assert "col=cpu_seconds" in browser.hash()


def test_a_link_shows_what_it_showed(browser: Browser) -> None:
    browser.open("view=cost&x=flops&y=test.nll.mean&kind=schemes&on=vit-t&log=linear")
    values = browser.run("return [...document.querySelectorAll('.controls select')].map((one) => one.value)")
    assert values == ["digits", "flops", "test.nll.mean", "linear"]
    assert len(browser.driver.find_elements("css selector", "g.mark[data-line]")) == len(SKILLS)
    browser.find("nav a").click()
    assert browser.hash() == "#on=vit-t&kind=schemes&log=linear&x=flops&y=test.nll.mean"
    assert list(browser.table()) == ["digits · vit-t"]
    browser.driver.back()
    browser.until("return document.querySelector('nav a[aria-current]').textContent === 'Cost'")


def test_points_have_a_tooltip_by_mouse_and_keyboard_and_open_their_line(browser: Browser) -> None:
    browser.open("view=cost&only=full&only=linear-probe&on=cnn-s")
    marks = browser.driver.find_elements("css selector", "g.mark[data-line]")
    for mark in marks:
        webdriver.ActionChains(browser.driver).move_to_element(mark).perform()
        browser.until("return !document.querySelector('#tip').hidden")
        assert browser.find("#tip").text.split("\n") == mark.get_attribute("aria-label").split(", ")
    browser.run("arguments[0].focus()", marks[0])
    browser.press(webdriver.Keys.ARROW_RIGHT)
    label = browser.run("return document.activeElement.getAttribute('aria-label')")
    assert label == marks[1].get_attribute("aria-label")
    assert re.search(r"accuracy 0\.\d{4} ± 0\.\d{4}", label)
    browser.press(webdriver.Keys.ENTER)
    assert browser.find("#opened").text == label.split(", ")[0]
    browser.press(webdriver.Keys.ESCAPE)
    browser.until("return !document.querySelector('dialog').open && !location.hash.includes('open')")


def test_a_line_opens_its_records_and_its_method_by_keyboard(browser: Browser, records: list[Record]) -> None:
    browser.open("q=lp-ft&on=cnn-s")
    browser.run("document.querySelector('tbody th button').focus()")
    browser.press(webdriver.Keys.ENTER)
    dialog = browser.find("dialog")
    assert "linear probe first, then train everything" in dialog.text
    assert dialog.find_element("css selector", "a[href='https://arxiv.org/abs/2202.10054']")
    browser.run("[...document.querySelectorAll('dialog td button')].find((b) => b.textContent === 'seed 1').click()")
    fields = browser.run("""return Object.fromEntries(
        [...document.querySelectorAll("dialog tbody tr")].map((row) => [...row.cells].map((c) => c.textContent)))""")
    record = next(r for r in records if (r["label"], r["seed"], r["backbone"]) == ("lp-ft", 1, "cnn-s"))
    assert (fields["key"], fields["test.accuracy"]) == (record["key"], str(record["test.accuracy"]))
    assert browser.find("pre.command").text == f"finefuse show . {record['cell']}\nfinefuse run demo --only lp-ft"


def test_names_are_told_in_full_on_a_click(browser: Browser, build: ModuleType, tmp_path: Path) -> None:
    names = {"label": "l2(lr=0.1)", "dataset": "folder(train=/x/ants)"}
    (file,) = api.report(build.write(tmp_path, [build.row(**names)]), reporters="page").written
    other = Browser(browser.driver, file)
    other.open()
    assert (other.find("h2").text, other.find("tbody th").text) == ("ants · cnn-s", "l2")
    other.find("tbody th button").click()
    facts = other.run("""return Object.fromEntries(
        [...document.querySelectorAll("dl.facts div")].map((fact) => [...fact.children].map((e) => e.textContent)))""")
    assert (facts["strategy"], facts["data set"]) == tuple(names.values())
    assert "backbone" not in facts
    browser.driver.get_log("performance")  # of another file than the other tests ask for


def test_hostile_names_and_messages_are_shown_and_not_executed(browser: Browser) -> None:
    browser.open("view=failures")
    assert f"it broke: {HOSTILE['script']}a\\u202eb\\x1b[31m" in browser.find("main").text
    for view in ("table", "cost", "wins", "pair", "classes", "methods", "notes"):
        browser.open(f"view={view}")
        texts = browser.run("""return [...document.querySelectorAll("main *, #tip")].flatMap((element) => [
            element.textContent, element.getAttribute("title") ?? "", element.getAttribute("aria-label") ?? ""])""")
        assert not any(re.search("[\u202e\x1b]", text) for text in texts)
        if view in ("table", "wins", "classes", "methods"):
            assert any(HOSTILE["image"] in text for text in texts)
    browser.open("q=%3Cscript%3E&view=%3Cimg%20src=x%3E&open=line:999&sort=nothing&x=nothing")
    assert len(browser.table()) == 2


def test_confusions_and_scores_by_class_of_a_line(browser: Browser, records: list[Record]) -> None:
    browser.open("q=full&on=cnn-s")
    browser.find("tbody th button").click()
    browser.run("[...document.querySelectorAll('dialog button')].find((b) => /by class/.test(b.textContent)).click()")
    assert browser.hash() == "#view=classes&q=full&on=cnn-s&panel=digits+%C2%B7+cnn-s&a=full"
    assert not browser.run("return document.querySelector('dialog').open")
    ours = [row for row in records if row["label"] == "full" and row["backbone"] == "cnn-s" and row["status"] == "ok"]
    right = sum(int(correctness(row).sum()) for row in ours)
    table = browser.run("""return [...document.querySelectorAll("main table.plain")].map(
        (table) => [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent)))""")
    matrix, classes = table
    assert [row[0] for row in matrix] == [plain(name) for name in CLASSES] == [row[0] for row in classes]
    assert sum(int(row[at + 1]) for at, row in enumerate(matrix)) == sum(int(row[3]) for row in classes) == right
    assert sum(int(row[1]) for row in classes) == sum(row["n_test"] for row in ours)
    assert "3 classes, 3 seeds together" in browser.find("main").text
    cell = browser.find("svg.plot g.cell").get_attribute("aria-label")
    assert cell == f"zero, right, {matrix[0][1]} of {classes[0][1]} examples, {float(classes[0][4]) * 100:.1f} %"
    browser.open("view=classes&on=vit-t")
    assert browser.find("main").text.startswith("This page has predicted classes for none of the lines shown")


def test_every_view_draws_and_says_what_it_shows_as_a_table(browser: Browser) -> None:
    for view, chart in {
        "cost": True,
        "kept": True,
        "rounds": True,
        "wins": True,
        "pair": True,
        "failures": False,
    }.items():
        browser.open(f"view={view}")
        assert bool(browser.driver.find_elements("css selector", "svg.plot")) == chart
        assert browser.driver.find_elements("css selector", "table.plain tbody tr")
    browser.open("view=kept&on=cnn-s")
    assert len(browser.driver.find_elements("css selector", "g.mark[data-line]")) == len(SKILLS)
    label = browser.find("g.mark[data-line]").get_attribute("aria-label")
    assert re.fullmatch(r"full, accuracy 0\.\d{4} ± 0\.\d{4}, source accuracy 0\.4500, kept −0\.4000", label)
    browser.open("view=tasks")
    assert browser.find("main").text.startswith("No shown line is of a pool across data sets.")
    browser.open("view=pair&a=full&b=lp-ft")
    assert len(browser.driver.find_elements("css selector", "g.mark")) == 2


FILES = """
    const [done, text] = [arguments[arguments.length - 1], arguments[0]];
    const original = URL.createObjectURL;
    URL.createObjectURL = (blob) => {
        if (blob.type !== "image/svg+xml" || text === "SVG") done(blob.type === "image/png" ? blob.size : blob.text());
        return original.call(URL, blob);
    };
    HTMLAnchorElement.prototype.click = () => {};
    [...document.querySelectorAll(".downloads button")].find((button) => button.textContent === text).click();
"""


NAMES = """
    const done = arguments[arguments.length - 1], names = [];
    HTMLAnchorElement.prototype.click = function () { names.push(this.download); };
    addEventListener("hashchange", () => setTimeout(() => {
        [...document.querySelectorAll(".downloads button")].find((button) => button.textContent === "SVG").click();
        done([names, document.querySelectorAll("svg.plot").length]);
    }), { once: true });
    location.hash = arguments[0];
"""


@pytest.mark.parametrize("view", ["cost", "wins", "classes"])
def test_every_chart_of_a_view_is_saved_under_a_name_of_its_own(browser: Browser, view: str) -> None:
    browser.open("view=table")
    names, charts = browser.driver.execute_async_script(NAMES, f"view={view}")
    assert len(set(names)) == len(names) == charts > 0
    assert (names == [f"{names[0].rsplit('-', 1)[0]}-{at + 1}.svg" for at in range(charts)]) == (charts > 1)


def test_what_is_shown_is_saved(browser: Browser) -> None:
    browser.open("on=cnn-s")
    save: Callable[..., Any] = browser.driver.execute_async_script
    lines = list(csv.reader(io.StringIO(save(FILES, "CSV"))))
    assert lines[0][:5] == ["rank", "rank.lowest", "tied", "data set", "backbone"]
    shown = browser.table()["digits · cnn-s"]
    ranks = [f"{line[0]}{'=' if line[2] == 'true' else ''}" for line in lines[1:]]
    assert ranks == [rank.split(" ")[0] for _, rank in shown]
    at = lines[0].index("strategy")
    assert f"'{HOSTILE['formula']}" in [line[at] for line in lines]
    browser.open("view=cost")
    picture = save(FILES, "SVG")
    assert picture.startswith("<?xml")
    assert "var(--" not in picture
    assert picture.count("<circle") > len(SKILLS)
    browser.open("view=cost")
    assert save(FILES, "PNG") > 10_000


@pytest.mark.parametrize("width", [390, 900, 1440])
def test_no_width_makes_the_page_scroll_sideways(browser: Browser, width: int) -> None:
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for view in ("table", "cost", "kept", "wins", "pair", "classes", "failures", "methods"):
            browser.open(f"view={view}")
            assert browser.run("return document.documentElement.scrollWidth") <= width, view
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_dark_mode_and_print_have_their_colours(browser: Browser) -> None:
    colour = "return getComputedStyle(document.body).backgroundColor"
    browser.open()
    assert browser.run(colour) == "rgb(255, 255, 255)"
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
    assert browser.run(colour) == "rgb(20, 23, 27)"
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark})
    assert browser.run(colour) == "rgb(255, 255, 255)"
    assert browser.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_everything_that_acts_has_a_name(browser: Browser) -> None:
    for view in ("table", "cost", "kept", "pair", "classes", "wins"):
        browser.open(f"view={view}")
        nameless = browser.run("""
            const acting = [...document.querySelectorAll("a, button, input, select, [role=button]")];
            const named = (one) => one.getAttribute("aria-label") || one.textContent || one.labels?.length;
            return acting.filter((one) => !named(one)).map((one) => one.outerHTML);""")
        assert nameless == []
        assert browser.run("return document.querySelectorAll('svg.plot [tabindex=\"0\"]').length") <= 2
