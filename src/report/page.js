"use strict";
// The cards of a page: drawn from the data of each sheet, put in order, filtered, ticked and looked at.
// Every name comes from somebody's file: it becomes text or an attribute, never markup.
(() => {
  const NEAR = "800px"; // Cards are filled this far before they are seen.
  const FIRST = 24; // Cards that are filled at once.
  const LONGEST = 20; // Letters of a file's name on a card.
  const NARROW = 520; // Pixels of a window in which meanings begin folded.
  const GROUPS = 500; // Groups that a list can be filtered by.
  const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

  // A text in which characters that hide or turn others are seen.
  const visible = text => text.replace(HIDDEN, "\ufffd");

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children.filter(child => child !== null));
    return element;
  }

  // Pictures lie behind this script in blocks, and a block is read when a picture of it is seen.
  const blocks = document.getElementsByClassName("block");
  const read = new Map();
  const size = Number(document.currentScript.dataset.block);
  const loading = () => document.readyState === "loading";
  // The address of a picture; null while its block is not there.
  function address(number) {
    const place = Math.floor(number / size);
    // The last block may be half there.
    const there = place + (loading() ? 1 : 0) < blocks.length;
    if (!read.has(place) && there) read.set(place, blocks[place].textContent.trim().split("\n"));
    return read.get(place)?.[number % size] ?? null;
  }

  function fileName(name) {
    const file = visible(name).split("/").pop();
    if (file.length <= LONGEST) return file;
    return `${file.slice(0, LONGEST / 2 - 1)}…${file.slice(-LONGEST / 2)}`;
  }

  function number(value) {
    if (value === null) return "–";
    if (Number.isInteger(value)) return String(value);
    return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
  }

  const shown = (column, row) => {
    const value = column.values[row];
    return column.number ? number(value) + (value === null ? "" : column.unit) : visible(value);
  };

  const compare = {
    number: (a, b) => a - b,
    text: new Intl.Collator("en", { numeric: true }).compare,
  };

  class Sheet {
    constructor(section) {
      Object.assign(this, JSON.parse(section.querySelector("script").textContent));
      this.section = section;
      this.kept = `pd ticks ${location.pathname} ${section.id}`;
      this.group = this.columns.find(column => column.group);
      this.order = this.first;
      this.limits = new Map();
      this.groupShown = null;
      this.search = "";
      this.onlyTicked = false;
      this.rows = [...this.items.keys()];
      this.ticked = new Set();
      this.cards = [];
      this.list = make("div", { className: "cards", role: "list", "aria-label": this.title });
      this.status = make("p", { className: "status", role: "status" });
      this.seen = new IntersectionObserver(entries => {
        for (const entry of entries) if (entry.isIntersecting) this.draw(entry.target);
      }, { rootMargin: NEAR });
      this.recall();
      if (this.tools) section.append(this.head());
      section.append(this.list);
      if (this.tools) section.append(this.tray());
      this.cards = this.items.map((item, row) => this.card(item, row));
      this.list.addEventListener("keydown", event => this.key(event));
      this.list.classList.toggle("beside", this.beside);
      this.arrange();
    }

    // Cards.

    // A card is empty until it comes near the window: that is what opens thousands of them at once.
    card(item, row) {
      const card = make("article", { className: "card", tabIndex: -1, role: "listitem" });
      card.setAttribute("aria-label", visible(item.picture.name));
      card.classList.toggle("chosen", item.chosen);
      card.classList.toggle("ticked", this.ticked.has(row));
      card.dataset.row = row;
      return card;
    }

    fill(card) {
      const row = Number(card.dataset.row);
      const item = this.items[row];
      const name = item.picture.name;
      const pictures = make("div", { className: "pictures" });
      [item.picture, ...item.others].forEach((picture, place) => {
        const frame = make("button", { type: "button", className: "frame", tabIndex: -1, title: visible(picture.name) });
        frame.setAttribute("aria-label", `${picture.role}: ${visible(picture.name)}, larger`);
        if (picture.picture === null) frame.append(make("span", { className: "none" }, "no picture"));
        else frame.dataset.picture = picture.picture;
        frame.addEventListener("click", () => viewer.open(this, row));
        const role = picture.role ? make("figcaption", {}, picture.role) : null;
        pictures.append(make("figure", { className: place ? "other" : "own" }, frame, role));
      });
      const title = make("label", { className: "named" });
      if (this.tools) {
        const box = make("input", { type: "checkbox", tabIndex: -1, checked: this.ticked.has(row) });
        box.setAttribute("aria-label", `tick ${visible(name)}`);
        box.addEventListener("change", () => this.tick(row, box.checked));
        title.append(box);
      }
      title.append(make("bdi", { title: visible(name) }, fileName(name)));
      const values = make("dl", { className: "values" });
      for (const column of this.columns) {
        if (!column.card || column.values[row] === null || column.values[row] === "") continue;
        values.append(make("div", { title: column.about }, make("dt", {}, column.label), this.value(column, row)));
      }
      card.append(pictures, title, values);
    }

    value(column, row) {
      return make("dd", { className: column.number ? "number" : "text" }, shown(column, row));
    }

    // Fills a card, and draws those of its pictures that are there and shown.
    draw(card) {
      if (!card.firstChild) this.fill(card);
      for (const frame of card.querySelectorAll(".frame:empty")) {
        if (frame.parentNode.className === "other" && !this.list.classList.contains("beside")) continue;
        const source = address(Number(frame.dataset.picture));
        if (source) frame.append(make("img", { alt: "", src: source, className: source.startsWith("data:image/png") ? "small" : "" }));
      }
    }

    drawAll() {
      for (const row of this.rows) this.draw(this.cards[row]);
    }

    // Order and filters.

    passes(row) {
      const item = this.items[row];
      if (this.onlyTicked && !this.ticked.has(row)) return false;
      if (this.groupShown !== null && this.group.values[row] !== this.groupShown) return false;
      for (const [column, [from, to]] of this.limits) {
        const value = column.values[row];
        if (value === null || value < from || value > to) return false;
      }
      if (!this.search) return true;
      const texts = this.columns.filter(column => !column.number).map(column => column.values[row]);
      const names = [item.picture, ...item.others].map(picture => picture.name);
      return [...names, ...texts].some(text => text.toLowerCase().includes(this.search));
    }

    sorted() {
      const rows = [...this.items.keys()].filter(row => this.passes(row));
      if (!this.order) return rows;
      const { column, down } = this.order;
      const { values, number } = this.columns[column];
      const rank = number ? compare.number : compare.text;
      const missing = value => value === null || value === "";
      return rows.sort((a, b) => {
        const [x, y] = [values[a], values[b]];
        if (missing(x) || missing(y)) return missing(x) - missing(y) || a - b;
        return (down ? rank(y, x) : rank(x, y)) || a - b;
      });
    }

    arrange() {
      this.rows = this.sorted();
      const cards = this.rows.map(row => this.cards[row]);
      this.list.classList.toggle("together", this.together);
      this.list.replaceChildren(...(this.together ? this.boxes() : cards));
      cards.forEach((card, place) => (card.tabIndex = place ? -1 : 0));
      cards.slice(0, FIRST).forEach(card => this.draw(card));
      this.look();
      this.say();
    }

    // A box for each group, in the order of their first cards.
    boxes() {
      const groups = new Map();
      for (const row of this.rows) {
        const name = this.group.values[row];
        groups.set(name, [...(groups.get(name) ?? []), this.cards[row]]);
      }
      return [...groups].map(([name, cards]) => {
        const heading = make("h3", {}, `${this.group.label} ${visible(String(name))}`);
        const row = make("div", { className: "row" }, ...cards);
        return make("section", { className: "box" }, heading, row);
      });
    }

    // Draws what is seen, and what comes into sight.
    look() {
      for (const row of this.rows) {
        this.seen.unobserve(this.cards[row]);
        this.seen.observe(this.cards[row]);
      }
    }

    say(done = "") {
      const [all, some] = [this.items.length, this.rows.length];
      const count = some === all ? `${all} shown` : `${some} of ${all} shown`;
      this.status.textContent = `${count}, ${this.ticked.size} ticked. ${done}`;
      for (const button of this.section.querySelectorAll(".tray .needs")) button.disabled = !this.ticked.size;
    }

    // Ticks.

    tick(row, on) {
      this.set(row, on);
      this.keep();
      if (this.onlyTicked) this.arrange();
      else this.say();
    }

    set(row, on) {
      if (on) this.ticked.add(row);
      else this.ticked.delete(row);
      const card = this.cards[row];
      card.classList.toggle("ticked", on);
      const box = card.querySelector("input");
      if (box) box.checked = on;
    }

    tickAll(rows, on) {
      for (const row of rows) this.set(row, on);
      this.keep();
      this.arrange();
    }

    // Ticks outlive the page where the browser keeps them; it may not.
    keep() {
      const names = [...this.ticked].map(row => this.items[row].picture.name);
      try {
        localStorage.setItem(this.kept, JSON.stringify(names));
      } catch {}
    }

    recall() {
      try {
        const names = new Set(this.tools ? JSON.parse(localStorage.getItem(this.kept)) : []);
        this.ticked = new Set(this.rows.filter(row => names.has(this.items[row].picture.name)));
      } catch {}
    }

    // In the order that is shown; what is ticked and hidden by a filter is ticked all the same.
    tickedRows() {
      return [...new Set([...this.rows, ...this.items.keys()])].filter(row => this.ticked.has(row));
    }

    table() {
      const cell = value => {
        const text = String(value ?? "");
        return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
      };
      const columns = this.columns.filter(column => column.written);
      const head = ["path", ...columns.map(column => column.name)];
      const line = row => [this.items[row].picture.name, ...columns.map(column => column.values[row])];
      return [head, ...this.tickedRows().map(line)].map(cells => cells.map(cell).join(",") + "\n").join("");
    }

    async copy() {
      const names = this.tickedRows().map(row => this.items[row].picture.name);
      const text = names.map(name => `${name}\n`).join("");
      try {
        await navigator.clipboard.writeText(text);
      } catch {
        const field = make("textarea", { value: text });
        this.section.append(field);
        field.select();
        document.execCommand("copy");
        field.remove();
      }
      this.say(`${names.length} names copied.`);
    }

    save() {
      const link = make("a", { download: "ticked.csv" });
      link.href = URL.createObjectURL(new Blob([this.table()], { type: "text/csv" }));
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      this.say(`${this.ticked.size} names saved to ticked.csv.`);
    }

    // Controls.

    head() {
      const controls = make("div", { className: "controls" });
      const field = (label, control) => make("label", {}, make("span", {}, label), control);
      const search = make("input", { type: "search", name: "search" });
      search.addEventListener("input", () => {
        this.search = search.value.toLowerCase();
        this.arrange();
      });
      controls.append(field("Search names", search), field("Order", this.orders()));
      const groups = this.group ? [...new Set(this.group.values)].sort(compare.text) : [];
      if (groups.length > 1 && groups.length <= GROUPS) {
        const select = make("select", { name: "group" }, new Option("all", ""));
        groups.forEach((group, place) => select.append(new Option(visible(String(group)) || "none", String(place))));
        select.addEventListener("change", () => {
          this.groupShown = select.value === "" ? null : groups[Number(select.value)];
          this.arrange();
        });
        controls.append(field(`Only ${this.group.label}`, select));
      }
      controls.append(this.choice("only what is ticked", "ticked", false, on => {
        this.onlyTicked = on;
        this.arrange();
      }));
      if (this.others) {
        controls.append(this.choice(this.others, "beside", this.beside, on => {
          this.list.classList.toggle("beside", on);
          this.look();
        }));
      }
      const keys = "Keys on the pictures: arrows move, space ticks, Enter enlarges.";
      return make("div", { className: "tools" }, controls, this.meanings(), make("p", { className: "keys" }, keys));
    }

    choice(label, name, checked, change) {
      const box = make("input", { type: "checkbox", name, checked });
      box.addEventListener("change", () => change(box.checked));
      return make("label", { className: "choice" }, box, label);
    }

    orders() {
      const select = make("select", { name: "order" });
      if (!this.first) select.append(new Option("as in the table", ""));
      this.columns.forEach((column, place) => {
        const ways = column.number ? ["lowest first", "highest first"] : ["A to Z", "Z to A"];
        ways.forEach((way, down) => select.append(new Option(`${column.label}: ${way}`, `${place} ${down}`)));
      });
      if (this.first) select.value = `${this.first.column} ${Number(this.first.down)}`;
      select.addEventListener("change", () => {
        const [column, down] = select.value.split(" ").map(Number);
        this.order = select.value ? { column, down: Boolean(down) } : null;
        this.arrange();
      });
      return select;
    }

    // What each number means, with the range of it that is shown.
    meanings() {
      const list = make("dl", {});
      for (const column of this.columns.filter(column => column.about || column.number)) {
        const range = column.number ? this.range(column) : null;
        list.append(make("div", {}, make("dt", {}, column.label), make("dd", {}, column.about), range));
      }
      if (!list.children.length) return null;
      return make("details", { className: "meanings", open: innerWidth > NARROW }, make("summary", {}, "What the numbers mean, and which to show"), list);
    }

    range(column) {
      const known = column.values.filter(value => value !== null);
      const [least, most] = [known.reduce((a, b) => Math.min(a, b)), known.reduce((a, b) => Math.max(a, b))];
      const end = (word, placeholder) => {
        const input = make("input", { type: "number", step: "any", placeholder: number(placeholder), name: `${column.name} ${word}` });
        input.setAttribute("aria-label", `${column.label}, ${word}`);
        return input;
      };
      const [from, to] = [end("from", least), end("to", most)];
      const change = () => {
        const bound = (input, other) => (input.value === "" || Number.isNaN(input.valueAsNumber) ? other : input.valueAsNumber);
        const limits = [bound(from, -Infinity), bound(to, Infinity)];
        if (limits.every(limit => !Number.isFinite(limit))) this.limits.delete(column);
        else this.limits.set(column, limits);
        this.arrange();
      };
      from.addEventListener("input", change);
      to.addEventListener("input", change);
      return make("dd", { className: "range" }, from, " to ", to);
    }

    tray() {
      const button = (text, needs, act) => {
        const button = make("button", { type: "button", className: needs ? "needs" : "" }, text);
        button.addEventListener("click", act);
        return button;
      };
      const tray = make("div", { className: "tray" }, this.status,
        button("Tick all shown", false, () => this.tickAll(this.rows, true)));
      if (this.spare) {
        const spare = () => this.rows.filter(row => !this.items[row].chosen);
        tray.append(button(this.spare, false, () => this.tickAll(spare(), true)));
      }
      tray.append(
        button("Untick all", true, () => this.tickAll([...this.ticked], false)),
        button("Copy names", true, () => this.copy()),
        button("Save list", true, () => this.save()));
      return tray;
    }

    // Keys.

    key(event) {
      const card = event.target.closest(".card");
      if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
      const place = this.rows.indexOf(Number(card.dataset.row));
      const row = this.rows[place];
      const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: this.rows.length - 1 }[event.key];
      if (to !== undefined) this.focus(to);
      else if (event.key === "ArrowDown") this.focus(this.across(place, 1));
      else if (event.key === "ArrowUp") this.focus(this.across(place, -1));
      else if (event.key === "Enter") viewer.open(this, row);
      else if (event.key === " " && this.tools) this.tick(row, !this.ticked.has(row));
      else return;
      event.preventDefault();
    }

    focus(place) {
      const row = this.rows[place];
      if (row === undefined) return;
      for (const card of this.list.querySelectorAll('[tabindex="0"]')) card.tabIndex = -1;
      this.cards[row].tabIndex = 0;
      this.cards[row].focus();
    }

    // The card below (or above) one: in the next line, the nearest from the left.
    across(place, step) {
      const box = at => this.cards[this.rows[at]]?.getBoundingClientRect();
      const here = box(place);
      let at = place + step;
      while (box(at) && Math.abs(box(at).top - here.top) < here.height / 2) at += step;
      const line = box(at);
      let best = at;
      for (; line && box(at) && Math.abs(box(at).top - line.top) < line.height / 2; at += step) {
        if (Math.abs(box(at).left - here.left) < Math.abs(box(best).left - here.left)) best = at;
      }
      return best;
    }
  }

  // One card in the whole window: its pictures side by side, its numbers with what they mean.
  class Viewer {
    constructor() {
      const button = (text, act) => {
        const button = make("button", { type: "button" }, text);
        button.addEventListener("click", act);
        return button;
      };
      this.before = button("Previous", () => this.step(-1));
      this.after = button("Next", () => this.step(1));
      this.box = make("input", { type: "checkbox" });
      this.box.addEventListener("change", () => this.sheet.tick(this.row, this.box.checked));
      this.ticks = make("label", { className: "choice" }, this.box, "tick");
      const close = button("Close", () => this.dialog.close());
      // Keys are for the pictures from the beginning.
      this.content = make("div", { className: "content", tabIndex: -1, autofocus: true });
      const top = make("div", { className: "top" }, this.before, this.after, this.ticks, close);
      this.dialog = make("dialog", { className: "viewer", "aria-label": "one picture" }, top, this.content);
      this.dialog.addEventListener("keydown", event => this.key(event));
      this.dialog.addEventListener("close", () => this.leave());
      document.body.append(this.dialog);
    }

    open(sheet, row) {
      this.sheet = sheet;
      this.places = [...sheet.rows];
      this.show(row);
      this.dialog.showModal();
    }

    // The card that was looked at last has the focus again.
    leave() {
      const place = this.sheet.rows.indexOf(this.row);
      if (place >= 0) this.sheet.focus(place);
    }

    show(row) {
      const { sheet } = this;
      this.row = row;
      const place = this.places.indexOf(row);
      this.before.disabled = place <= 0;
      this.after.disabled = place + 1 >= this.places.length;
      this.ticks.hidden = !sheet.tools;
      this.box.checked = sheet.ticked.has(row);
      const item = sheet.items[row];
      const pictures = make("div", { className: "large" }, ...[item.picture, ...item.others].map(picture => this.picture(picture)));
      const values = make("dl", { className: "values" });
      for (const column of sheet.columns) {
        const value = column.values[row];
        if (value === null || value === "") continue;
        const about = column.about ? make("dd", { className: "about" }, column.about) : null;
        values.append(make("div", {}, make("dt", {}, column.label), sheet.value(column, row), about));
      }
      this.content.replaceChildren(pictures, values);
    }

    picture(picture) {
      const name = make("bdi", {}, visible(picture.name));
      const caption = make("figcaption", {}, make("b", {}, picture.role), " ", name);
      if (picture.picture === null) return make("figure", {}, make("div", { className: "none" }, "no picture"), caption);
      const small = address(picture.picture) ?? "";
      const image = make("img", { alt: visible(picture.name), src: small });
      if (small.startsWith("data:image/png")) image.className = "small";
      if (picture.file) {
        caption.append(" ", make("a", { href: picture.file, target: "_blank", rel: "noopener" }, "open the file"));
        // The file itself, where it is still there and a browser knows its format.
        const whole = make("img", { src: picture.file });
        whole.addEventListener("load", () => (image.src = picture.file));
      }
      return make("figure", {}, image, caption);
    }

    step(by) {
      const row = this.places[this.places.indexOf(this.row) + by];
      if (row !== undefined) this.show(row);
    }

    key(event) {
      if (event.key === "ArrowRight") this.step(1);
      else if (event.key === "ArrowLeft") this.step(-1);
      else if (event.key === " " && this.sheet.tools && event.target.tagName !== "BUTTON" && event.target !== this.box) {
        this.box.click();
      } else return;
      event.preventDefault();
    }
  }

  const viewer = new Viewer();
  const sheets = [...document.querySelectorAll("section.sheet")].map(section => new Sheet(section));
  // The pictures of what is seen arrive while the page loads.
  const arrived = setInterval(() => {
    for (const sheet of sheets) sheet.look();
    if (!loading()) clearInterval(arrived);
  }, 100);
  // Paper shows all that passes the filters.
  addEventListener("beforeprint", () => sheets.forEach(sheet => sheet.drawAll()));
})();
