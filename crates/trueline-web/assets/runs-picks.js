// The runs that are selected, whether their rows can be seen or not, and the button that compares them.

const MOST = 100;
// Longer than this no range is selected at once.
const LONGEST = 1_000;

/** Follows the boxes of a table; Shift selects from the one before to this. Answers what shows how many are selected. */
export function picks(table, selected, { rows, changed }) {
  const form = document.getElementById("compare");
  const button = document.getElementById("compare-button");
  let last = null;

  const show = () => {
    const n = selected.size;
    button.querySelector("[data-count]").textContent = n ? ` ${n}` : "";
    button.disabled = n < 2 || n > MOST;
    button.title = n > MOST ? `At most ${MOST} runs can be compared` : "Select rows, or a range with Shift";
  };

  table.addEventListener("click", async (event) => {
    const box = event.target;
    if (!box.matches?.("tbody input[type=checkbox]")) return;
    const { at } = box.closest("tr");
    const { value, checked } = box;
    const ids = [value];
    if (event.shiftKey && last !== null && last !== at) {
      const [from, to] = [Math.min(at, last), Math.max(at, last)];
      ids.push(...(await rows(from, Math.min(to + 1, from + LONGEST))).map((run) => run.run_id));
    }
    last = at;
    for (const id of ids) {
      if (checked) selected.add(id);
      else selected.delete(id);
    }
    changed();
    show();
  });
  const hidden = (id) => Object.assign(document.createElement("input"), { type: "hidden", name: "run", value: id });
  form.addEventListener("submit", () => form.replaceChildren(...[...selected].map(hidden)));
  // app.js counts the boxes that are there; those that count are here.
  addEventListener("pageshow", show);
  return show;
}
