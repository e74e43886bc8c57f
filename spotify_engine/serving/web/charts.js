// Charts as tables whose cells are drawn: what is seen and what is read out are the same.

import { h, name, svg } from "./dom.js";

const ROUNDING = 1e-6; // of a sum of shares

/** A part of all; says "under" and "over" where rounding would make nothing or all of it. */
export function percent(share, digits = 0) {
  const text = (100 * share).toFixed(digits);
  const step = 10 ** -digits;
  if (Number(text) === 0 && share > 0) return `under ${step.toFixed(digits)} %`;
  if (Number(text) === 100 && share < 1 - ROUNDING) return `over ${(100 - step).toFixed(digits)} %`;
  return `${text} %`;
}

/** Whole percentages of shares of 1 that add up to 100, as long as the shares add up to 1. */
function wholePercents(shares) {
  const whole = shares.map((share) => Math.floor(100 * share));
  const sum = Math.round(100 * shares.reduce((total, share) => total + share, 0));
  const left = (place) => 100 * shares[place] - whole[place];
  const order = shares.map((_, place) => place).sort((a, b) => left(b) - left(a));
  for (const place of order.slice(0, sum - whole.reduce((a, b) => a + b, 0))) whole[place] += 1;
  return whole;
}

/** With a real minus sign; `plus` goes before what is above zero. */
export function fixed(value, digits, plus = "") {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : `${value < 0 ? "−" : plus}${text}`;
}

export function signed(value, digits = 3) {
  return fixed(value, digits, "+");
}

/**
 * A bar from zero within [low, high].
 * @param kind class of the bar; by default says which side of zero it is on
 */
function bar(value, low, high, kind = value < 0 ? "negative" : "positive") {
  const place = (at) => (100 * (at - low)) / (high - low || 1);
  const zero = place(0);
  const end = place(value);
  return svg(
    "svg",
    { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", {
      class: kind, x: Math.min(zero, end), y: 1, width: Math.abs(end - zero), height: 8,
    }),
    svg("line", { class: "zero", x1: zero, x2: zero, y1: 0, y2: 10 }),
  );
}

/**
 * A bar chart of terms, in the order given, and of their sum.
 * @param rows   [{label, detail?, value, kind?, remark?}]
 * @param total  {label, value}, or null
 * @param show   value => text
 */
export function barChart({ caption, rows, total = null, show = signed }) {
  const values = [...rows, ...(total ? [total] : [])].map((row) => row.value);
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values);
  const line = (row, kind) =>
    h(
      "tr",
      { class: row.remark ? "remarked" : null },
      h(
        "th", { scope: "row", title: row.detail ? `${row.label} · ${row.detail}` : row.label },
        h("div", { class: "label" }, name(row.label), row.detail && [" · ", name(row.detail)]),
        row.remark && h("span", { class: "remark" }, row.remark),
      ),
      h("td", { class: "drawn" }, bar(row.value, low, high, kind)),
      h("td", { class: "value" }, show(row.value)),
    );
  return h(
    "table",
    { class: "bars" },
    h("caption", {}, caption),
    h("tbody", {}, rows.map((row) => line(row, row.kind))),
    total && h("tfoot", {}, line(total, "total")),
  );
}

/**
 * One bar divided into shares of 1, and the same in words.
 * @param shares [[label, share]]
 */
export function shareChart(caption, shares) {
  const whole = wholePercents(shares.map(([, share]) => share));
  let from = 0;
  const pieces = shares.map(([, share], place) => {
    const piece = svg("rect", {
      class: `share-${place}`, x: 100 * from, y: 0, width: 100 * share, height: 10,
    });
    from += share;
    return piece;
  });
  return h(
    "figure",
    { class: "shares" },
    h("figcaption", {}, caption),
    svg(
      "svg",
      { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      pieces,
    ),
    h(
      "ul", {},
      shares.map(([label], place) =>
        h("li", {}, h("span", { class: `key share-${place}`, "aria-hidden": "true" }),
          `${label} ${whole[place]} %`)),
    ),
  );
}

/**
 * A grid of coloured cells, with a row of attention above it where columns have any. The cell that is pointed at or has
 * the focus is spelled out below; arrow keys move between cells.
 * @param columns [{label, attention}]; attention: null where it tells nothing
 * @param rows    [{label, values, selected}], one value a column
 */
export function heatmap({ caption, columns, rows }) {
  const most = Math.max(...columns.map((column) => column.attention)) || 1;
  const largest = Math.max(...rows.flatMap((row) => row.values.map(Math.abs))) || 1;
  const readout = h("p", { class: "readout", "aria-hidden": "true" });
  const cells = [];

  function cell(share, kind, words) {
    const element = h("td", {
      class: `cell ${kind}`, tabindex: "-1", "aria-label": words,
      onfocus: () => (readout.textContent = words),
      onmouseenter: () => (readout.textContent = words),
    });
    element.style.setProperty("--share", `${(100 * share).toFixed(1)}%`);
    return element;
  }

  function line(label, selected, of) {
    const drawn = of();
    cells.push(drawn);
    return h(
      "tr", { class: selected ? "selected" : null },
      h("th", { scope: "row", title: label }, h("div", { class: "label" }, name(label))),
      drawn,
    );
  }

  const attention = columns[0].attention === null ? null : line("attention", false, () =>
    columns.map((column) =>
      cell(column.attention / most, "attention",
        `${column.label}: ${percent(column.attention, 1)} of the attention`)));
  const body = rows.map((row) =>
    line(row.label, row.selected, () =>
      row.values.map((value, place) =>
        cell(Math.abs(value) / largest, value < 0 ? "negative" : "positive",
          `${columns[place].label} adds ${signed(value)} to ${row.label}`))));
  const table = h(
    "table",
    { class: "heatmap", role: "grid", "aria-label": caption },
    h("thead", {},
      h("tr", {}, h("td"), columns.map((column) =>
        h("th", { scope: "col", title: column.label },
          h("div", { class: "label" }, name(column.label)))))),
    h("tbody", {}, attention, body),
  );
  cells[0][0].tabIndex = 0;
  table.addEventListener("keydown", (event) => move(event, cells));
  readout.textContent = "Point at a cell, or move to one with the arrow keys, for its value.";
  return h("div", { class: "heatmap-frame" }, h("div", { class: "scroll" }, table), readout, legend(rows));
}

function move(event, cells) {
  const y = cells.findIndex((row) => row.includes(event.target));
  if (y < 0) return;
  const x = cells[y].indexOf(event.target);
  const steps = {
    ArrowLeft: [y, x - 1], ArrowRight: [y, x + 1], ArrowUp: [y - 1, x], ArrowDown: [y + 1, x],
    Home: [y, 0], End: [y, cells[y].length - 1],
  };
  const [toY, toX] = steps[event.key] ?? [];
  const next = cells[toY]?.[toX];
  if (!(event.key in steps)) return;
  event.preventDefault();
  if (!next) return;
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

/** What the colours mean that are there, and how far each goes. */
function legend(rows) {
  const values = rows.flatMap((row) => row.values);
  const least = Math.min(...values), most = Math.max(...values);
  return h(
    "p", { class: "legend" },
    [
      least < 0 && ["negative", `lowers the score, by ${fixed(-least, 3)} at most`],
      most > 0 && ["positive", `raises the score, by ${fixed(most, 3)} at most`],
      ["attention", "attention"],
    ].filter(Boolean).map(([kind, words]) =>
      h("span", {}, h("span", { class: `key ${kind}`, "aria-hidden": "true" }), words)),
  );
}
