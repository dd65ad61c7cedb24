// The form that asks an endpoint from its page. Without this module it is not shown: what is beside it says how to ask from
// elsewhere.

const form = document.querySelector("[data-try]");
const answer = document.querySelector("[data-answer]");

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/// What came, as text: JSON with one thing a line, anything else as it is.
function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function ids(text) {
  try {
    return JSON.parse(text).prediction_ids ?? [];
  } catch {
    return [];
  }
}

function show(good, title, text, links) {
  const head = element("p", "", "answer-head");
  head.append(element("strong", good ? "Answered" : "Refused"), element("span", ` ${title}`, "muted"));
  const body = element("pre", readable(text));
  body.tabIndex = 0;
  body.setAttribute("role", "group");
  body.setAttribute("aria-label", "Answer");
  answer.replaceChildren(head, body);
  if (!links.length) return;
  const lines = element("p", links.length === 1 ? "Its line: " : "Their lines: ", "answer-links");
  for (const id of links) {
    const link = element("a", `…${id.slice(-8)}`, "mono");
    link.href = form.dataset.predictions + encodeURIComponent(id);
    link.title = id;
    lines.append(link, " ");
  }
  answer.append(lines);
}

async function ask(event) {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  const began = performance.now();
  try {
    const headers = { "content-type": "application/json" };
    const came = await fetch(form.action, { method: "POST", headers, body: form.elements.body.value });
    const text = await came.text();
    const took = `${(performance.now() - began).toFixed(1)} ms`;
    const by = came.headers.get("x-trueline-variant");
    const told = [came.status, by && `by ${by}`, took].filter(Boolean).join(" · ");
    show(came.ok, told, text, came.ok ? ids(text) : []);
  } catch (error) {
    show(false, "The server could not be reached.", String(error), []);
  } finally {
    button.disabled = false;
  }
}

if (form) {
  form.hidden = false;
  form.addEventListener("submit", ask);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}
