// The rows of the table of runs that can be seen, and a few beyond: as one scrolls, those that leave at one end are written
// anew and put at the other. Nothing is known here of where rows come from or what a cell holds.

// Rows beyond what can be seen, at either end.
const BEYOND = 8;
// Browsers limit the height of an element; beyond this a pixel of the scroll bar stands for more than one of the table.
const TALLEST = 12_000_000;

function space() {
  const part = document.createElement("tbody");
  part.setAttribute("aria-hidden", "true");
  const row = document.createElement("tr");
  const cell = document.createElement("td");
  cell.className = "space";
  row.append(cell);
  part.append(row);
  return { part, cell };
}

export class Body {
  #above = space();
  #below = space();
  #rows = [];
  #first = 0;

  /** `make()` builds a row, `write(row, index)` fills it; `told(first, last)` hears what is to be seen. */
  constructor(pane, table, { make, write, told }) {
    Object.assign(this, { pane, table, make, write, told, total: 0 });
    this.part = table.tBodies[0];
    this.rowHeight = this.part.rows[0]?.getBoundingClientRect().height || 34;
    this.asked = false;
    pane.addEventListener("scroll", () => this.soon(), { passive: true });
    new ResizeObserver(() => this.soon()).observe(pane);
  }

  soon() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.show();
    });
  }

  #whole() {
    return this.total * this.rowHeight;
  }

  /** How many pixels of the table one of the scroll bar stands for. */
  #scale() {
    const room = this.#room();
    const tall = Math.min(this.#whole(), TALLEST);
    return tall > room ? (this.#whole() - room) / (tall - room) : 1;
  }

  #head() {
    return this.table.tHead.offsetHeight;
  }

  #room() {
    return Math.max(this.pane.clientHeight - this.#head(), this.rowHeight);
  }

  /** The rows that can be seen: from the first to before the last. */
  seen() {
    const from = (this.pane.scrollTop * this.#scale()) / this.rowHeight;
    const first = Math.min(Math.floor(from + 0.01), Math.max(this.total - 1, 0));
    return [first, Math.min(Math.ceil(from + this.#room() / this.rowHeight), this.total)];
  }

  /** All rows are built anew: other columns. */
  rebuild(columns) {
    const at = this.pane.scrollTop;
    this.#rows = [];
    this.part.replaceChildren();
    for (const { part, cell } of [this.#above, this.#below]) {
      cell.colSpan = columns;
      if (!part.isConnected) this.table.append(part);
    }
    this.table.insertBefore(this.#above.part, this.part);
    // As tall as ever, so that neither the pane shrinks nor its place is lost.
    this.#above.cell.style.height = `${Math.min(this.#whole(), TALLEST)}px`;
    this.#above.part.hidden = false;
    this.pane.scrollTop = at;
    this.show();
  }

  /** Writes what is seen again: other values. */
  rewrite() {
    this.#rows.forEach((row, i) => this.write(row, this.#first + i));
  }

  show() {
    const [seenFirst, seenLast] = this.seen();
    const first = Math.max(seenFirst - BEYOND, 0);
    const last = Math.min(seenLast + BEYOND, this.total);
    this.#shift(first, last - first);
    const tall = Math.min(this.#whole(), TALLEST);
    const top = this.pane.scrollTop * this.#scale();
    const above = Math.max(this.pane.scrollTop - (top - first * this.rowHeight), 0);
    this.#above.cell.style.height = `${above}px`;
    const below = Math.max(tall - above - (last - first) * this.rowHeight, 0);
    this.#below.cell.style.height = `${below}px`;
    this.#above.part.hidden = above === 0;
    this.#below.part.hidden = below === 0;
    if (this.total) this.told(seenFirst, seenLast);
  }

  #shift(first, n) {
    const rows = this.#rows;
    while (rows.length < n) {
      const row = this.make();
      row.at = -1;
      rows.push(row);
      this.part.append(row);
    }
    while (rows.length > n) rows.pop().remove();
    const by = first - this.#first;
    // Those that stay are not touched, so that the focus stays where it is.
    if (by > 0 && by < n) {
      const moved = rows.splice(0, by);
      this.part.append(...moved);
      rows.push(...moved);
    } else if (by < 0 && -by < n) {
      const moved = rows.splice(n + by);
      this.part.prepend(...moved);
      rows.unshift(...moved);
    }
    this.#first = first;
    rows.forEach((row, i) => {
      if (row.at === first + i) return;
      row.at = first + i;
      this.write(row, row.at);
    });
  }

  /** The element of a row, where it is built. */
  element(index) {
    return this.#rows[index - this.#first];
  }

  /** Scrolls so that a row can be seen. */
  reveal(index) {
    const [first, last] = this.seen();
    const rowTop = index * this.rowHeight;
    const room = this.#room();
    const scale = this.#scale();
    const top = this.pane.scrollTop * scale;
    if (index >= first && index < last && rowTop >= top && rowTop + this.rowHeight <= top + room) return;
    const to = rowTop < top ? rowTop : rowTop + this.rowHeight - room;
    this.pane.scrollTop = Math.ceil(to / scale);
    this.show();
  }

  /** Puts a row at the top. */
  scrollTo(index) {
    this.pane.scrollTop = (index * this.rowHeight) / this.#scale();
    this.show();
  }
}
