// The page of a run: how its charts are drawn (each choice goes to the URL), and what comes while it goes on. Without this
// module the same choices are links and a form, and a reload shows what is new.

const root = document.querySelector("[data-charts]");
const drawing = root ? await import("./charts.js") : undefined;
const POLL_MS = 2000;
const SLOWEST_MS = 30_000;

function remember(change) {
  const url = new URL(location.href);
  change(url.searchParams);
  history.replaceState(null, "", url);
}
const put = (key, value) => remember((query) => (value ? query.set(key, value) : query.delete(key)));

// --- Axis and scale: links that need no reload.
for (const group of root?.querySelectorAll("[data-choose]") ?? []) {
  group.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    for (const other of group.querySelectorAll("a")) other.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    root.dataset[group.dataset.choose] = link.dataset.value;
    put(group.dataset.choose, new URL(link.href).searchParams.get(group.dataset.choose));
    // A stretch of one axis is none of another.
    if (group.dataset.choose === "axis") drawing.zoomOut();
    else drawing.redraw();
  });
}

// --- Smoothing follows the hand, at most once a frame.
const smooth = root?.querySelector("input[name=smooth]");
let frame = 0;
smooth?.addEventListener("input", () => {
  root.dataset.smooth = smooth.value;
  root.querySelector("output[for=smooth]").textContent = Number(smooth.value).toFixed(2);
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(() => drawing.redraw());
});
smooth?.addEventListener("change", () => put("smooth", Number(smooth.value) ? smooth.value : ""));

// --- Search over metrics.
const search = root?.querySelector("input[name=q]");
function filter() {
  const wanted = (search?.value ?? "").trim().toLowerCase();
  let left = 0;
  for (const section of root.querySelectorAll("[data-section]")) {
    const cells = [...section.querySelectorAll("[data-key]")];
    for (const cell of cells) cell.hidden = !cell.dataset.key.toLowerCase().includes(wanted);
    const shown = cells.filter((cell) => !cell.hidden).length;
    left += shown;
    section.hidden = !shown;
    const count = section.querySelector("[data-count]");
    if (count) count.textContent = shown;
  }
  root.querySelector("[data-none]").hidden = left > 0;
}
search?.addEventListener("input", () => {
  filter();
  put("q", search.value.trim());
});
// What is chosen is drawn already; a reload would only lose the place.
root?.querySelector("form[data-draw]")?.addEventListener("submit", (event) => event.preventDefault());

// --- Folded sections.
function follow(section) {
  section.addEventListener("toggle", () => {
    const closed = [...root.querySelectorAll("details[data-section]:not([open])")].map((one) => one.dataset.section);
    remember((query) => {
      query.delete("closed");
      for (const name of closed) query.append("closed", name);
    });
  });
}
root?.querySelectorAll("details[data-section]").forEach(follow);

// --- What comes while the run goes on: the server is asked every two seconds, as long as somebody looks.
const live = document.querySelector("[data-live]");
let versions = live ? JSON.parse(live.dataset.versions) : {};
let tag = "";
let wait = POLL_MS;
let timer = 0;
let ended = !live;

// Takes parts of the page as the server now makes it, so that there is one template for what is first and what is new.
async function renew() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok) throw new Error(`the page answered ${answer.status}`);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-part]")) {
    const next = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
    if (!next || next.innerHTML === part.innerHTML) continue;
    const atEnd = part.scrollHeight - part.scrollTop - part.clientHeight < 8;
    part.replaceChildren(...next.childNodes);
    // Whoever reads the end of a console goes on reading its end.
    if ("tail" in part.dataset && atEnd) part.scrollTop = part.scrollHeight;
  }
  if (root) adopt(fresh);
}

// Puts charts of metrics that are new where the server has put them.
function adopt(fresh) {
  if (!root.querySelector("[data-section]")) return location.reload();
  for (const section of fresh.querySelectorAll("[data-charts] [data-section]")) {
    const name = section.dataset.section;
    const here = [...root.querySelectorAll("[data-section]")].find((one) => one.dataset.section === name);
    if (!here) {
      // A second section brings headings; the page is made anew for them.
      if (root.querySelector("details[data-section]") === null) return location.reload();
      root.querySelector("[data-sections]").append(section);
      if (section.matches("details")) follow(section);
      section.querySelectorAll("[data-chart]").forEach(drawing.watch);
      continue;
    }
    const known = new Set([...here.querySelectorAll("[data-key]")].map((cell) => cell.dataset.key));
    for (const cell of section.querySelectorAll("[data-key]")) {
      if (known.has(cell.dataset.key)) continue;
      here.querySelector(".charts").append(cell);
      cell.querySelectorAll("[data-chart]").forEach(drawing.watch);
    }
  }
  if (search) filter();
  return undefined;
}

async function ask() {
  const answer = await fetch(live.dataset.live, { headers: { accept: "application/json", "if-none-match": tag }, cache: "no-store" });
  if (answer.status === 304) return;
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const first = !tag;
  tag = answer.headers.get("etag") ?? "";
  const told = await answer.json();
  const changed = Object.keys(told.metrics).filter((key) => told.metrics[key] !== versions[key]);
  const unknown = changed.some((key) => !(key in versions));
  versions = told.metrics;
  for (const key of root ? changed : []) {
    root.querySelectorAll(`[data-key="${CSS.escape(key)}"] [data-chart]`).forEach(drawing.refresh);
  }
  const news = !first || changed.length > 0 || told.version !== live.dataset.version;
  if (told.ended || unknown || (!root && news)) await renew();
  if (told.ended) {
    ended = true;
    document.querySelectorAll("[data-while-live]").forEach((mark) => mark.remove());
    document.getElementById("said").textContent = `The run has ended: ${told.status}`;
  }
}

async function turn() {
  clearTimeout(timer);
  if (ended || document.hidden) return;
  try {
    await ask();
    wait = POLL_MS;
  } catch {
    wait = Math.min(wait * 2, SLOWEST_MS);
  }
  clearTimeout(timer);
  timer = setTimeout(turn, wait);
}
if (live) {
  document.addEventListener("visibilitychange", turn);
  timer = setTimeout(turn, POLL_MS);
}
const tail = document.querySelector("[data-tail]");
if (tail) tail.scrollTop = tail.scrollHeight;
