"use strict";
// Everything here was written by strangers (ids, messages): it becomes text, never markup.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const CARDS_AT_ONCE = 60;

function element(name, text, classes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (classes) made.className = classes;
  return made;
}

function address(folder, name) {
  return "../../../" + (folder + name).split("/").map(encodeURIComponent).join("/");
}

document.querySelector("h1").textContent = data.title;
byId("when").textContent = data.when;
for (const [name, count] of data.totals) {
  const item = element("li");
  item.append(element("b", count.toLocaleString()), element("span", name));
  byId("totals").append(item);
}

const reasons = byId("reasons");
if (data.failures.length === 0) {
  reasons.replaceWith(element("p", "None failed."));
} else {
  for (const failure of data.failures) {
    const row = element("tr");
    const sample = failure.id === null ? failure.message : `${failure.id}: ${failure.message}`;
    row.append(element("td", failure.reason), element("td", failure.count.toLocaleString()), element("td", sample));
    reasons.tBodies[0].append(row);
  }
}

const chart = byId("throughput");
const most = Math.max(1, ...data.throughput.counts);
chart.setAttribute("viewBox", `0 0 ${Math.max(1, data.throughput.counts.length)} 100`);
data.throughput.counts.forEach((count, index) => {
  const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const height = (100 * count) / most;
  for (const [name, value] of [["x", index + 0.05], ["y", 100 - height], ["width", 0.9], ["height", height]]) bar.setAttribute(name, value);
  chart.append(bar);
});
byId("pace").textContent = data.throughput.sentence;

for (const name of ["everything", ...data.reasons]) byId("reason").append(new Option(name, name));
for (const name of ["line", "id", ...data.metrics]) byId("sort").append(new Option(name, name));
byId("cut").textContent = data.cut;

const observer = new IntersectionObserver(
  (entries) => { if (entries.some((entry) => entry.isIntersecting)) drawMore(); }, { rootMargin: "1500px" });
let shown = [];
let drawn = 0;

function card(row) {
  const item = element("li");
  const pictures = element("div", undefined, "pictures");
  for (const name of row.pictures) {
    const link = element("a");
    const picture = element("img");
    picture.loading = "lazy";
    picture.decoding = "async";
    picture.alt = `${row.id} ${name}`;
    picture.src = link.href = address(row.folder, name);
    link.append(picture);
    pictures.append(link);
  }
  const facts = data.metrics.filter((name) => row.metrics[name] !== undefined).map((name) => `${name} ${row.metrics[name]}`);
  item.append(element("div", row.id ?? `line ${row.line}`, "id"), element("span", row.reason, row.outcome), pictures);
  item.append(element("div", [`line ${row.line}`, ...facts].join(" · "), "facts"));
  if (row.outcome === "Failed") item.append(element("div", row.message, "facts"));
  return item;
}

function drawMore() {
  const next = shown.slice(drawn, drawn + CARDS_AT_ONCE);
  byId("gallery").append(...next.map(card));
  drawn += next.length;
  if (next.length === 0) return;
  observer.unobserve(byId("more"));
  observer.observe(byId("more")); // tells once more whether there is room below, on a wall of a screen, too
}

function compare(key) {
  if (key === "line") return (one, other) => one.line - other.line;
  if (key === "id") return (one, other) => (one.id ?? "").localeCompare(other.id ?? "");
  const value = (row) => (row.metrics[key] === undefined ? Infinity : Number(row.metrics[key]));
  return (one, other) => value(one) - value(other) || one.line - other.line;
}

// What is shown is in the address, so that a view can be sent to somebody.
function remember() {
  const view = new URLSearchParams();
  for (const name of ["query", "reason", "sort"]) if (byId(name).value !== byId(name).dataset.usual) view.set(name, byId(name).value);
  history.replaceState(null, "", "#" + view);
}

function recall() {
  const view = new URLSearchParams(location.hash.slice(1));
  for (const name of ["query", "reason", "sort"]) {
    byId(name).dataset.usual = byId(name).value;
    if (view.has(name)) byId(name).value = view.get(name);
  }
}

function refresh() {
  const query = byId("query").value.toLowerCase();
  const reason = byId("reason").value;
  shown = data.rows.filter((row) => (reason === "everything" || row.reason === reason) && (row.id ?? "").toLowerCase().includes(query));
  shown.sort(compare(byId("sort").value));
  byId("found").textContent = `${shown.length.toLocaleString()} of ${data.rows.length.toLocaleString()}`;
  byId("gallery").replaceChildren();
  drawn = 0;
  drawMore();
}

byId("controls").addEventListener("input", () => { refresh(); remember(); });
byId("controls").addEventListener("submit", (event) => event.preventDefault());
recall();
refresh();
