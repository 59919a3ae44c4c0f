// One page: it sends an image to predict and explain, and ground truth to feedback. URLs are relative, as the gateway's prefix varies.
"use strict";

const CROP_SHARE = 0.875; // of the short side: the part that the model gets
const MANY_BARS = 5; // as many classes are shown; the others can be unfolded
const at = (id) => document.getElementById(id);
let current = null;

async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (at("key").value) headers["X-API-Key"] = at("key").value;
  const response = await fetch(path, { ...options, headers });
  const body = await response.json().catch(() => null);
  if (response.ok) return body;
  throw new Error(body?.status?.info || `the service responded with ${response.status}`);
}

async function start() {
  const metadata = await call("metadata");
  const names = metadata.outputs[0].schema.names;
  at("classes").textContent = `${metadata.name}, version ${metadata.versions[0]}: ${names.join(", ")}`;
  at("retention").textContent = metadata.custom.keeps_images === "yes"
    ? "Images may be stored, encrypted, for labelling."
    : "Images are not stored.";
  at("ground-truth").replaceChildren(...[...names, "other"].map((name) => new Option(name, name)));
}

async function predict(file) {
  show("error", false);
  at("receipt").value = "";
  try {
    const begun = performance.now();
    const options = { method: "POST", body: file, headers: { "Content-Type": file.type || "application/octet-stream" } };
    const prediction = await call("predict", options);
    const milliseconds = performance.now() - begun;
    const explained = await call("explain", options);
    current = prediction;
    describe(prediction, milliseconds);
    await draw(file, explained.heat_map);
    show("prediction", true);
    at("correct").disabled = at("wrong").disabled = false;
  } catch (error) {
    current = null;
    show("prediction", false); // or the prediction of an earlier image would look like that of this one
    fail(error);
  }
}

function describe(prediction, milliseconds) {
  at("label").textContent = `${prediction.label} (${(100 * prediction.probability).toFixed(1)} %)`;
  show("novel", prediction.in_distribution === false);
  const sorted = Object.entries(prediction.probabilities).sort(([, one], [, other]) => other - one).map(([name, value]) => bar(name, value));
  at("bars").replaceChildren(...sorted.slice(0, MANY_BARS));
  at("other-bars").replaceChildren(...sorted.slice(MANY_BARS));
  at("others-title").textContent = `${sorted.length - MANY_BARS} more classes`;
  show("others", sorted.length > MANY_BARS);
  const { model, version, predictor, precision } = prediction.model;
  at("model").textContent =
    `${model} version ${version} (${predictor}, ${precision}) took ${prediction.milliseconds} ms; ${milliseconds.toFixed(0)} ms with the network.`;
  const others = Object.keys(prediction.probabilities).filter((name) => name !== prediction.label);
  at("ground-truth").value = others[0] || "other";
}

function bar(name, value) {
  const row = document.createElement("div");
  row.className = "bar";
  const meter = Object.assign(document.createElement("meter"), { value, max: 1 });
  meter.setAttribute("aria-label", name);
  row.append(Object.assign(document.createElement("span"), { textContent: name }), meter, `${(100 * value).toFixed(1)} %`);
  return row;
}

async function draw(file, heat) {
  const [crop, over] = [at("crop").getContext("2d"), at("heat").getContext("2d")];
  const side = crop.canvas.width;
  let image = null;
  try {
    image = await createImageBitmap(file);
  } catch {
    image = null; // the browser cannot decode every format that the service accepts
  }
  for (const canvas of [crop, over]) {
    canvas.clearRect(0, 0, side, side);
    if (!image) continue;
    const square = Math.min(image.width, image.height) * CROP_SHARE;
    canvas.drawImage(image, (image.width - square) / 2, (image.height - square) / 2, square, square, 0, 0, side, side);
  }
  const small = Object.assign(document.createElement("canvas"), { width: heat[0].length, height: heat.length });
  const pixels = small.getContext("2d").createImageData(small.width, small.height);
  heat.flat().forEach((value, index) => pixels.data.set([255, 200 * (1 - value), 40, 190 * value], 4 * index));
  small.getContext("2d").putImageData(pixels, 0, 0);
  over.imageSmoothingQuality = "high";
  over.drawImage(small, 0, 0, side, side);
}

async function sendFeedback(label) {
  try {
    const options = { method: "POST", headers: { "Content-Type": "application/json" } };
    await call("feedback", { ...options, body: JSON.stringify({ request_id: current.request_id, label }) });
    at("receipt").value = `Stored: the ground truth is '${label}'. Thank you.`;
    at("correct").disabled = at("wrong").disabled = true;
  } catch (error) {
    fail(error);
  }
}

// The monitor's status, refreshed every few seconds; hidden without a monitor.
async function refresh() {
  const [loop, exposition] = await Promise.all([call("loop").catch(() => ({})), text("metrics").catch(() => "")]);
  show("loop", Boolean(loop.time));
  if (!loop.time) return;
  const metrics = loop.metrics || {};
  at("loop-lead").textContent = `${loop.action}: ${loop.explanation || loop.reason}`;
  const shown = {
    version: loop.version,
    accuracy: percent(metrics.accuracy),
    "estimate without labels": withInterval(metrics),
    "drift p-value": metrics.drift_p_value?.toFixed(3),
    "out of distribution": percent(metrics.out_of_distribution_share),
    "predictions": sum(exposition, "imageloop_predictions_total"),
    "mean milliseconds": mean(exposition, "imageloop_request_seconds")?.toFixed(1),
    "last run": new Date(loop.time).toLocaleTimeString(),
  };
  at("loop-metrics").replaceChildren(...Object.entries(shown).flatMap(([name, value]) => [element("dt", name), element("dd", value ?? "–")]));
  at("loop-chart").replaceChildren(...(loop.windows || []).map(column));
  const decisions = (loop.decisions || []).slice(-5).reverse();
  at("loop-decisions").replaceChildren(...decisions.map(({ action, reason, outcome }) => element("li", `${action}: ${reason}${outcome ? ` → ${outcome}` : ""}`)));
}

function column(window, index) {
  const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const height = 80 * (1 - window.p_value);
  for (const [name, value] of Object.entries({ x: 30 * index, y: 90 - height, width: 22, height })) bar.setAttribute(name, value);
  bar.classList.toggle("alarm", window.alarm);
  return bar;
}

async function text(path) {
  const response = await fetch(path, { headers: at("key").value ? { "X-API-Key": at("key").value } : {} });
  return response.ok ? response.text() : "";
}

function sum(exposition, name) {
  return exposition.split("\n").filter((line) => line.startsWith(name)).reduce((total, line) => total + Number(line.split(" ").pop()), 0);
}

function mean(exposition, name) {
  const count = sum(exposition, `${name}_count`);
  return count ? (1000 * sum(exposition, `${name}_sum`)) / count : null;
}

function element(name, content) {
  return Object.assign(document.createElement(name), { textContent: content });
}

function withInterval(metrics) {
  const value = percent(metrics.estimated_accuracy);
  if (value === null || percent(metrics.estimated_low) === null) return value;
  return `${value} (${percent(metrics.estimated_low)} to ${percent(metrics.estimated_high)})`;
}

function percent(value) {
  return value === null || value === undefined ? null : `${(100 * value).toFixed(1)} %`;
}

function fail(error) {
  at("error").textContent = error.message;
  show("error", true);
}

function show(id, visible) {
  at(id).hidden = !visible;
}

at("file").addEventListener("change", (event) => event.target.files[0] && predict(event.target.files[0]));
at("correct").addEventListener("click", () => sendFeedback(current.label));
at("feedback").addEventListener("submit", (event) => {
  event.preventDefault();
  sendFeedback(at("ground-truth").value);
});
at("key-form").addEventListener("submit", (event) => event.preventDefault());
at("key").addEventListener("change", () => start().then(refresh).catch(fail));
document.addEventListener("paste", (event) => event.clipboardData.files[0] && predict(event.clipboardData.files[0]));
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  at("drop").addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", over);
    if (name === "drop" && event.dataTransfer.files[0]) predict(event.dataTransfer.files[0]);
  });
}
start().catch(fail);
refresh();
setInterval(refresh, 5000);
