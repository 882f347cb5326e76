// A file of pairs: its figures, its errors, its answers.
import { counted, evaluate, make, number, percent, seen, translate } from "./api.js";

const ROWS = 200;
const FIGURES = [
  ["exact_match", "exact match", (f) => `${number(f.exact_matches)} of ${number(f.sources)}`],
  ["token_error_rate", "token error rate", (f) => `${counted(f.token_errors, "error")} in ${number(f.reference_tokens)}`],
  [
    "character_error_rate",
    "character error rate",
    (f) => `${counted(f.character_errors, "error")} in ${number(f.reference_characters)}`,
  ],
];

/** What comes of a file, for each of some models. models: those of /info. search: { beam, length_penalty }. */
export async function filed(file, models, limits, search, signal) {
  if (file.size > limits.max_bytes) {
    throw new Error(`${file.name} has ${number(file.size)} bytes; expected at most ${number(limits.max_bytes)}.`);
  }
  if (await holdsSourcesAlone(file, models)) return translated(file, models, limits, search, signal);
  const content = new Blob([await file.arrayBuffer()]);
  const options = (model) => ({ model: model.name, intervals: true, rows: 10000, ...search });
  const results = await Promise.all(models.map((model) => evaluate(content, options(model), signal)));
  return evaluated(file, results);
}

async function holdsSourcesAlone(file, models) {
  if (models.some((model) => model.features !== null || model.separator !== "\t")) return false;
  return !(await file.text()).includes("\t");
}

async function translated(file, models, limits, search, signal) {
  const lines = (await file.text()).replace(/^\uFEFF/, "").split(/\r\n|\r|\n/);
  const texts = lines.filter((line) => line.trim() !== "");
  if (!texts.length) throw new Error(`${file.name} is empty.`);
  const answers = [];
  for (const model of models) {
    const found = [];
    for (let i = 0; i < texts.length; i += limits.max_texts) {
      const part = texts.slice(i, i + limits.max_texts);
      const content = await translate({ model: model.name, texts: part, ...search }, signal);
      found.push(...content.results.map((each) => each.answers[0]?.text ?? ""));
    }
    answers.push(found);
  }
  const rows = texts.map((text, i) => [text, ...answers.map((found) => found[i])]);
  const heads = ["source", ...models.map((model) => (models.length > 1 ? `answer of ${model.name}` : "answer"))];
  const said = `${file.name} holds sources alone: ${counted(texts.length, "answer")}.`;
  const shown = rows.slice(0, ROWS).map((row) => make("tr", {}, ...row.map(cell)));
  const more = rows.length > ROWS ? [make("p", { className: "quiet" }, `Here are the first ${ROWS}.`)] : [];
  return [said, make("div", {}, toolbar(file, heads, rows), tableOf("Answers", heads, shown), ...more)];
}

const cell = (text) => make("td", {}, make("bdi", {}, text));

function tableOf(title, heads, rows) {
  const numbers = new Set(["errors", "count"]);
  const head = heads.map((each) => make("th", { scope: "col", className: numbers.has(each) ? "number" : "" }, each));
  const table = make("table", { className: "table", "aria-label": title }, make("thead", {}, make("tr", {}, ...head)));
  table.append(make("tbody", {}, ...rows));
  return make("div", { className: "scrolled", tabIndex: 0, role: "region", "aria-label": title }, table);
}

const field = (text) => text.replaceAll("\\", "\\\\").replaceAll("\t", "\\t").replaceAll("\n", "\\n").replaceAll("\r", "\\r");

function toolbar(file, heads, rows) {
  const download = make("button", { type: "button" }, "Download the answers");
  download.addEventListener("click", () => {
    const text = [heads, ...rows].map((row) => `${row.map((each) => field(String(each))).join("\t")}\n`).join("");
    const address = URL.createObjectURL(new Blob([text], { type: "text/tab-separated-values" }));
    const name = `${file.name.replace(/\.[^.]*$/, "")}-answers.tsv`;
    make("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  });
  return make("div", { className: "toolbar" }, download);
}

/** [what is said, an element]. results: of each model what `POST /evaluate` gives. */
function evaluated(file, results) {
  const several = results.length > 1;
  const names = results.map((result) => result.model);
  const first = results[0];
  const { sources, pairs } = first.figures;
  const parts = [];
  const count = pairs > sources ? `${counted(sources, "source")} with ${counted(pairs, "target")}` : counted(pairs, "pair");
  const passed = first.passed_over ? `, ${first.passed_over} passed over` : "";
  const unknown = results.map((result) => result.unknown_sources);
  const said =
    `${file.name}: ${count}${passed}. ` +
    results.map((each) => `${several ? `${each.model}: ` : ""}${percent(each.figures.exact_match)} exactly right`).join(", ");

  const rows = FIGURES.map(([key, name, told]) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, name),
      ...results.map(({ figures }) => {
        const bounds = figures.intervals?.[key];
        const between = bounds ? `95 % interval ${percent(bounds[0], 2)} to ${percent(bounds[1], 2)}; ` : "";
        const quiet = make("div", { className: "quiet" }, `${between}${told(figures)}`);
        return make("td", {}, make("strong", {}, percent(figures[key], 2)), quiet);
      }),
    ),
  );
  parts.push(tableOf("Figures", ["figure", ...names], rows));
  if (unknown.some(Boolean)) {
    const told = results.map((each) => `${several ? `${each.model}: ` : ""}${counted(each.unknown_sources, "source")}`);
    parts.push(make("p", { className: "quiet" }, `With symbols that the model never saw: ${told.join(", ")}.`));
  }

  const joined = join(results);
  const download = joined.map((row) => [row.source, row.targets.join(" | "), ...row.of.flatMap((o) => [o.answer, o.errors])]);
  const heads = ["source", "target", ...names.flatMap((n) => (several ? [`answer of ${n}`, `errors of ${n}`] : ["answer", "errors"]))];
  parts.push(errorList(joined, names, toolbar(file, heads, download)), confusionLists(results, several));
  return [said, make("div", {}, ...parts)];
}

/** For each source what every model made of it. */
function join(results) {
  const aligned = results.map((result) => new Map(result.errors.map((each) => [each.source, each])));
  const others = results.map((result) => new Map(result.answers.map((each) => [each.source, each])));
  return results[0].answers.map(({ source, targets }) => ({
    source,
    targets,
    of: others.map((answers, k) => ({
      answer: answers.get(source)?.answer ?? "",
      errors: answers.get(source)?.token_errors ?? 0,
      wrong: aligned[k].get(source),
    })),
  }));
}

function errorList(joined, names, bar) {
  const wrong = (row, k) => row.of[k].errors > 0;
  const choices = [["wrong answers", (row) => row.of.some((_, k) => wrong(row, k))]];
  if (names.length > 1) {
    choices.push(
      [`wrong by ${names[0]} alone`, (row) => wrong(row, 0) && !wrong(row, 1)],
      [`wrong by ${names[1]} alone`, (row) => wrong(row, 1) && !wrong(row, 0)],
      ["wrong by both", (row) => wrong(row, 0) && wrong(row, 1)],
      ["where they differ", (row) => row.of[0].answer !== row.of[1].answer],
    );
  }
  choices.push(["all answers", () => true]);
  const total = (row) => row.of.reduce((sum, each) => sum + each.errors, 0);
  const picked = choices.map(([, picks]) => joined.filter(picks).sort((a, b) => total(b) - total(a)));
  const select = make("select", { id: "shown-errors" });
  select.append(...choices.map(([name], k) => make("option", { value: k }, `${name}: ${number(picked[k].length)}`)));
  const heads = ["source", "target", ...names.map((name) => (names.length > 1 ? name : "answer")), "errors"];
  const list = make("div");
  let most = ROWS;
  const show = (focus) => {
    const rows = picked[select.value];
    const shown = rows.slice(0, most).map((row) => {
      const answers = row.of.map((each) => make("td", {}, each.wrong ? alignment(each.wrong.aligned) : right(each)));
      return make("tr", {}, cell(row.source), cell(row.targets.join(" | ")), ...answers, numberCell(total(row)));
    });
    list.replaceChildren(rows.length ? tableOf("Answers", heads, shown) : make("p", {}, "None."));
    if (rows.length > most) {
      const more = make("button", { type: "button" }, `Show more of ${number(rows.length)}`);
      more.addEventListener("click", () => ((most += ROWS), show(true)));
      list.append(more);
    }
    if (focus) list.querySelector("button, .scrolled")?.focus();
  };
  select.addEventListener("change", () => ((most = ROWS), show(false)));
  show(false);
  const label = make("label", { htmlFor: "shown-errors" }, "Show ");
  const hint = "In an answer that is wrong the upper line is expected, the lower given; what differs is marked, and ∅ stands where there is nothing.";
  bar.prepend(make("span", {}, label, select));
  return make(
    "div",
    {},
    bar,
    make("p", { className: "quiet" }, hint),
    list,
  );
}

const numberCell = (value) => make("td", { className: "number" }, number(value));

function right(each) {
  const mark = each.errors ? [] : [make("span", { className: "right" }, " ✓", make("span", { className: "only-heard" }, "right"))];
  return make("span", {}, make("bdi", {}, each.answer), ...mark);
}

function alignment(pairs) {
  const spans = pairs.map(([expected, given]) => {
    const both = [expected, given].map((symbol) => make("bdi", {}, seen(symbol)));
    return make("span", { className: expected === given ? "pair" : "pair differs" }, ...both);
  });
  const heard = pairs.map(([, given]) => given ?? "").join("");
  return make(
    "span",
    {},
    make("span", { className: "only-heard" }, heard),
    make("span", { className: "aligned", dir: "auto", "aria-hidden": "true" }, ...spans),
  );
}

function confusionLists(results, several) {
  const lists = results.map((result) => {
    const rows = result.confusions.slice(0, 20).map((each) => {
      const sides = [each.expected, each.given].map((symbol) => cell(seen(symbol)));
      return make("tr", {}, numberCell(each.count), ...sides, cell(each.source));
    });
    const title = `What is given for what${several ? `: ${result.model}` : ""}`;
    return make(
      "section",
      { className: "model" },
      make("h3", {}, title),
      rows.length ? tableOf(title, ["count", "expected", "given", "for instance"], rows) : make("p", {}, "No error."),
    );
  });
  return make("div", { className: "models" }, ...lists);
}
