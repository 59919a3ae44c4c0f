// One page: a picture goes to predict and explain, the truth to feedback. Addresses are relative: the gateway may stand anywhere.
"use strict";

const CROP_SHARE = 0.875; // of the short side: what the model sees
const at = (id) => document.getElementById(id);
let current = null;

async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (at("key").value) headers["X-API-Key"] = at("key").value;
  const answer = await fetch(path, { ...options, headers });
  const body = await answer.json().catch(() => null);
  if (answer.ok) return body;
  throw new Error(body?.status?.info || `the service answered ${answer.status}`);
}

async function start() {
  const metadata = await call("metadata");
  const names = metadata.outputs[0].schema.names;
  at("classes").textContent = `${metadata.name}, version ${metadata.versions[0]}: ${names.join(", ")}`;
  at("kept").textContent = metadata.custom.keeps_pictures === "yes"
    ? "What you drop here may be kept, encrypted, for a person to label."
    : "Nothing that you drop here is kept.";
  at("truth").replaceChildren(...[...names, "other"].map((name) => new Option(name, name)));
}

async function ask(file) {
  show("error", false);
  at("thanks").value = "";
  try {
    const begun = performance.now();
    const options = { method: "POST", body: file, headers: { "Content-Type": file.type || "application/octet-stream" } };
    const found = await call("predict", options);
    const milliseconds = performance.now() - begun;
    const explained = await call("explain", options);
    current = found;
    describe(found, milliseconds);
    await draw(file, explained.heat_map);
    show("answer", true);
    at("right").disabled = at("wrong").disabled = false;
  } catch (error) {
    fail(error);
  }
}

function describe(found, milliseconds) {
  at("label").textContent = `${found.label} (${(100 * found.probability).toFixed(1)} %)`;
  at("bars").replaceChildren(...Object.entries(found.probabilities).map(([name, value]) => bar(name, value)));
  const { model, version, predictor, precision } = found.model;
  at("speaker").textContent =
    `${model} version ${version} (${predictor}, ${precision}) took ${found.milliseconds} ms; ${milliseconds.toFixed(0)} ms with the way there and back.`;
  const others = Object.keys(found.probabilities).filter((name) => name !== found.label);
  at("truth").value = others[0] || "other";
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
  const [seen, over] = [at("seen").getContext("2d"), at("heat").getContext("2d")];
  const side = seen.canvas.width;
  let picture = null;
  try {
    picture = await createImageBitmap(file);
  } catch {
    picture = null; // the browser cannot show each format that the service reads
  }
  for (const canvas of [seen, over]) {
    canvas.clearRect(0, 0, side, side);
    if (!picture) continue;
    const square = Math.min(picture.width, picture.height) * CROP_SHARE;
    canvas.drawImage(picture, (picture.width - square) / 2, (picture.height - square) / 2, square, square, 0, 0, side, side);
  }
  const small = Object.assign(document.createElement("canvas"), { width: heat[0].length, height: heat.length });
  const pixels = small.getContext("2d").createImageData(small.width, small.height);
  heat.flat().forEach((value, index) => pixels.data.set([255, 200 * (1 - value), 40, 190 * value], 4 * index));
  small.getContext("2d").putImageData(pixels, 0, 0);
  over.imageSmoothingQuality = "high";
  over.drawImage(small, 0, 0, side, side);
}

async function tell(label) {
  try {
    const options = { method: "POST", headers: { "Content-Type": "application/json" } };
    await call("feedback", { ...options, body: JSON.stringify({ request_id: current.request_id, label }) });
    at("thanks").value = `Kept: it is '${label}'. Thank you.`;
    at("right").disabled = at("wrong").disabled = true;
  } catch (error) {
    fail(error);
  }
}

// How what serves fares: written by the watch, asked for again and again; without a watch there is nothing to show.
async function refresh() {
  const [loop, exposition] = await Promise.all([call("loop").catch(() => ({})), text("metrics").catch(() => "")]);
  show("loop", Boolean(loop.time));
  if (!loop.time) return;
  const figures = loop.figures || {};
  at("loop-lead").textContent = `${loop.action}: ${loop.reason}`;
  const shown = {
    version: loop.version,
    accuracy: percent(figures.accuracy),
    "estimate without labels": percent(figures.estimated_accuracy),
    "drift, p": figures.drift_p_value?.toFixed(3),
    "unlike anything known": percent(figures.unfamiliar_share),
    "answers here": sum(exposition, "imageloop_predictions_total"),
    "mean milliseconds": mean(exposition, "imageloop_request_seconds")?.toFixed(1),
    looked: new Date(loop.time).toLocaleTimeString(),
  };
  at("loop-figures").replaceChildren(...Object.entries(shown).flatMap(([name, value]) => [element("dt", name), element("dd", value ?? "–")]));
  at("loop-chart").replaceChildren(...(loop.windows || []).map(column));
  const told = (loop.decisions || []).slice(-5).reverse();
  at("loop-decisions").replaceChildren(...told.map((one) => element("li", `${one.action}: ${one.reason}${one.outcome ? ` → ${one.outcome}` : ""}`)));
}

function column(window, place) {
  const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const height = 80 * (1 - window.p_value);
  for (const [name, value] of Object.entries({ x: 30 * place, y: 90 - height, width: 22, height })) bar.setAttribute(name, value);
  bar.classList.toggle("alarm", window.alarm);
  return bar;
}

async function text(path) {
  const answer = await fetch(path, { headers: at("key").value ? { "X-API-Key": at("key").value } : {} });
  return answer.ok ? answer.text() : "";
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

at("file").addEventListener("change", (event) => event.target.files[0] && ask(event.target.files[0]));
at("right").addEventListener("click", () => tell(current.label));
at("feedback").addEventListener("submit", (event) => {
  event.preventDefault();
  tell(at("truth").value);
});
at("door").addEventListener("submit", (event) => event.preventDefault());
at("key").addEventListener("change", () => start().then(refresh).catch(fail));
document.addEventListener("paste", (event) => event.clipboardData.files[0] && ask(event.clipboardData.files[0]));
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  at("drop").addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", over);
    if (name === "drop" && event.dataTransfer.files[0]) ask(event.dataTransfer.files[0]);
  });
}
start().catch(fail);
refresh();
setInterval(refresh, 5000);
