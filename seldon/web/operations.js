// What a person on call sees: one sentence, then figures, versions, drift, decisions. The monitor writes them; the replica that answers adds its own.
"use strict";

const REFRESH_MS = 5000;
const NUM_DECISIONS = 10;
const HEAD = /^---\n[^]*?\n---\n+/; // of a model card, for programs
const at = (id) => document.getElementById(id);

async function fetched(path, headers = {}) {
  const response = await fetch(path, { headers: at("key").value ? { ...headers, "X-API-Key": at("key").value } : headers });
  if (!response.ok) throw new Error(`the service responded with ${response.status} to ${path}`);
  return response;
}

async function refresh() {
  try {
    const [loop, exposition] = await Promise.all([fetched("loop").then((response) => response.json()), fetched("metrics").then((response) => response.text())]);
    draw(loop, exposition);
  } catch (error) {
    verdict(`the service does not answer: ${error.message}`, true);
  }
}

function draw(loop, exposition) {
  const metrics = loop.metrics || {};
  at("deployment").textContent = loop.deployment || "";
  const errors = share(exposition, (code) => code.startsWith("5") && code !== "503");
  const problem = problemOf(loop, errors);
  verdict(problem || "nothing needs attention", Boolean(problem));
  at("reason").textContent = loop.explanation || loop.reason || "";
  const figures = {
    "accuracy by labels": interval(metrics.accuracy, metrics.accuracy_low, metrics.accuracy_high),
    "estimate without labels": interval(metrics.estimated_accuracy, metrics.estimated_low, metrics.estimated_high),
    "drift p-value": metrics.drift_p_value?.toFixed(3),
    "out of distribution": percent(metrics.out_of_distribution_share),
    "labelled predictions": metrics.labels,
    "errors, this replica": percent(errors),
    "refused as busy, this replica": percent(share(exposition, (code) => code === "503")),
    "in flight, this replica": sum(exposition, "imageloop_in_flight"),
    "monitor ran": loop.time ? new Date(loop.time).toLocaleTimeString() : null,
  };
  at("figures").replaceChildren(...Object.entries(figures).map(([name, value]) => figure(name, value ?? "–")));
  at("versions").replaceChildren(...(loop.versions || []).map((version) => row(version, (loop.served || {})[version.version])));
  at("windows").replaceChildren(...(loop.windows || []).map(column));
  const decisions = (loop.decisions || []).slice(-NUM_DECISIONS).reverse();
  at("decisions").replaceChildren(...(decisions.length ? decisions.map(decision) : [element("li", "none yet")]));
}

function figure(name, value) {
  const pair = document.createElement("div");
  pair.append(element("dt", name), element("dd", value));
  return pair;
}

// The first of what a person should look at; empty where all is well.
function problemOf(loop, errors) {
  if (!loop.time) return "no monitor is running: run.py watch starts one";
  if (loop.due && Date.now() / 1000 > loop.due) return "the monitor is silent: its last run is overdue";
  if (errors > 0.01) return `${percent(errors)} of the requests to this replica fail`;
  if (loop.broken) return "a deployment does not serve, and cannot be started again";
  if (["alert", "retrain"].includes(loop.action)) return `the monitor decided: ${loop.action}`;
  const newest = (loop.windows || []).at(-1);
  return newest?.alarm ? "the newest images have drifted" : "";
}

function verdict(sentence, look) {
  if (at("verdict").textContent !== sentence) at("verdict").textContent = sentence; // or it would be read aloud each time
  at("verdict").classList.toggle("look", look);
}

function row(version, served) {
  const labelled = served?.labelled ? `${interval(served.accuracy, served.accuracy_low, served.accuracy_high)} of ${served.labelled}` : null;
  const cells = [
    version.version, version.status, version.traffic === null ? null : `${version.traffic} %`, served?.predictions,
    served?.p50_ms === undefined ? null : `${served.p50_ms.toFixed(0)} ms, ${served.p95_ms.toFixed(0)} ms`, labelled,
    interval(version.accuracy, version.accuracy_low, version.accuracy_high), [version.backbone, version.data].filter(Boolean).join(", "),
    (version.made_at || "").slice(0, 16).replace("T", " "), version.reason,
  ];
  const line = document.createElement("tr");
  line.append(...cells.map((value) => element("td", value || value === 0 ? value : "–")));
  if (version.traffic) line.firstChild.replaceChildren(cardButton(version.version));
  return line;
}

// The gateway hands the request to the predictor of this version.
function cardButton(version) {
  const button = Object.assign(element("button", version), { title: `model card of version ${version}` });
  button.addEventListener("click", async () => {
    try {
      at("card-text").textContent = (await (await fetched("model-card", { "X-ImageLoop-Predictor": `v${version}` })).text()).replace(HEAD, "");
    } catch (error) {
      at("card-text").textContent = error.message;
    }
    at("card").showModal();
  });
  return button;
}

function decision({ time, action, reason, outcome }) {
  return element("li", `${new Date(1000 * time).toLocaleString()}  ${action}: ${reason}${outcome ? ` → ${outcome}` : ""}`);
}

function column(window, index) {
  const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const height = 4 + 80 * (1 - window.p_value);
  for (const [name, value] of Object.entries({ x: 30 * index, y: 90 - height, width: 22, height })) bar.setAttribute(name, value);
  bar.classList.toggle("alarm", window.alarm);
  return bar;
}

function samples(exposition, name) {
  return exposition.split("\n").filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .map((line) => ({ code: /code="(\w+)"/.exec(line)?.[1] || "", value: Number(line.split(" ").pop()) }));
}

function sum(exposition, name) {
  return samples(exposition, name).reduce((total, { value }) => total + value, 0);
}

function share(exposition, isCounted) {
  const all = samples(exposition, "imageloop_requests_total");
  const total = all.reduce((before, { value }) => before + value, 0);
  return total ? all.filter(({ code }) => isCounted(code)).reduce((before, { value }) => before + value, 0) / total : null;
}

function interval(value, low, high) {
  if (percent(value) === null || percent(low) === null) return percent(value);
  return `${percent(value)} (${percent(low)} to ${percent(high)})`;
}

function percent(value) {
  return value === null || value === undefined ? null : `${(100 * value).toFixed(1)} %`;
}

function element(name, content) {
  return Object.assign(document.createElement(name), { textContent: content });
}

at("key-form").addEventListener("submit", (event) => event.preventDefault());
at("key").addEventListener("change", refresh);
refresh();
setInterval(refresh, REFRESH_MS);
