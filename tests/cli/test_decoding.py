"""`fastattn translate` beside its greedy answers: beams, draws, ensembles, scores and JSON."""

import json

import numpy as np
import pytest

import fastattn
from fastattn.training import load


@pytest.fixture
def model(trained):
    return trained / "model"


@pytest.fixture(scope="module")
def second(tmp_path_factory, module, pairs):
    """Another model of the same pairs."""
    folder = tmp_path_factory.mktemp("second") / "model"
    done = module("train", pairs, "--out", folder, "--epochs", 4, "--embedding", 5, "--hidden", 9, "--seed", 3)
    assert (done.returncode, done.stderr) == (0, b"")
    return folder


@pytest.fixture
def library(model):
    with fastattn.use_backend("reference"):
        yield load(model)


TEXTS = ["abc", "", "da", "ba"]


def test_a_beam_prints_the_best_answers(model, library, fastattn_command):
    code, out, err = fastattn_command("translate", model, "--beam", 4, "--length-penalty", 0.7, *TEXTS)
    assert (code, err) == (0, "")
    assert out.splitlines() == library.translate(TEXTS, beam=4, length_penalty=0.7)


def test_n_best_with_scores(model, library, fastattn_command):
    code, out, err = fastattn_command("translate", model, "--beam", 4, "--n-best", 3, "--scores", *TEXTS)
    assert (code, err) == (0, "")
    expected = []
    for number, answers in enumerate(library.search(TEXTS, beam=4, n_best=3), start=1):
        for answer in answers:
            of_tokens = " ".join(f"{each:.4f}" for each in answer.token_log_probabilities)
            expected.append(f"{number}\t{answer.log_probability:.4f}\t{of_tokens}\t\t{answer.text}")
        if not answers:
            expected.append(f"{number}\t\t\t\t")
    assert out.splitlines() == expected
    assert len(expected) == 10
    code, out, err = fastattn_command("translate", model, "--scores", *TEXTS)
    assert [line.split("\t")[-1] for line in out.splitlines()] == library.translate(TEXTS)
    assert [len(line.split("\t")) for line in out.splitlines()] == [4] * 4
    code, out, err = fastattn_command("translate", model, "--n-best", 1, *TEXTS)
    assert out.splitlines() == [f"{n}\t{text}" for n, text in enumerate(library.translate(TEXTS), start=1)]


def test_symbols_that_the_model_never_saw_are_marked(model, library, fastattn_command):
    said = "fastattn: 1 of 2 sources has symbols that the model never saw: '日', '本'\n"
    code, out, err = fastattn_command("translate", model, "--scores", "日a本日", "abc")
    assert (code, err) == (0, said)
    assert [line.split("\t")[2] for line in out.splitlines()] == ["日 本", ""]
    code, out, err = fastattn_command("translate", model, "--jsonl", "日a本日", "abc")
    first, second = map(json.loads, out.splitlines())
    assert (code, err, first["unknown_symbols"]) == (0, said, ["日", "本"])
    assert "unknown_symbols" not in second
    for unknown, text in (("empty", None), ("copy", "日a本日")):
        code, out, err = fastattn_command("translate", model, "--jsonl", "--unknown", unknown, "日a本日", "abc")
        first, second = map(json.loads, out.splitlines())
        assert [answer["text"] for answer in first["answers"]] == ([] if text is None else [text])
        assert second["answers"][0]["text"] == library.translate(["abc"])[0]
        if text:
            assert first["answers"][0]["score"] is first["answers"][0]["log_probability"] is None
    assert fastattn_command("translate", model, "--jsonl", "--unknown", "fail", "日")[0] == 1


def test_going_on_after_a_bad_line_of_json(model, library, fastattn_command):
    lines = ["--jsonl", "--keep-going", '{"source": 3}', "abc"]
    code, out, err = fastattn_command("translate", model, *lines)
    bad, good = map(json.loads, out.splitlines())
    assert (code, bad) == (1, {"source": "", "answers": []})
    assert good["answers"][0]["text"] == library.translate(["abc"])[0]
    assert err.startswith('fastattn: line 1: "source" is 3; expected a text\n')


def test_a_line_that_is_not_translated_keeps_what_was_given_with_it(model, fastattn_command):
    line = '{"source": "a日", "id": 7}'
    code, out, _ = fastattn_command("translate", model, "--jsonl", "--keep-going", "--unknown", "fail", line)
    assert (code, json.loads(out)) == (1, {"source": "a日", "id": 7, "answers": []})


def test_what_utf8_cannot_hold_is_escaped(model, fastattn_command):
    code, out, err = fastattn_command("translate", model, "--jsonl", r'{"source": "abc", "name": "ä\ud800"}')
    assert (code, err, json.loads(out)["name"]) == (0, "", "ä\ud800")
    assert r'"name": "\u00e4\ud800"' in out


def test_draws(model, library, fastattn_command, module):
    options = ["--sample", "--temperature", 1.5, "--top-k", 6, "--top-p", 0.95, "--seed", 4, "--n-best", 2]
    code, out, err = fastattn_command("translate", model, *options, *TEXTS)
    assert (code, err) == (0, "")
    drawn = library.sample(TEXTS, temperature=1.5, top_k=6, top_p=0.95, seed=4, draws=2)
    assert out.splitlines() == [
        f"{number}\t{text}" for number, answers in enumerate(drawn, start=1) for text in ([a.text for a in answers] or [""])
    ]
    lines = module("translate", model, *options, text="\n".join(TEXTS).encode())
    assert lines.stdout.decode() == out
    assert fastattn_command("translate", model, "--sample", "abc")[1] == library.sample(["abc"], seed=0)[0][0].text + "\n"


def test_json_lines(model, library, fastattn_command):
    inputs = ['{"id": 7, "source": "abc", "name": "ä"}', "ba", '{"source": ""}']
    code, out, err = fastattn_command("translate", model, "--beam", 3, "--n-best", 2, "--jsonl", "--attention", *inputs)
    assert (code, err) == (0, "")
    objects = [json.loads(line) for line in out.splitlines()]
    assert [{k: v for k, v in each.items() if k != "answers"} for each in objects] == [
        {"id": 7, "source": "abc", "name": "ä"},
        {"source": "ba"},
        {"source": ""},
    ]
    assert "ä" in out
    found = library.search(["abc", "ba", ""], beam=3, n_best=2, return_attention=True)
    for given, answers in zip(objects, found, strict=True):
        assert len(given["answers"]) == len(answers)
        for one, answer in zip(given["answers"], answers):
            assert (one["text"], one["tokens"], one["ended"]) == (answer.text, list(answer.tokens), answer.ended)
            assert one["token_log_probabilities"] == pytest.approx(answer.token_log_probabilities, abs=1e-6)
            assert (one["score"], one["log_probability"]) == pytest.approx((answer.score, answer.log_probability), abs=1e-6)
            assert one["alignment"] == list(answer.alignment)
            np.testing.assert_allclose(one["attention"], answer.attention, atol=1e-6)
    code, out, err = fastattn_command("translate", model, "--jsonl", "abc")
    assert "attention" not in json.loads(out)["answers"][0]


def test_given_answers_have_their_scores(model, second, library, fastattn_command, module, tmp_path):
    pairs = [("abc", "abc"), ("da", "ad"), ("ba", "")]
    lines = ["abc\tabc", "", "da\tad", "ba\t"]
    expected = [
        f"{sum(each):.4f}\t{' '.join(f'{one:.4f}' for one in each)}\t\t{target}"
        for (_, target), each in zip(pairs, library.log_probabilities(pairs))
    ]
    expected.insert(1, "\t\t\t")
    assert [len(each) for each in library.log_probabilities(pairs)] == [4, 3, 1]
    code, out, err = fastattn_command("translate", model, "--given", *lines)
    assert (code, out.splitlines(), err) == (0, expected, "")
    assert module("translate", model, "--given", text="\n".join(lines).encode()).stdout.decode() == out

    objects = ['{"source": "abc", "target": "abc", "id": 7}', "da\tad"]
    code, out, err = fastattn_command("translate", model, "--given", "--jsonl", "--ensemble", second, *objects)
    with fastattn.use_backend("reference"):
        given = fastattn.training.ensemble([library, load(second)]).log_probabilities(pairs[:2])
    found = [json.loads(line) for line in out.splitlines()]
    assert [(each["source"], each["target"], each.get("id")) for each in found] == [("abc", "abc", 7), ("da", "ad", None)]
    for each, scores in zip(found, given, strict=True):
        (answer,) = each["answers"]
        assert answer["token_log_probabilities"] == pytest.approx(scores, abs=1e-6)
        assert (answer["text"], answer["tokens"]) == (each["target"], list(each["target"]))
        assert answer["log_probability"] == pytest.approx(sum(scores), abs=1e-6)


def test_what_is_found_and_then_given_has_the_same_scores(model, fastattn_command):
    def objects(*options):
        return [json.loads(line) for line in fastattn_command("translate", model, "--jsonl", *options)[1].splitlines()]

    found = objects("--beam", 3, "abc", "da")
    given = objects("--given", *(f"{each['source']}\t{each['answers'][0]['text']}" for each in found))
    for one, other in zip(found, given, strict=True):
        of_one, of_other = (each["answers"][0]["token_log_probabilities"] for each in (one, other))
        assert of_other == pytest.approx(of_one, abs=1e-4)


def test_given_answers_that_cannot_be_read_or_were_never_seen(model, fastattn_command):
    code, out, err = fastattn_command("translate", model, "--given", "ab\tab", "ab")
    assert (code, out, err) == (1, "", "fastattn: line 2: no tab; expected source<TAB>answer\n")
    code, out, err = fastattn_command("translate", model, "--given", "--keep-going", "ab", "azb\tay", "c\tc")
    assert (code, out.splitlines()[0]) == (1, "\t\t\t")
    assert out.splitlines()[1].split("\t")[2:] == ["z y", "ay"]
    assert err.splitlines()[1:3] == [
        "fastattn: 1 of 3 sources has symbols that the model never saw: 'z'",
        "fastattn: 1 of 2 answers has symbols that the model never saw: 'y'",
    ]
    code, out, err = fastattn_command("translate", model, "--given", "--jsonl", '{"source": "a"}')
    assert (code, out, err) == (1, "", 'fastattn: line 1: "target" is missing; expected a text\n')


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"source": "a"', "begins with { and is not JSON: "),
        ('{"text": "a"}', '"source" is missing; expected a text'),
        ('{"source": 3}', '"source" is 3; expected a text'),
        (r'{"source": "a\ud800"}', r""""source" is 'a\ud800', with half of a surrogate pair; expected a text"""),
        ('{"source": "a", "weight": NaN}', "begins with { and is not JSON: NaN is no finite number"),
        ('{"source": "a", "weight": 1e999}', "begins with { and is not JSON: 1e999 is no finite number"),
        ("a\udcff", "is not UTF-8"),
    ],
)
def test_a_json_line_that_has_no_source(line, said, model, fastattn_command):
    code, out, err = fastattn_command("translate", model, "--jsonl", "abc", line)
    assert (code, out) == (1, "")
    assert err.startswith(f"fastattn: line 2: {said}")


def test_an_ensemble(model, second, library, fastattn_command):
    from fastattn.training import ensemble

    code, out, err = fastattn_command("translate", model, "--ensemble", second, "--ensemble", model, "--beam", 3, *TEXTS)
    assert (code, err) == (0, "")
    with fastattn.use_backend("reference"):
        expected = ensemble([library, load(second), library]).translate(TEXTS, beam=3)
    assert out.splitlines() == expected
    assert expected != load_and_translate(second)


def load_and_translate(folder):
    with fastattn.use_backend("reference"):
        return load(folder).translate(TEXTS, beam=3)


def test_models_that_do_not_fit_together(model, tmp_path, module, fastattn_command):
    path = tmp_path / "pairs.tsv"
    path.write_text("x\ty\ny\tx\n")
    module("train", path, "--out", tmp_path / "m", "--epochs", 1, "--hidden", 4, "--embedding", 3, "--valid-fraction", 0)
    code, out, err = fastattn_command("translate", model, "--ensemble", tmp_path / "m", "abc")
    assert (code, out) == (1, "")
    assert err.startswith("fastattn: --ensemble: the source_vocabulary of model 2 is <Vocabulary of 6 symbols, ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--n-best", 3], "--n-best is 3, and --beam 1; expected a beam of at least 3"),
        (["--temperature", 2], "--temperature is for drawn answers; expected --sample beside it"),
        (["--seed", 0], "--seed is for drawn answers; expected --sample beside it"),
        (["--sample", "--beam", 3], "--beam is for a search for the best answer, and --sample draws; give one of them"),
        (["--sample", "--length-penalty", 0], "--length-penalty is for a search for the best answer, and --sample draws"),
        (["--sample", "--top-p", 1.5], "--top-p is 1.5; expected a probability, at most 1"),
        (["--attention"], "--attention is written as JSON; expected --jsonl beside it"),
        (["--given", "--beam", 1], "--beam is for answers that are looked for, and --given has them; give one of them"),
        (["--given", "--seed", 0], "--seed is for answers that are looked for, and --given has them; give one of them"),
        (["--given", "--jsonl", "--attention"], "--attention is for answers that are looked for, and --given has them"),
        (["--given", "--unknown", "copy"], "--unknown copy is for answers that are looked for, and --given has them"),
    ],
)
def test_options_that_do_not_go_together(options, said, model, fastattn_command):
    code, out, err = fastattn_command("translate", model, *options, "abc")
    assert (code, out) == (1, "")
    assert err.startswith(f"fastattn: {said}")


def test_options_stand_where_one_likes(model, library, fastattn_command):
    expected = "".join(f"{text}\n" for text in library.translate(["abc", "-d"], beam=3))
    for order in (
        ["--beam", 3, model, "abc", "--", "-d"],
        [model, "--beam=3", "abc", "--", "-d"],
        [model, "abc", "--beam", 3, "--", "-d"],
    ):
        assert fastattn_command("translate", *order)[:2] == (0, expected)
    code, out, err = fastattn_command("translate", model, "--scores", "abc", "--beams", "3")
    assert (code, out) == (2, "")
    assert err.endswith("there is no option --beams; did you mean --beam?\n")


@pytest.mark.parametrize(
    "options",
    [
        ["--beam", 0],
        ["--length-penalty", -1],
        ["--length-penalty", 51],
        ["--beam", 10**23],
        ["--sample", "--n-best", 10**23],
        ["--sample", "--temperature", 0],
        ["--sample", "--seed", 2**64],
    ],
)
def test_numbers_that_cannot_be(options, model, fastattn_command):
    assert fastattn_command("translate", model, *options, "abc")[0] == 2
