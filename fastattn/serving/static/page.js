// The page: what is typed goes to each model, and what comes back is shown.
import { counted, info, make, number, percent, seen, translate } from "./api.js";
import { attentionMap } from "./attention.js";
import { filed } from "./file.js";

const PAUSE = 60; // ms after a key before the server is asked
const QUIET = 700; // ms after the last answer before it is read aloud

const find = (id) => document.getElementById(id);
const [source, features, nBest, beam, penalty] = ["source", "features", "n-best", "beam", "length-penalty"].map(find);

let served; // what /info says
let asking = new AbortController();
let timer, aloud;

function tell(id, text) {
  find(id).textContent = text;
  find(id).hidden = text === "";
}

/** A number that is typed, within its bounds; the least where there is none. */
function typed(input) {
  const value = Number(input.value);
  const [low, high] = [Number(input.min), Number(input.max)];
  return input.value.trim() === "" || Number.isNaN(value) ? low : Math.min(Math.max(value, low), high);
}

function search() {
  const answers = Math.round(typed(nBest));
  return { beam: Math.max(Math.round(typed(beam)), answers), length_penalty: typed(penalty), n_best: answers };
}

async function ask() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  if (source.value.trim() === "") {
    tell("problem", "");
    tell("agreement", "");
    for (const model of served.models) clear(model);
    return;
  }
  const text = find("features-field").hidden ? source.value : `${source.value}\t${features.value}`;
  const fields = { texts: [text], ...search() };
  for (const model of served.models) model.panel.setAttribute("aria-busy", "true");
  const found = await Promise.allSettled(
    served.models.map((model) =>
      translate({ ...fields, model: model.name, scores: true, attention: model.attention }, signal),
    ),
  );
  if (signal.aborted) return;
  for (const model of served.models) model.panel.removeAttribute("aria-busy");
  const failed = found.find((each) => each.status === "rejected");
  tell("problem", failed ? failed.reason.message : "");
  found.forEach((each, k) => (failed ? clear(served.models[k]) : show(served.models[k], each.value.results[0])));
  say(failed ? [] : found.map((each) => each.value.results[0].answers));
}

/** Whether the models agree, to be seen; and the best answers, to be heard when the typing pauses. */
function say(answers) {
  clearTimeout(aloud);
  const best = answers.map((each) => each[0]?.text);
  const same = best.every((text) => text === best[0]);
  tell("agreement", best.length < 2 ? "" : same ? "Both give the same answer." : "Their answers differ.");
  aloud = setTimeout(() => {
    const told = answers.map((each, k) => {
      const name = answers.length > 1 ? `${served.models[k].name}: ` : "";
      return each.length ? `${name}${each[0].text}, ${percent(Math.exp(each[0].log_probability))}` : `${name}no answer`;
    });
    find("said").textContent = told.join("; ");
  }, QUIET);
}

function clear(model) {
  model.body.replaceChildren();
}

function show(model, result) {
  const parts = [];
  if (result.unknown_symbols.length) {
    const symbols = result.unknown_symbols.map(seen).join(" ");
    parts.push(make("p", { className: "quiet" }, "The model never saw: ", make("bdi", {}, symbols)));
  }
  if (!result.answers.length) {
    model.body.replaceChildren(...parts, make("p", {}, "No answer."));
    return;
  }
  const looked = make("div");
  const choose = (answer) => {
    const title = `Where ${model.name} looked for ${answer.text}`;
    looked.replaceChildren(...(answer.attention?.length ? [attentionMap(result.tokens, answer, title)] : []));
  };
  const group = make("fieldset", {}, make("legend", { className: "only-heard" }, `Answers of ${model.name}`));
  result.answers.forEach((answer, k) => {
    const radio = make("input", { type: "radio", name: `answer-${model.place}`, checked: k === 0 });
    radio.addEventListener("change", () => choose(answer));
    const probability = answer.log_probability === null ? null : Math.exp(answer.log_probability);
    const bar = make("span", { className: "bar", "aria-hidden": "true" }, make("span"));
    bar.firstChild.style.setProperty("--p", probability ?? 0);
    const text = make("bdi", { className: "text" }, answer.text === "" ? "(nothing)" : answer.text);
    const label = make("label", { className: "answer" }, radio, text, bar, make("span", { className: "percent" }, percent(probability)));
    label.title = `score ${answer.score}${answer.ended ? "" : "; cut off at the longest answer"}`;
    group.append(label);
  });
  choose(result.answers[0]);
  if (model.attention) parts.push(group, make("h4", {}, "Where it looked"), looked);
  else parts.push(group, make("p", { className: "quiet" }, "The model has no attention."));
  model.body.replaceChildren(...parts);
}

let filing = new AbortController();

async function take(file) {
  filing.abort();
  filing = new AbortController();
  const { signal } = filing;
  tell("file-problem", "");
  find("evaluation").replaceChildren();
  tell("file-said", `${file.name} is translated …`);
  find("file-stop-line").hidden = false;
  const { beam, length_penalty } = search();
  try {
    const [said, element] = await filed(file, served.models, served.limits, { beam, length_penalty }, signal);
    tell("file-said", said);
    find("evaluation").replaceChildren(element);
  } catch (error) {
    if (signal.aborted && signal !== filing.signal) return; // another file took its place
    tell("file-said", "");
    tell("file-problem", error.name === "AbortError" ? "Stopped." : error.message);
  }
  find("file-stop-line").hidden = true;
}

function watchFiles() {
  const drop = find("drop");
  const over = (is) => (event) => {
    if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
    event.preventDefault();
    drop.classList.toggle("over", is);
  };
  // The whole window takes the file: whoever misses the frame would leave the page.
  document.addEventListener("dragover", over(true));
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && over(false)(event));
  document.addEventListener("drop", (event) => {
    over(false)(event);
    const [file] = event.dataTransfer.files;
    if (file) take(file);
  });
  find("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) take(file);
    event.target.value = ""; // so that the same file can be chosen again
  });
  find("file-stop").addEventListener("click", () => filing.abort());
}

function about(model) {
  const facts = Object.entries(model.facts).flatMap(([name, fact]) => [make("dt", {}, name), make("dd", {}, fact)]);
  return make("section", { className: "model" }, make("h3", {}, model.name), make("dl", {}, ...facts));
}

async function begin() {
  try {
    served = await info();
  } catch (error) {
    tell("problem", error.message);
    return;
  }
  const names = served.models.map((model) => model.name).join(" and ");
  document.title = `${names} – fastattn`;
  find("served").textContent = names;
  served.models.forEach((model, place) => {
    model.place = place;
    model.body = make("div");
    model.panel = make("section", { className: "model" }, make("h3", {}, model.name), model.body);
    find("models").append(model.panel);
    find("about").append(about(model));
  });
  const featured = served.models.find((model) => model.features !== null);
  if (featured) {
    find("features-field").hidden = false;
    const some = featured.features.slice(0, 30).join(" ");
    find("features-hint").textContent = `With ${featured.features_separator} between them. The model knows: ${some}`;
  }
  const limits = served.limits;
  source.maxLength = limits.max_length;
  nBest.max = beam.max = limits.max_beam;
  nBest.value = beam.value = Math.min(5, limits.max_beam);
  find("file-hint").textContent += ` At most ${counted(limits.max_pairs, "pair")} and ${number(limits.max_bytes)} bytes.`;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(ask, PAUSE);
  };
  for (const input of [source, features, nBest, beam, penalty]) input.addEventListener("input", soon);
  find("asked").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  watchFiles();
  source.focus();
  if (source.value) ask(); // what the browser kept of the last visit
  document.body.dataset.ready = "true";
}

begin();
