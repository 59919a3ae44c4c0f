"""The page, as a user sees it, in a real browser."""

import csv
import json
import shutil
import time
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.xdist_group("service"), pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, service):
    page = browser.new_page()
    page.outside = []
    page.on(
        "request",
        lambda request: page.outside.append(request.url) if not request.url.startswith((service.url, "data:", "blob:")) else None,
    )
    page.goto(f"{service.url}/")
    yield page
    page.close()


def upload(page, content: bytes, name: str = "image.png", kind: str = "image/png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})


def test_an_image_gets_a_prediction_with_its_heat_map(page, colours):
    expect(page.locator("#classes")).to_have_text("colours, version 7: red, blue")
    expect(page.locator("#retention")).to_have_text("Images are not stored.")

    upload(page, colours.red)

    expect(page.locator("#label")).to_contain_text("red (")
    expect(page.locator("#model")).to_contain_text("colours version 7 (default, fp32) took")
    expect(page.locator(".bar")).to_have_count(2)
    crop, heated = (page.evaluate(f"document.getElementById('{name}').toDataURL()") for name in ("crop", "heat"))
    assert len(crop) > 1000
    assert crop != heated
    assert page.outside == []


def test_wrong_predictions_become_feedback_by_keyboard(page, service, colours, eventually):
    upload(page, colours.red)
    expect(page.locator("#prediction")).to_be_visible()
    page.locator("#correct").focus()

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "ground-truth"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.locator("#receipt")).to_have_text("Stored: the ground truth is 'blue'. Thank you.")
    expect(page.locator("#correct")).to_be_disabled()
    assert eventually(lambda: any(record.get("ground_truth") == "blue" for record in records(service)))


def test_an_error_is_shown_and_the_next_image_is_predicted(page, colours):
    upload(page, b"no image at all", "image.jpg", "image/jpeg")
    expect(page.get_by_role("alert")).to_contain_text("not_an_image")

    upload(page, colours.blue)

    expect(page.locator("#label")).to_contain_text("blue")
    expect(page.locator("#error")).to_be_hidden()


def test_the_prediction_of_an_earlier_image_does_not_stay_beside_an_error(page, colours):
    upload(page, colours.red)
    expect(page.locator("#prediction")).to_be_visible()

    upload(page, b"no image at all", "image.jpg", "image/jpeg")

    expect(page.get_by_role("alert")).to_contain_text("not_an_image")
    expect(page.locator("#prediction")).to_be_hidden()


def answer(page, probabilities: dict[str, float], in_distribution: bool | None) -> None:
    """The next predictions, as a model of many classes would respond."""
    label = max(probabilities, key=probabilities.get)
    model = {"model": "pets", "version": "1", "predictor": "default", "precision": "int8"}
    body = {
        "request_id": "1", "label": label, "probability": probabilities[label], "probabilities": probabilities, "in_distribution": in_distribution,
        "model": model, "milliseconds": 9,
    }  # fmt: skip
    page.route("**/predict", lambda route: route.fulfill(json=body))


def test_many_classes_are_sorted_and_folded(page, colours):
    answer(page, {f"class {index}": (index + 1) / 55 for index in range(10)}, in_distribution=True)

    upload(page, colours.red)

    expect(page.locator("#bars .bar")).to_have_count(5)
    assert page.locator("#bars .bar span").all_inner_texts() == [f"class {index}" for index in (9, 8, 7, 6, 5)]
    expect(page.locator("#others-title")).to_have_text("5 more classes")
    expect(page.locator("#other-bars")).to_be_hidden()
    page.locator("#others-title").click()
    expect(page.locator("#other-bars .bar")).to_have_count(5)


@pytest.mark.parametrize(("in_distribution", "shown"), [(False, True), (True, False), (None, False)])
def test_an_image_like_none_of_training_is_said_to_be_one(page, colours, in_distribution, shown):
    answer(page, {"red": 0.9, "blue": 0.1}, in_distribution)

    upload(page, colours.red)

    expect(page.locator("#label")).to_contain_text("red")
    expect(page.locator("#novel")).to_be_visible(visible=shown)


def test_similar_images_of_training_are_shown_where_the_package_holds_them(page, colours):
    upload(page, colours.red)
    expect(page.locator("#prediction")).to_be_visible()
    expect(page.locator("#similar")).to_be_hidden()
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
    similar = [{"label": name, "distance": 0.1, "thumbnail": pixel} for name in ("red", "red", "blue")]
    page.route(
        "**/explain",
        lambda route: route.fulfill(json={"label": "red", "probability": 1.0, "heat_map": [[0.1]], "similar": similar}),
    )

    upload(page, colours.red, "other.png")

    expect(page.locator("#similar-images li")).to_have_text(["red", "red", "blue"])
    assert violations(page) == []


def test_the_page_fits_a_narrow_phone(page, colours):
    page.set_viewport_size({"width": 375, "height": 800})
    answer(page, {"a class with a very long name " + "x" * 60: 0.9, "blue": 0.1}, in_distribution=False)

    upload(page, colours.red)

    expect(page.locator("#prediction")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def violations(page) -> list[str]:
    """What axe finds against WCAG 2.2 at the levels A and AA."""
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": rules}}).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']} {one['nodes'][0]['any'][0]['message']}" for one in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible(page, service, colours, status, scheme):
    page.emulate_media(color_scheme=scheme)
    upload(page, colours.red)
    expect(page.locator("#prediction")).to_be_visible()
    page.set_input_files(
        "#file", [{"name": f"{index}.png", "mimeType": "image/png", "buffer": colours.red} for index in range(2)]
    )
    expect(page.locator("#batch-progress")).to_contain_text("2 of 2")

    assert page.locator("html").get_attribute("lang") == "en"
    assert page.get_by_label("Wrong, it is").get_attribute("id") == "ground-truth"
    assert page.locator("#prediction").get_attribute("aria-live") == "polite"
    assert violations(page) == []
    status()
    page.goto(f"{service.url}/operations")
    expect(page.locator("#versions tr")).to_have_count(2)
    assert violations(page) == []


def test_the_heat_map_lies_over_the_image_and_fades(page, colours):
    upload(page, colours.red)
    expect(page.locator("#prediction")).to_be_visible()
    boxes = [page.locator(name).bounding_box() for name in ("#crop", "#heat")]

    page.locator("#opacity").focus()
    page.keyboard.press("Home")

    assert boxes[0] == boxes[1]
    assert page.evaluate("document.getElementById('heat').style.opacity") == "0"
    page.keyboard.press("End")
    assert page.evaluate("document.getElementById('heat').style.opacity") == "1"


def test_many_files_are_a_table_that_can_be_saved(page, colours):
    names = ['=1+1,"a".png', "b.png", "c.png", "d.jpg", "e.png", "f.png"]
    contents = [colours.red, colours.blue, colours.red, b"no image", colours.blue, colours.blue]
    files = [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in zip(names, contents, strict=True)]

    page.set_input_files("#file", files)
    expect(page.locator("#batch-progress")).to_have_text("6 of 6; blue: 3, red: 2, refused: 1")
    with page.expect_download() as saved:
        page.locator("#csv").click()

    rows = list(csv.DictReader(Path(saved.value.path()).read_text().splitlines()))
    assert saved.value.suggested_filename == "predictions.csv"
    assert [row["image"] for row in rows] == ['\'=1+1,"a".png', *names[1:]]
    assert [row["label"] for row in rows] == ["red", "blue", "red", "", "blue", "blue"]
    assert "not_an_image" in rows[3]["error"]
    page.get_by_role("button", name="b.png").click()
    expect(page.locator("#label")).to_contain_text("blue")
    assert page.outside == []


def test_files_wait_while_the_service_is_busy(page, colours):
    busy = iter([True, True])
    body = {"status": {"status": 1, "info": "busy", "reason": "overloaded"}}
    page.route(
        "**/predict",
        lambda route: (
            route.fulfill(status=503, json=body, headers={"Retry-After": "0.1"}) if next(busy, False) else route.continue_()
        ),
    )

    page.set_input_files(
        "#file", [{"name": f"{index}.png", "mimeType": "image/png", "buffer": colours.red} for index in range(3)]
    )

    expect(page.locator("#batch-progress")).to_have_text("3 of 3; red: 3")


def test_a_phone_offers_its_camera(browser, service):
    phone = browser.new_context(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    page = phone.new_page()
    page.goto(f"{service.url}/")

    expect(page.locator("#photograph")).to_be_visible()
    assert page.locator("#camera").get_attribute("capture") == "environment"
    phone.close()


WINDOW = {"version": "7", "start": 1.0, "end": 2.0, "count": 50, "p_value": 0.002, "alarm": True, "estimated_accuracy": 0.8, "out_of_distribution_share": 0.4}  # fmt: skip
VERSION = {"version": "7", "status": "champion", "traffic": 90, "accuracy": 0.95, "accuracy_low": 0.9, "accuracy_high": 0.97, "backbone": "efficientnet_lite0", "data": "colours", "made_at": "2026-01-01T00:00:00+00:00", "reason": "passed 5 gates"}  # fmt: skip
SERVED = {
    "predictions": 120,
    "p50_ms": 8.4,
    "p95_ms": 21.0,
    "labelled": 40,
    "accuracy": 0.875,
    "accuracy_low": 0.74,
    "accuracy_high": 0.95,
}
METRICS = {"accuracy": 0.875, "accuracy_low": 0.74, "accuracy_high": 0.95, "estimated_accuracy": 0.8, "drift_p_value": 0.002, "out_of_distribution_share": 0.4}  # fmt: skip


@pytest.fixture
def status(service):
    """Writes the monitor's status, with changes, and removes it afterwards."""
    file = service.home / "monitor_status.json"

    def write(**changes) -> None:
        loop = {
            "time": "2026-01-01T00:00:00+00:00", "timestamp": 2.0, "due": time.time() + 60, "model": "colours", "version": "7", "action": "alert",
            "reason": "the camera changed", "metrics": METRICS, "versions": [VERSION, VERSION | {"version": "6", "status": "former", "traffic": 10}],
            "served": {"7": SERVED}, "windows": [WINDOW, WINDOW | {"alarm": False}],
            "decisions": [{"time": 2.0, "action": "alert", "reason": "the camera changed", "outcome": ""}],
        }  # fmt: skip
        file.write_text(json.dumps(loop | changes))

    yield write
    file.unlink(missing_ok=True)


def test_operations_show_what_needs_attention_and_each_version(page, service, status):
    status()
    page.goto(f"{service.url}/operations")

    expect(page.locator("#verdict")).to_have_text("the monitor decided: alert")
    expect(page.locator("#reason")).to_have_text("the camera changed")
    expect(page.locator("#figures")).to_contain_text("87.5 % (74.0 % to 95.0 %)")
    page.get_by_role("button", name="7", exact=True).click()
    expect(page.locator("#card-text")).to_have_text("# Image classifier of 2 classes")
    page.get_by_role("button", name="Close").click()
    cells = page.locator("#versions tr").first.locator("td").all_inner_texts()
    assert cells[:6] == ["7", "champion", "90 %", "120", "8 ms, 21 ms", "87.5 % (74.0 % to 95.0 %) of 40"]
    assert page.locator("#versions tr").nth(1).locator("td").all_inner_texts()[3] == "–"
    assert page.locator("#windows rect").count() == 2
    assert page.locator("#windows rect.alarm").count() == 1
    expect(page.locator("#decisions li")).to_contain_text("alert: the camera changed")
    assert page.outside == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"action": "nothing", "windows": []}, "nothing needs attention"),
        ({"action": "nothing", "windows": [WINDOW]}, "the newest images have drifted"),
        ({"due": 5.0}, "the monitor is silent: its last run is overdue"),
        (None, "no monitor is running: run.py watch starts one"),
    ],
)
def test_operations_say_in_one_sentence_how_things_stand(page, service, status, changes, sentence):
    if changes is not None:
        status(**changes)
    page.goto(f"{service.url}/operations")

    expect(page.locator("#verdict")).to_have_text(sentence)


def test_operations_are_live(page, service, status):
    page.clock.install()
    page.goto(f"{service.url}/operations")
    expect(page.locator("#verdict")).to_contain_text("no monitor")
    status(action="nothing", windows=[], due=1e12)

    page.clock.run_for(6000)

    expect(page.locator("#verdict")).to_have_text("nothing needs attention")


def test_the_docs_can_be_tried(page, service):
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(f"{service.url}/docs")

    expect(page.locator("#swagger .title")).to_contain_text("ImageLoop: colours")
    page.locator("#operations-default-ping").click()
    page.locator("#operations-default-ping .execute").click()
    expect(page.locator("#operations-default-ping .live-responses-table td.response-col_status").last).to_contain_text("200")
    assert errors == []


def records(service) -> list[dict]:
    return [json.loads(line) for file in service.records.glob("*.jsonl") for line in file.read_text().splitlines()]
