"use strict";
// Long tables: sorted by a click on a header, searched, and opened row by row. All text is set as text.
(() => {
  const FIRST = 30; // rows shown before `Show all`
  const SVG = "http://www.w3.org/2000/svg";
  const UNITS = ["B", "kB", "MB", "GB", "TB"];

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const size = (count) => {
    let unit = 0;
    for (; count >= 1000 && unit < UNITS.length - 1; unit++) count /= 1000;
    return `${unit ? count.toFixed(1) : count} ${UNITS[unit]}`;
  };

  const figure = (value) => {
    if (typeof value !== "number" || value === 0) return String(value);
    const plain = Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5;
    return plain ? String(Number(value.toPrecision(3))) : value.toExponential(2);
  };

  const shown = (column, value) => {
    if (value === null) return "";
    if (column.kind === "count") return value.toLocaleString("en");
    if (column.kind === "bytes") return size(value);
    return column.kind === "figure" ? figure(value) : String(value);
  };

  const NUMBERS = ["count", "bytes", "figure"];
  const isNumber = (column) => NUMBERS.includes(column.kind);
  // NaN stands above all numbers, and what is not there below.
  const rank = (value) => (value === null ? -Infinity : value === "NaN" ? Infinity : Number(String(value).replace("inf", "Infinity")));

  function histogram(counts) {
    const svg = document.createElementNS(SVG, "svg");
    const most = Math.max(...counts);
    svg.setAttribute("viewBox", `0 0 ${counts.length * 3} 20`);
    svg.setAttribute("class", "small");
    svg.setAttribute("aria-hidden", "true");
    counts.forEach((count, n) => {
      const bar = svg.appendChild(document.createElementNS(SVG, "rect"));
      const height = count ? Math.max(1, (20 * count) / most) : 0;
      const place = { x: n * 3, y: 20 - height, width: 2.4, height };
      for (const [name, value] of Object.entries(place)) bar.setAttribute(name, value.toFixed(1));
    });
    return svg;
  }

  // A name that is too long breaks between its levels.
  const levels = (name) => name.split(/(?<=[./])/).flatMap((level) => [level, make("wbr")]);

  function cell(column, value) {
    const td = make("td", column.shown === "wide" ? "wide" : "");
    if (isNumber(column)) td.classList.add("number");
    if (column.kind === "name") td.classList.add("name");
    if (column.kind === "verdict") td.classList.add("verdict-cell", ["equal", "cast", "match"].includes(value) ? "good" : "bad");
    if (column.kind === "histogram") {
      if (value && value.length) td.append(histogram(value));
    } else if (column.kind === "name") td.append(...levels(value));
    else td.textContent = shown(column, value);
    return td;
  }

  // What a row holds in full, with its histogram drawn large.
  function detail(columns, row) {
    const td = make("td");
    td.colSpan = columns.length;
    const facts = td.appendChild(make("dl", "facts"));
    columns.forEach((column, n) => {
      if (row[n] === null || row[n] === "" || ["histogram", "report"].includes(column.kind)) return;
      const line = facts.appendChild(make("div"));
      line.append(make("dt", "", column.title), make("dd", "", shown(column, row[n])));
    });
    const report = row[columns.findIndex((column) => column.kind === "report")];
    if (report) td.append(make("pre", "scroll", report));
    const at = columns.findIndex((column) => column.kind === "histogram");
    const values = row[at];
    const tr = make("tr", "detail");
    tr.append(td);
    if (at < 0 || !values || !values.length) return { tr, draw() {} };
    const box = td.appendChild(make("div", "plot"));
    return { tr, draw: () => plots.draw(box, bars(columns, row, values)) };
  }

  function bars(columns, row, counts) {
    const number = (title) => row[columns.findIndex((column) => column.title === title)];
    const [low, high] = [number("min"), number("max")];
    const step = (high - low) / counts.length;
    const axis = (text) => ({ title: { text, standoff: 8 }, gridcolor: "var(--line)", zeroline: false, automargin: true });
    return {
      data: [{ type: "bar", x: counts.map((_, n) => low + step * (n + 0.5)), y: counts, width: step * 0.9,
               marker: { color: "var(--accent)" }, hovertemplate: "%{y} near %{x:.3g}<extra></extra>" }],
      layout: { height: 240, margin: { l: 40, r: 10, t: 10, b: 40 }, bargap: 0, showlegend: false,
                paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
                xaxis: axis("value"), yaxis: axis("elements of the sample") },
    };
  }

  // A spreadsheet takes what begins so for a formula; names come from strangers.
  const field = (value) => {
    const text = value === null ? "" : Array.isArray(value) ? value.join(" ") : String(value);
    const harmless = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
  };

  function download(name, lines) {
    const text = lines.map((line) => line.map(field).join(",")).join("\r\n") + "\r\n";
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  function start(block) {
    const { columns, rows, sort } = JSON.parse(block.querySelector("script").textContent);
    const inRow = columns.map((_, n) => n).filter((n) => columns[n].shown !== "opened");
    const state = { by: columns.findIndex((column) => column.title === sort), down: true, text: "", all: false, chosen: {}, open: new Set() };

    const tools = block.appendChild(make("div", "tools"));
    const search = tools.appendChild(make("input"));
    search.type = "search";
    search.placeholder = `Search ${block.dataset.label}`;
    search.setAttribute("aria-label", search.placeholder);
    const scroll = block.appendChild(make("div", "scroll"));
    const table = scroll.appendChild(make("table"));
    const head = table.appendChild(make("thead")).appendChild(make("tr"));
    const body = table.appendChild(make("tbody"));
    const more = block.appendChild(make("button", "more"));
    more.type = "button";

    columns.forEach((column, n) => {
      if (!column.choose) return;
      const values = [...new Set(rows.map((row) => row[n]))];
      if (values.length < 2) return;
      const select = tools.appendChild(make("select"));
      select.setAttribute("aria-label", column.title);
      select.append(new Option(`any ${column.title}`, ""), ...values.map((value, at) => new Option(value || "none", at + 1)));
      select.addEventListener("change", () => {
        state.chosen[n] = select.value ? [values[select.value - 1]] : undefined;
        render();
      });
    });
    const save = tools.appendChild(make("button", "save", "CSV"));
    save.type = "button";
    save.title = "Save the rows that are shown, with all their columns, as CSV";
    save.addEventListener("click", () => download(`${block.dataset.label}.csv`, [columns.map((column) => column.title), ...ordered().map((n) => rows[n])]));
    const count = tools.appendChild(make("span", "count"));
    count.setAttribute("aria-live", "polite");

    for (const n of inRow) {
      const th = head.appendChild(make("th", columns[n].shown === "wide" ? "wide" : ""));
      if (isNumber(columns[n])) th.classList.add("number");
      th.scope = "col";
      th.dataset.title = columns[n].title; // for paper, which repeats no buttons
      if (columns[n].kind === "histogram") {
        th.textContent = columns[n].title;
        continue;
      }
      const button = th.appendChild(make("button", "", columns[n].title));
      button.addEventListener("click", () => {
        state.down = state.by === n ? !state.down : isNumber(columns[n]);
        state.by = n;
        render();
      });
      th.dataset.column = n;
    }

    let printing = false;
    const words = rows.map((row) => row.filter((value) => typeof value === "string").join("\n").toLowerCase());
    const fits = (n) =>
      state.text.split(/\s+/).every((word) => words[n].includes(word)) &&
      Object.entries(state.chosen).every(([at, value]) => !value || rows[n][at] === value[0]);

    function ordered() {
      const found = rows.map((_, n) => n).filter(fits);
      const { by, down } = state;
      if (by < 0) return found;
      const compare = isNumber(columns[by])
        ? (a, b) => { const [x, y] = [rank(a), rank(b)]; return x < y ? -1 : x > y ? 1 : 0; }
        : (a, b) => String(a).localeCompare(String(b), "en", { numeric: true });
      return found.sort((a, b) => (down ? -1 : 1) * compare(rows[a][by], rows[b][by]) || a - b);
    }

    function render() {
      const found = ordered();
      const visible = state.all || printing ? found : found.slice(0, FIRST);
      const opened = [];
      body.replaceChildren(...visible.flatMap((n) => (state.open.has(n) ? [line(n), ...below(n, opened)] : [line(n)])));
      for (const part of opened) part.draw();
      count.textContent = found.length === rows.length ? `${rows.length.toLocaleString("en")}` : `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
      more.hidden = visible.length === found.length;
      more.textContent = `Show all ${found.length.toLocaleString("en")}`;
      for (const th of head.children) {
        const is = Number(th.dataset.column) === state.by;
        is ? th.setAttribute("aria-sort", state.down ? "descending" : "ascending") : th.removeAttribute("aria-sort");
      }
    }

    function below(n, opened) {
      opened.push(detail(columns, rows[n]));
      return [opened.at(-1).tr];
    }

    function line(n) {
      const tr = make("tr", state.open.has(n) ? "line open" : "line");
      tr.tabIndex = 0;
      tr.dataset.row = n;
      tr.append(...inRow.map((at) => cell(columns[at], rows[n][at])));
      const toggle = () => {
        if (tr.classList.toggle("open")) {
          state.open.add(n);
          const part = detail(columns, rows[n]);
          tr.after(part.tr);
          part.draw();
          links.note(block, String(rows[n][0]));
        } else {
          state.open.delete(n);
          tr.nextSibling.remove();
          links.note(block);
        }
      };
      tr.addEventListener("click", toggle);
      tr.addEventListener("keydown", (event) => {
        if (event.key === "Enter") toggle();
      });
      return tr;
    }

    // Opens the row of a name, and returns it; nothing that was searched or chosen hides it.
    links.register(block, (name) => {
      const n = rows.findIndex((row) => row[0] === name);
      if (n < 0) return null;
      state.open.add(n);
      if (!fits(n)) {
        search.value = state.text = "";
        state.chosen = {};
        for (const select of tools.querySelectorAll("select")) select.value = "";
      }
      state.all = state.all || ordered().indexOf(n) >= FIRST;
      render();
      return body.querySelector(`[data-row="${n}"]`);
    });

    // Paper shows every row.
    addEventListener("beforeprint", () => {
      printing = true;
      render();
    });
    addEventListener("afterprint", () => {
      printing = false;
      render();
    });

    search.addEventListener("input", () => {
      state.text = search.value.trim().toLowerCase();
      render();
    });
    more.addEventListener("click", () => {
      state.all = true;
      render();
    });
    render();
  }

  document.querySelectorAll(".grid").forEach(start);
})();
