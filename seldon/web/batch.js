// Several images at once: a few requests at a time, a row for each image, and all rows as CSV.
"use strict";

const AT_ONCE = 4;
const TRIES = 20; // of an image, while the service is busy
let rows = [];

async function predictAll(files) {
  rows = files.map((file) => ({ file, body: null, error: null }));
  at("batch-rows").replaceChildren(...rows.map(rowOf));
  show("batch", true);
  show("error", false);
  report();
  const waiting = rows.values();
  await Promise.all(Array.from({ length: AT_ONCE }, () => work(waiting, rows)));
}

async function work(waiting, batch) {
  for (const row of waiting) {
    if (rows !== batch) return; // other files were dropped meanwhile
    try {
      row.body = await predictWhenFree(row.file);
    } catch (error) {
      row.error = error.message;
    }
    fill(row);
    report();
  }
}

async function predictWhenFree(file) {
  const options = { method: "POST", body: file, headers: { "Content-Type": file.type || "application/octet-stream" } };
  for (let tries = 1; ; tries += 1) {
    try {
      return await call("predict", options);
    } catch (error) {
      if (error.status !== 503 || tries === TRIES) throw error;
      await new Promise((done) => setTimeout(done, 1000 * (error.retryAfter || 1)));
    }
  }
}

function rowOf(row) {
  row.element = document.createElement("tr");
  const button = Object.assign(document.createElement("button"), { type: "button" });
  const preview = Object.assign(document.createElement("img"), { alt: "", loading: "lazy", src: URL.createObjectURL(row.file) });
  preview.addEventListener("load", () => URL.revokeObjectURL(preview.src), { once: true });
  button.append(preview, row.file.name);
  button.addEventListener("click", () => predict(row.file));
  const first = element("td", "");
  first.append(button);
  row.element.append(first, element("td", "…"), element("td", ""), element("td", ""));
  row.element.children[2].className = "number";
  return row.element;
}

function fill({ element: { children }, body, error }) {
  children[1].textContent = body ? body.label : "–";
  children[2].textContent = body ? `${(100 * body.probability).toFixed(1)} %` : "";
  children[3].textContent = error || note(body);
}

function note(body) {
  return body.in_distribution === false ? "unlike the images of training" : "";
}

function report() {
  const done = rows.filter((row) => row.body || row.error);
  const counts = new Map();
  for (const { body } of done) if (body) counts.set(body.label, (counts.get(body.label) || 0) + 1);
  const failed = done.filter((row) => row.error).length;
  const found = [...counts].sort(([, one], [, other]) => other - one).map(([name, count]) => `${name}: ${count}`);
  at("batch-progress").textContent = `${done.length} of ${rows.length}; ${[...found, ...(failed ? [`refused: ${failed}`] : [])].join(", ")}`;
}

function csv() {
  const head = ["image", "label", "probability", "in_distribution", "request_id", "error"];
  const lines = rows.map(({ file, body, error }) =>
    [file.name, body?.label, body?.probability, body?.in_distribution, body?.request_id, error].map(field).join(","));
  return [head.join(","), ...lines, ""].join("\r\n");
}

function field(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (/^[=+\-@\t\r]/.test(text)) text = `'${text}`; // a spreadsheet would compute it
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

at("csv").addEventListener("click", () => {
  const link = Object.assign(document.createElement("a"), { download: "predictions.csv", href: URL.createObjectURL(new Blob([csv()], { type: "text/csv" })) });
  link.click();
  URL.revokeObjectURL(link.href);
});
