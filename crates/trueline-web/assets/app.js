// What makes pages handier: theme, search keys, copy buttons, rows by keyboard. No page needs it to be read.

const root = document.documentElement;
const said = document.getElementById("said");
const say = (text) => { if (said) said.textContent = text; };

// --- Theme: system, light, dark, in turn.
const THEMES = ["", "light", "dark"];
const NAMES = { "": "as the system has it", light: "light", dark: "dark" };

function showTheme(button) {
  const name = NAMES[root.dataset.theme ?? ""];
  button.setAttribute("aria-label", `Theme: ${name}`);
  button.title = `Theme: ${name}`;
}

for (const button of document.querySelectorAll("[data-theme-toggle]")) {
  showTheme(button);
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "") + 1) % THEMES.length];
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    try {
      if (next) localStorage.setItem("theme", next);
      else localStorage.removeItem("theme");
    } catch { /* kept for this page only */ }
    showTheme(button);
    say(`Theme: ${NAMES[next]}`);
    document.dispatchEvent(new CustomEvent("theme"));
  });
}

// --- Copy.
document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    say("Copying is not allowed here; select the text and copy it.");
    return;
  }
  say("Copied");
  const use = button.querySelector("use");
  const before = use?.getAttribute("href");
  use?.setAttribute("href", "#i-check");
  setTimeout(() => use?.setAttribute("href", before), 1500);
});

// --- Menus close on a click elsewhere and on Escape; Escape gives the focus back.
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.drop[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
});

// --- Keys: "/" and Ctrl-K search; j and k walk the rows, x selects, Enter follows the link that has the focus.
const typing = (el) => el?.matches?.("input, textarea, select, [contenteditable]");

function walk(step) {
  const links = [...document.querySelectorAll("table[data-rows] .row-link")];
  if (!links.length) return false;
  const row = document.activeElement?.closest?.("tr");
  const at = links.findIndex((link) => link.closest("tr") === row);
  const next = links[Math.min(Math.max(at + step, 0), links.length - 1)];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    const open = document.activeElement?.closest?.("details.drop[open]");
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
    } else if (document.activeElement?.matches?.("[data-search]")) {
      document.activeElement.blur();
    }
    return;
  }
  const search = document.querySelector("[data-search]");
  const palette = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k";
  if (palette || (event.key === "/" && !typing(event.target))) {
    if (!search) return;
    event.preventDefault();
    search.focus();
    search.select();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) && event.target.type !== "checkbox") return;
  if (event.key === "j" && walk(1)) event.preventDefault();
  if (event.key === "k" && walk(-1)) event.preventDefault();
  if (event.key === "x") document.activeElement?.closest?.("tr")?.querySelector("input[type=checkbox]")?.click();
});

// --- Selected rows: how many, and the button that compares them.
for (const form of document.querySelectorAll("[data-select]")) {
  const button = document.querySelector(`button[form="${form.id}"]`);
  const label = button?.querySelector("[data-count]");
  const boxes = () => [...document.querySelectorAll(`input[type=checkbox][form="${form.id}"]`)];
  const show = () => {
    const n = boxes().filter((box) => box.checked).length;
    if (label) label.textContent = n ? ` ${n}` : "";
    if (button) button.disabled = n < 2;
    for (const box of boxes()) box.closest("tr")?.toggleAttribute("data-selected", box.checked);
  };
  document.addEventListener("change", (event) => {
    if (event.target.getAttribute?.("form") === form.id) show();
  });
  addEventListener("pageshow", show);
  show();
}

// --- Times: the zone of the reader beside UTC, on hover.
document.addEventListener("pointerover", (event) => {
  const time = event.target.closest?.("time[title]:not([data-local])");
  if (!time) return;
  time.dataset.local = "";
  const local = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
  time.title += `\n${local}`;
});
