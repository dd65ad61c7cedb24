// The rows of a table that is too long to be held: windows of it are fetched as they are looked at and kept. All windows are
// of one result, which the server names, so that they fit together whatever is logged meanwhile.

const WINDOW = 100;
// Windows that are kept; those that were looked at longest ago go first.
const KEPT = 60;
// While somebody drags through rows that aren't here, only where they rest is fetched.
const REST_MS = 60;

export class Feed {
  #url;
  #query = "";
  #windows = new Map();
  #flying = new Map();
  #range = [0, 0];
  #result = null;
  #timer = 0;
  #turn = 0;
  // What is held is of another table than is asked for.
  #other = false;

  /** `told.rows()` when rows have come, `told.total(n)` when the table's length is known, `told.refused(text)` when not. */
  constructor(url, told) {
    this.#url = url;
    this.told = told;
  }

  /** Another table; with a `result` that is known to the server it is that. Until its rows come, the old ones are told. */
  ask(query, result = null) {
    this.#turn += 1;
    this.#query = query;
    this.#result = result;
    this.#other = true;
    for (const flight of this.#flying.values()) flight.abort();
    this.#flying.clear();
  }

  /** The same rows with other columns. */
  look(query) {
    const other = this.#other;
    this.ask(query, this.#result);
    this.#other = other;
  }

  /** A run, with `of(key)` for what it has in a column. */
  row(index) {
    return this.#windows.get(Math.floor(index / WINDOW))?.rows[index % WINDOW];
  }

  /** Sees to it that the rows from `first` to before `last` come. */
  want(first, last) {
    this.#range = [first, last];
    clearTimeout(this.#timer);
    const lacking = this.#lacking();
    if (!lacking.length) return;
    const nothing = this.row(first) === undefined && this.row(last - 1) === undefined;
    this.#timer = setTimeout(() => this.#fly(), nothing && this.#result ? REST_MS : 0);
  }

  /** Fetches again what is looked at: cells of runs that go on. */
  async refresh() {
    if (!this.#result || this.#flying.size) return;
    for (const place of this.#places()) await this.#fetch(place, true);
  }

  /** The rows from `first` to before `last`, however long they take. */
  async rows(first, last) {
    for (let place = Math.floor(first / WINDOW); place * WINDOW < last; place += 1) {
      if (!this.#has(place)) await this.#fetch(place, true);
    }
    return Array.from({ length: last - first }, (_, i) => this.row(first + i)).filter(Boolean);
  }

  #places() {
    const [first, last] = this.#range;
    const places = [];
    for (let place = Math.floor(first / WINDOW); place * WINDOW < Math.max(last, first + 1); place += 1) places.push(place);
    return places;
  }

  #lacking() {
    return this.#places().filter((place) => !this.#has(place));
  }

  #has(place) {
    return this.#windows.get(place)?.turn === this.#turn;
  }

  #fly() {
    const lacking = this.#lacking();
    for (const [place, flight] of this.#flying) {
      if (this.#result && !lacking.includes(place)) {
        flight.abort();
        this.#flying.delete(place);
      }
    }
    // The first window of a table brings the name of its result; the others wait for that.
    if (!this.#result && this.#flying.size) return;
    for (const place of this.#result ? lacking : lacking.slice(0, 1)) {
      if (!this.#flying.has(place)) this.#fetch(place);
    }
  }

  // What is needed for certain comes, whatever is looked at meanwhile.
  async #fetch(place, certain = false) {
    const flight = new AbortController();
    const turn = this.#turn;
    const asked = this.#result;
    if (!certain) this.#flying.set(place, flight);
    const query = new URLSearchParams(this.#query);
    query.set("offset", place * WINDOW);
    query.set("limit", WINDOW);
    if (asked) query.set("result", asked);
    try {
      const answer = await fetch(`${this.#url}?${query}`, { signal: flight.signal, headers: { accept: "application/json" } });
      const body = await answer.json();
      if (turn !== this.#turn) return;
      if (!answer.ok) {
        this.told.refused(body.detail ?? `The server answered ${answer.status}.`);
        return;
      }
      const other = this.#other || asked !== body.result;
      if (other) this.#windows.clear();
      this.#other = false;
      this.#result = body.result;
      this.#keep(place, body.rows, body.columns);
      if (other) this.told.total(body.total);
      this.told.rows();
    } catch (error) {
      if (error.name !== "AbortError" && turn === this.#turn) this.told.refused(`Rows can't be fetched: ${error.message}. Scroll to try again.`);
    } finally {
      if (this.#flying.get(place) === flight) this.#flying.delete(place);
      if (turn === this.#turn && !flight.signal.aborted && this.#has(place)) this.#fly();
    }
  }

  #keep(place, rows, columns) {
    const places = new Map(columns.map((name, at) => [name, at]));
    for (const row of rows) row.of = (name) => row.cells[places.get(name)];
    this.#windows.delete(place);
    this.#windows.set(place, { rows, turn: this.#turn });
    for (const old of this.#windows.keys()) {
      if (this.#windows.size <= KEPT) break;
      this.#windows.delete(old);
    }
  }
}
