// The page: loads the model, answers what is typed, shows where the model looked.
// The graphs are in graphs/ beside the page; ?graphs=OTHER names another folder.

import { Model } from "./model.js";

const MOST_CELLS = 10000; // of a table

const part = (id) => document.getElementById(id);

function say(words, isError = false) {
    part("status").textContent = words;
    part("status").classList.toggle("error", isError);
}

// An element with what stands in it; texts are never parsed.
function element(name, content = [], attributes = {}) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...[content].flat());
    return made;
}

function seen(symbol) {
    return symbol === " " ? "␣" : symbol;
}

// A symbol in a table, which keeps its own direction.
function label(symbol) {
    return element("bdi", seen(symbol));
}

function attentionTable({ source, answer, ended, attention }) {
    const head = element("tr", [element("td"), ...source.map((symbol) => element("th", label(symbol), { scope: "col" }))]);
    const heads = [...answer.map(label), ...(ended ? [element("i", "end")] : [])];
    const body = heads.map((symbol, i) => {
        const cells = attention[i].map((weight) => {
            const cell = element("td", String(Math.round(100 * weight)));
            cell.style.setProperty("--weight", weight.toFixed(3));
            cell.classList.toggle("dark", weight > 0.75);
            return cell;
        });
        return element("tr", [element("th", symbol, { scope: "row" }), ...cells]);
    });
    const names = { "aria-labelledby": "attention-title", "aria-describedby": "caption" };
    return element("table", [element("thead", head), element("tbody", body)], names);
}

function show(found) {
    part("answer").value = found.text;
    part("probability").textContent = `Log probability: ${found.logProbability.toFixed(4)}`;
    const fits = found.attention && found.source.length * found.attention.length <= MOST_CELLS;
    part("of-attention").hidden = !fits;
    part("attention").replaceChildren(...(fits ? [attentionTable(found)] : []));
    part("found").hidden = false;
    const unknown = [...new Set(found.unknown)].map(seen).join(" ");
    say(unknown ? `The model never saw these symbols, which are all one to it: ${unknown}` : "");
}

async function answer(model) {
    part("translate").disabled = true;
    try {
        const options = { features: part("features").value, beam: part("beam").valueAsNumber };
        show(await model.translate(part("text").value, options));
    } catch (error) {
        part("found").hidden = true;
        say(error.message, true);
    } finally {
        part("translate").disabled = false;
    }
}

async function start() {
    try {
        const model = await Model.load(new URLSearchParams(location.search).get("graphs") ?? "graphs");
        part("of-features").hidden = !model.hasFeatures;
        part("separator").textContent = model.about.reading.features_separator;
        part("form").addEventListener("submit", (event) => {
            event.preventDefault();
            answer(model);
        });
        part("translate").disabled = false;
        say("The model is ready.");
    } catch (error) {
        say(error.message, true);
    }
}

start();
