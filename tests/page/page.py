"""The page in a real browser: what a person does with it, and what it must never do.

CHROMIUM names the browser. Screenshots go to target/page/.
"""

import os
import pathlib
import sqlite3
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.dont_write_bytecode = True

from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from playwright.sync_api import expect, sync_playwright  # noqa: E402
from served import ROOT, served  # noqa: E402

ROWS = 60_000
SCREENSHOTS = ROOT / "target/page"
HOSTILE = "<img src=x onerror=alert(1)>\"'&</script>"
TOKEN = "s3cret"


def opened(browser, server, **options):
    """A page that has loaded, with all that it asked for and all that its console said."""
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 1000}, **options})
    page = context.new_page()
    page.asked, page.said = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.goto(server.url + "/")
    return page


def loaded(page):
    expect(page.locator("#total")).to_contain_text("flows,")
    expect(page.locator("#top-state")).to_have_text("")
    expect(page.locator("#flows-state")).to_have_text("")


def window(page):
    """The bounds in the address bar."""
    return page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")


def total(page):
    return int(page.locator("#total").inner_text().split(" flows")[0].replace(",", ""))


def drag(page, start, end):
    box = page.locator("#chart").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, middle, steps=5)
    page.mouse.up()


def the_whole_table_shows_first(page):
    loaded(page)
    assert total(page) == ROWS, total(page)
    assert page.locator("#chart rect").count() > 50
    assert page.locator("#top tbody tr").count() == 10
    assert page.locator("#flows tbody tr").count() == 20
    assert "day 0 00:00:" in page.locator("#from").inner_text()


def a_drag_chooses_a_window_and_escape_goes_back(page):
    drag(page, 0.255, 0.505)
    expect(page.locator("#total")).not_to_contain_text("60,000 flows")
    loaded(page)
    chosen, flows = window(page), total(page)
    assert 0 < flows < ROWS / 2, flows
    # What the page says is what the service says of that window.
    answer = page.evaluate("(query) => fetch('api/v1/stream/flows.ndjson?' + query).then((answer) => answer.text())",
                           f"scanned_after={chosen['scanned_after']}&scanned_before={chosen['scanned_before']}")
    assert len(answer.splitlines()) == flows
    page.locator("#chart").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(before) => !location.hash.includes(before)", arg=f"scanned_after={chosen['scanned_after']}&")
    loaded(page)
    page.keyboard.press("Escape")
    page.wait_for_function("(before) => location.hash.includes(before)", arg=f"scanned_after={chosen['scanned_after']}&")
    loaded(page)
    page.locator("#chart").dblclick()
    expect(page.locator("#total")).to_contain_text("60,000 flows")
    loaded(page)
    assert not page.said, page.said
    too_many = page.evaluate("fetch('api/v1/flows/histogram?buckets=130000').then((answer) => answer.status)")
    assert too_many == 400, too_many
    page.said.clear()
    # There is no view before the first: the page stays.
    page.keyboard.press("Escape")
    assert page.url.startswith(page.asked[0])


def a_view_can_be_sent_to_someone(browser, server, page):
    drag(page, 0.1, 0.2)
    expect(page.locator("#total")).not_to_contain_text("60,000 flows")
    loaded(page)
    other = opened(browser, server)
    other.goto(page.url)
    other.reload()
    loaded(other)
    assert total(other) == total(page)
    other.context.close()
    page.locator("#all").click()
    expect(page.locator("#total")).to_contain_text("60,000 flows")


def a_click_on_a_value_filters_by_it_and_a_chip_takes_that_back(page):
    loaded(page)
    value = page.locator("#top tbody button").first
    name = value.inner_text()
    value.click()
    expect(page.locator("#chips button")).to_have_text(f"src_comp = {name} ✕")
    expect(page.locator("#total")).not_to_contain_text("60,000 flows")
    loaded(page)
    cells = page.locator("#flows tbody tr td:nth-child(4)").all_inner_texts()
    assert cells and set(cells) == {name}, cells
    page.locator("#chips button").click()
    expect(page.locator("#total")).to_contain_text("60,000 flows")
    page.locator("#by").select_option("protocol")
    expect(page.locator("#top th").first).to_have_text("protocol")
    page.get_by_label("packets").check()
    expect(page.locator("#top th").nth(1)).to_have_text("packets")
    page.locator("#by").select_option("src_comp")
    loaded(page)


def a_command_is_copied_and_a_download_is_what_it_says(page):
    loaded(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy curl").click()
    expect(page.locator("#copied")).to_have_text("curl is copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("curl --fail") and "/api/v1/stream/flows.csv" in copied, copied
    with page.expect_download() as download:
        page.get_by_role("link", name="ndjson").click()
    lines = pathlib.Path(download.value.path()).read_text().splitlines()
    assert len(lines) == ROWS, len(lines)


def text_of_the_table_is_never_html(browser, server):
    with sqlite3.connect(server.database) as database:
        columns = "time, duration, src_comp, src_port, dst_comp, dst_port, protocol, packet_count, byte_count"
        row = (1, 0, HOSTILE, HOSTILE, HOSTILE, HOSTILE, 6, 1, 2**60)
        database.execute(f"INSERT INTO flows ({columns}) VALUES ({','.join('?' * 9)})", row)
    page = opened(browser, server)
    loaded(page)
    expect(page.locator("#top tbody button").first).to_have_text(HOSTILE)
    page.locator("#top tbody button").first.click()
    expect(page.locator("#chips button")).to_have_text(f"src_comp = {HOSTILE} ✕")
    loaded(page)
    assert total(page) == 1
    assert page.locator("img").count() == 0
    quiet(page, server)
    page.context.close()


def a_problem_shows_where_its_result_would_be(browser, server):
    page = opened(browser, server)
    loaded(page)
    page.goto(f"{server.url}/#scanned_after=x")
    page.reload()
    for place in ("#total", "#top-state", "#flows-state"):
        expect(page.locator(place)).to_contain_text('scanned_after is "x", expected a 64-bit integer')
    page.goto(f"{server.url}/#")
    page.route("**/flows/top?*", lambda route: route.abort())
    page.reload()
    expect(page.locator("#top-state")).to_have_text("The service does not answer.")
    expect(page.locator("#total")).to_contain_text("flows,")
    page.context.close()


def the_token_is_asked_for_and_kept_for_the_tab_alone(browser):
    with served(ROWS, api_token=TOKEN) as server:
        page = opened(browser, server)
        expect(page.locator("#login")).to_be_visible()
        page.get_by_label("Access token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#refused")).to_have_text("This token is refused.")
        page.get_by_label("Access token").fill(TOKEN)
        page.keyboard.press("Enter")
        loaded(page)
        expect(page.locator("#login")).to_be_hidden()
        assert TOKEN not in page.url and not any(TOKEN in url for url in page.asked)
        assert TOKEN not in page.content()
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        page.reload()
        loaded(page)
        other = page.context.new_page()
        other.goto(server.url + "/")
        expect(other.locator("#login")).to_be_visible()
        page.context.close()


def quiet(page, server):
    elsewhere = [url for url in page.asked if not url.startswith((server.url + "/", "data:"))]
    assert not elsewhere, elsewhere
    assert not page.said, page.said


def everybody_can_use_it(page, look):
    serious = [found for found in Axe().run(page).response["violations"] if found["impact"] in ("serious", "critical")]
    assert not serious, (look, [(found["id"], [node["html"] for node in found["nodes"]]) for found in serious])


def main():
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=arguments)
        passed = 0
        with served(ROWS) as server:
            page = opened(browser, server)
            for check in (
                the_whole_table_shows_first,
                a_drag_chooses_a_window_and_escape_goes_back,
                lambda page: a_view_can_be_sent_to_someone(browser, server, page),
                a_click_on_a_value_filters_by_it_and_a_chip_takes_that_back,
                a_command_is_copied_and_a_download_is_what_it_says,
            ):
                check(page)
                passed += 1
            quiet(page, server)
            page.context.close()
            looks = {
                "light": {},
                "dark": {"color_scheme": "dark"},
                "narrow": {"viewport": {"width": 390, "height": 844}},
            }
            for look, options in looks.items():
                page = opened(browser, server, **options)
                loaded(page)
                everybody_can_use_it(page, look)
                page.screenshot(path=SCREENSHOTS / f"{look}.png", full_page=True)
                page.context.close()
                passed += 1
            a_problem_shows_where_its_result_would_be(browser, server)
            text_of_the_table_is_never_html(browser, server)
        the_token_is_asked_for_and_kept_for_the_tab_alone(browser)
        print(f"page: {passed + 3} passed, 0 failed")


if __name__ == "__main__":
    main()
