"""The page, as a user sees it, in a real browser."""

import json
import shutil

import pytest
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


def test_the_page_fits_a_narrow_phone(page, colours):
    page.set_viewport_size({"width": 375, "height": 800})
    answer(page, {"a class with a very long name " + "x" * 60: 0.9, "blue": 0.1}, in_distribution=False)

    upload(page, colours.red)

    expect(page.locator("#prediction")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_the_page_is_accessible(page, colours):
    upload(page, colours.red)
    expect(page.locator("#prediction")).to_be_visible()

    assert page.locator("html").get_attribute("lang") == "en"
    assert page.get_by_label("Wrong, it is").get_attribute("id") == "ground-truth"
    assert page.locator("#prediction").get_attribute("aria-live") == "polite"
    assert page.get_by_role("img").count() == 2


def test_the_status_of_the_monitor_is_shown(page, service, colours):
    expect(page.locator("#loop")).to_be_hidden()
    window = {
        "version": "7",
        "start": 1.0,
        "end": 2.0,
        "count": 50,
        "p_value": 0.002,
        "alarm": True,
        "estimated_accuracy": 0.8,
        "out_of_distribution_share": 0.4,
    }
    decision = {"time": 2.0, "action": "alert", "reason": "the camera changed", "outcome": ""}
    metrics = {"accuracy": 0.875, "estimated_accuracy": 0.8, "drift_p_value": 0.002, "out_of_distribution_share": 0.4}
    loop = {
        "time": "2026-01-01T00:00:00+00:00",
        "timestamp": 2.0,
        "model": "colours",
        "version": "7",
        "action": "alert",
        "reason": "the camera changed",
        "metrics": metrics,
    }
    file = service.home / "monitor_status.json"
    try:
        file.write_text(json.dumps(loop | {"windows": [window, window | {"alarm": False}], "decisions": [decision]}))
        page.reload()

        expect(page.locator("#loop-lead")).to_have_text("alert: the camera changed")
        expect(page.locator("#loop-lead")).to_be_hidden()  # it is for operators
        page.locator("#loop summary").click()
        expect(page.locator("#loop-lead")).to_be_visible()
        expect(page.locator("#loop-metrics")).to_contain_text("87.5 %")
        assert page.locator("#loop-chart rect").count() == 2
        assert page.locator("#loop-chart rect.alarm").count() == 1
        expect(page.locator("#loop-decisions li")).to_have_text("alert: the camera changed")
    finally:
        file.unlink()


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
