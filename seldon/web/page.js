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
  const error = new Error(body?.status?.info || `the service responded with ${response.status}`);
  throw Object.assign(error, { status: response.status, retryAfter: Number(response.headers.get("Retry-After")) });
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
    showSimilar(explained.similar || []);
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

function showSimilar(images) {
  show("similar", images.length > 0);
  at("similar-images").replaceChildren(...images.map(({ label, thumbnail }) => {
    const item = element("li", "");
    item.append(Object.assign(document.createElement("img"), { src: thumbnail, alt: "" }), label);
    return item;
  }));
}

async function draw(file, heat) {
  const [crop, over] = [at("crop").getContext("2d"), at("heat").getContext("2d")];
  const side = crop.canvas.width;
  for (const layer of [crop, over]) layer.clearRect(0, 0, side, side);
  let image = null;
  try {
    image = await createImageBitmap(file);
  } catch {
    image = null; // the browser cannot decode every format that the service accepts
  }
  if (image) {
    const square = Math.min(image.width, image.height) * CROP_SHARE;
    crop.drawImage(image, (image.width - square) / 2, (image.height - square) / 2, square, square, 0, 0, side, side);
  }
  const small = Object.assign(document.createElement("canvas"), { width: heat[0].length, height: heat.length });
  const pixels = small.getContext("2d").createImageData(small.width, small.height);
  heat.flat().forEach((value, index) => pixels.data.set([255, 200 * (1 - value), 40, 255 * value], 4 * index));
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

function element(name, content) {
  return Object.assign(document.createElement(name), { textContent: content });
}

function fail(error) {
  at("error").textContent = error.message;
  show("error", true);
}

function show(id, visible) {
  at(id).hidden = !visible;
}

function open(files) {
  if (files.length === 1) predict(files[0]);
  if (files.length > 1) predictAll([...files]); // batch.js
}

function fade() {
  at("heat").style.opacity = at("opacity").value / 100;
}

for (const id of ["file", "camera"]) at(id).addEventListener("change", (event) => open(event.target.files));
at("opacity").addEventListener("input", fade);
at("correct").addEventListener("click", () => sendFeedback(current.label));
at("feedback").addEventListener("submit", (event) => {
  event.preventDefault();
  sendFeedback(at("ground-truth").value);
});
at("key-form").addEventListener("submit", (event) => event.preventDefault());
at("key").addEventListener("change", () => start().catch(fail));
document.addEventListener("paste", (event) => open(event.clipboardData.files));
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  at("drop").addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", over);
    if (name === "drop") open(event.dataTransfer.files);
  });
}
fade();
start().catch(fail);
