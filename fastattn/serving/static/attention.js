// Where a model looked: a picture to move over, with the mouse or the arrow keys.
import { make, percent, seen } from "./api.js";

const MOST_CELLS = 10_000;

/** An element with the map of one answer. source: the symbols of its columns; answer: as `POST /translate` gives it. */
export function attentionMap(source, answer, title) {
  const weights = answer.attention;
  const rows = [...answer.tokens.map(seen), ...(answer.ended ? ["end"] : [])].slice(0, weights.length);
  if (rows.length * source.length > MOST_CELLS) {
    return make("p", { className: "quiet" }, `The map has ${rows.length} × ${source.length} weights, too many to draw.`);
  }
  const columns = source.map(seen);
  const readout = make("p", { className: "readout" }, "Move over the picture: mouse, touch, or arrow keys.");
  const heads = columns.map((symbol) => {
    const head = make("th", { scope: "col", className: [...symbol].length > 3 ? "long" : "" }, make("bdi", {}, symbol));
    head.setAttribute("role", "columnheader");
    return head;
  });
  const sides = [];
  const cells = [];
  const body = make("tbody", { role: "rowgroup" });
  rows.forEach((symbol, i) => {
    const side = make("th", { scope: "row", role: "rowheader" }, make("bdi", {}, symbol));
    const row = weights[i].map((weight, j) => {
      const cell = make("td", { className: "cell", tabIndex: -1, role: "gridcell" });
      cell.style.setProperty("--w", weight);
      cell.append(make("span", { className: "only-heard" }, percent(weight)));
      cell.dataset.row = i;
      cell.dataset.column = j;
      return cell;
    });
    const probability = Math.exp(answer.token_log_probabilities[i]);
    const step = make("td", { className: "step", role: "gridcell" }, percent(probability));
    sides.push(side);
    cells.push(row);
    body.append(make("tr", { role: "row" }, side, ...row, step));
  });
  const corner = make("td", { role: "gridcell" }, make("span", { className: "only-heard" }, "answer, source"));
  const last = make("th", { scope: "col", role: "columnheader", className: "step" }, "probability");
  const table = make(
    "table",
    { className: "map", role: "grid", "aria-label": title, "aria-readonly": "true" },
    make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, corner, ...heads, last)),
    body,
  );

  let at = null;
  let place = [0, 0];
  if (cells.length && cells[0].length) cells[0][0].tabIndex = 0;
  const point = (cell, i, j) => {
    for (const lit of table.querySelectorAll(".lit, .at")) lit.classList.remove("lit", "at");
    at = cell;
    if (cell === null) return;
    cell.classList.add("at");
    heads[j].classList.add("lit");
    sides[i].classList.add("lit");
    readout.replaceChildren(
      make("bdi", { className: "symbol" }, rows[i]),
      " of the answer looks at ",
      make("bdi", { className: "symbol" }, columns[j]),
      ` of the source, place ${j + 1}, with ${percent(weights[i][j], 2)} of its attention.`,
    );
  };
  const of = (event) => {
    const cell = event.target.closest?.(".cell");
    return cell && [cell, Number(cell.dataset.row), Number(cell.dataset.column)];
  };
  table.addEventListener("pointerover", (event) => {
    const found = of(event);
    if (found && found[0] !== at) point(...found);
  });
  table.addEventListener("focusin", (event) => {
    const found = of(event);
    if (!found) return;
    cells[place[0]][place[1]].tabIndex = -1;
    place = [found[1], found[2]];
    found[0].tabIndex = 0;
    point(...found);
  });
  table.addEventListener("keydown", (event) => {
    let [i, j] = place;
    if (event.key === "ArrowRight") j += 1;
    else if (event.key === "ArrowLeft") j -= 1;
    else if (event.key === "ArrowDown") i += 1;
    else if (event.key === "ArrowUp") i -= 1;
    else if (event.key === "Home") [i, j] = event.ctrlKey ? [0, 0] : [i, 0];
    else if (event.key === "End") [i, j] = event.ctrlKey ? [cells.length - 1, columns.length - 1] : [i, columns.length - 1];
    else return;
    event.preventDefault();
    cells[i]?.[j]?.focus();
  });
  return make("div", {}, make("div", { className: "map-frame" }, table), readout);
}
