// Answers by a model that `fastattn export` wrote, with ONNX Runtime Web. translate.py is the same in Python.

import * as ort from "./vendor/ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
ort.env.wasm.numThreads = 1; // more would need headers that not every server sends

// What Python's str.split takes for whitespace; \s is not quite the same.
const WHITESPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;

// The symbols of one side, numbered: the special ones, those of the text, then features.
class Symbols {
    constructor({ token_kind, special, symbols, features = [] }) {
        const numbered = (names, first) => new Map(names.map((name, i) => [name, first + i]));
        Object.assign(this, { kind: token_kind, special, symbols });
        this.ids = numbered(symbols, special.length);
        this.features = numbered(features, special.length + symbols.length);
    }

    split(text) {
        if (this.kind === "space") return text.split(WHITESPACE).filter(Boolean);
        if (this.kind === "char") return [...text];
        const segmenter = new Intl.Segmenter("und", { granularity: "grapheme" });
        return Array.from(segmenter.segment(text), (each) => each.segment);
    }

    // Features stand before the text's symbols. What is not known is the unknown symbol.
    encode(text, features = []) {
        const unknown = this.special.indexOf("unknown");
        const symbols = this.split(text);
        const ids = [...features.map((name) => this.features.get(name)), ...symbols.map((symbol) => this.ids.get(symbol))];
        const tokens = [...features, ...symbols];
        return { tokens, ids: ids.map((id) => id ?? unknown), unknown: tokens.filter((_, i) => ids[i] === undefined) };
    }

    // Without the end symbol.
    decode(ids) {
        return ids.map((id) => this.symbols[id - this.special.length]);
    }

    join(symbols) {
        return symbols.join(this.kind === "space" ? " " : "");
    }
}

export class Model {
    // folder: where about.json and the three graphs are, an address. An Error says what is missing.
    static async load(folder) {
        const base = new URL(folder.endsWith("/") ? folder : `${folder}/`, document.baseURI);
        const about = await (await fetched(base, "about.json")).json();
        const model = new Model();
        for (const name of ["encoder", "decoder_step", "greedy"]) {
            const content = await (await fetched(base, `${name}.onnx`)).arrayBuffer();
            model[name] = await ort.InferenceSession.create(new Uint8Array(content));
        }
        model.about = about;
        model.source = new Symbols(about.source_vocabulary);
        model.target = new Symbols(about.target_vocabulary);
        return model;
    }

    get hasFeatures() {
        return this.about.reading.features_column !== null;
    }

    get attends() {
        return this.greedy.outputNames.includes("attention");
    }

    // What a text is to the model: its tokens in the order of the text, their ids as the model reads them, and the tokens that
    // it never saw. features: a text, too, for a model that has some.
    encode(text, features = "") {
        const { normalization, features_separator } = this.about.reading;
        const normalized = (each) => (normalization === "none" ? each : each.normalize(normalization));
        const written = normalized(features).replaceAll("\t", features_separator);
        const names = this.hasFeatures ? written.split(features_separator) : [];
        const told = names.map((name) => name.trim()).filter(Boolean);
        if (this.hasFeatures && !told.length) throw new Error("The features are empty.");
        const given = this.source.encode(normalized(text), told);
        const isEmpty = given.tokens.length === told.length || (this.hasFeatures && !text.trim());
        if (isEmpty) throw new Error("The text is empty.");
        return this.about.reverse_source ? { ...given, ids: given.ids.reverse() } : given;
    }

    // -> text; source and answer, the tokens; unknown, those of the source that the model never saw; logProbability; attention,
    // a row for each step (the last is the end's, if the answer has one) and a column for each token of the source, or null.
    async translate(text, { features = "", beam = 1 } = {}) {
        const { tokens, ids, unknown } = this.encode(text, features);
        const given = { x: int64(ids, [1, ids.length]), lengths: int64([ids.length], [1]) };
        const found = await (beam === 1 ? this.#best(given) : this.#search(given, beam));
        const end = found.ids.indexOf(this.about.special.end);
        const answer = this.target.decode(end < 0 ? found.ids : found.ids.slice(0, end));
        if (this.about.reverse_source) found.attention?.forEach((row) => row.reverse());
        const { logProbability, attention } = found;
        return { text: this.target.join(answer), source: tokens, answer, ended: end >= 0, unknown, logProbability, attention };
    }

    // The best token at each step: one graph gives the whole answer.
    async #best(given) {
        const found = await this.greedy.run(given);
        const logProbability = found.log_probabilities.data.reduce((sum, each) => sum + each, 0);
        const ids = Array.from(found.ids.data, Number);
        return { ids, logProbability, attention: this.attends ? rows(found.attention.data, given.x.dims[1]) : null };
    }

    // The most probable answer that a beam search finds: each step follows the `beam` most probable hypotheses.
    async #search(given, beam) {
        const { special, max_target_tokens, never_answered } = this.about;
        const wanted = (known) => Object.fromEntries(this.decoder_step.inputNames.map((name) => [name, known[name]]));
        let known = { ...(await this.encoder.run(given)), lengths: given.lengths };
        let best = { logProbability: -Infinity };
        let open = [{ ids: [special.start], attention: [], logProbability: 0 }];
        for (let step = 1; open.length; step++) {
            known.tokens = int64(open.map(({ ids }) => ids.at(-1)), [open.length]);
            const found = await this.decoder_step.run(wanted(known));
            const looked = this.attends ? rows(found.attention.data, given.x.dims[1]) : null;
            const longer = rows(found.scores.data, found.scores.dims[1]).flatMap((scores, row) => {
                const total = logSum(scores);
                const of = (score) => open[row].logProbability + score - total;
                const allowed = Array.from(scores, (score, token) => ({ row, token, logProbability: of(score) }));
                return allowed.filter(({ token }) => !never_answered.includes(token));
            });
            longer.sort((one, other) => other.logProbability - one.logProbability);
            const followed = longer.slice(0, beam).map(({ row, token, logProbability }) => ({
                row,
                ids: [...open[row].ids, token],
                attention: looked && [...open[row].attention, looked[row]],
                logProbability,
            }));
            const ends = ({ ids }) => ids.at(-1) === special.end || step === max_target_tokens;
            for (const each of followed) if (ends(each) && each.logProbability > best.logProbability) best = each;
            open = followed.filter((each) => !ends(each) && each.logProbability > best.logProbability);
            known = follow(known, found, open.map(({ row }) => row));
        }
        return { ...best, ids: best.ids.slice(1) };
    }
}

async function fetched(base, name) {
    const address = new URL(name, base);
    const response = await fetch(address).catch(() => null);
    if (!response?.ok) throw new Error(`${address.href} cannot be loaded. fastattn export writes it.`);
    return response;
}

function int64(numbers, dims) {
    return new ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), dims);
}

// (N, K) as N arrays.
function rows(data, size) {
    return Array.from({ length: data.length / size }, (_, i) => Array.from(data.subarray(i * size, (i + 1) * size)));
}

function logSum(scores) {
    const most = Math.max(...scores);
    return most + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - most), 0));
}

// What the next step reads: of what the last one read and gave, these rows.
function follow(known, found, chosen) {
    const names = Object.keys(known).filter((name) => name !== "tokens");
    return Object.fromEntries(
        names.map((name) => {
            const axis = name === "h" || name === "c" ? 1 : 0; // after the layers
            return [name, taken(found[`next_${name}`] ?? known[name], axis, chosen)];
        }),
    );
}

// Rows of a tensor along an axis.
function taken({ type, data, dims }, axis, chosen) {
    const outer = dims.slice(0, axis).reduce((a, b) => a * b, 1);
    const size = dims.slice(axis + 1).reduce((a, b) => a * b, 1);
    const result = new data.constructor(outer * chosen.length * size);
    for (let i = 0; i < outer; i++) {
        chosen.forEach((row, n) => {
            const from = (i * dims[axis] + row) * size;
            result.set(data.subarray(from, from + size), (i * chosen.length + n) * size);
        });
    }
    return new ort.Tensor(type, result, [...dims.slice(0, axis), chosen.length, ...dims.slice(axis + 1)]);
}
