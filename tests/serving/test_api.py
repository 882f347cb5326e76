"""The interface in JSON: what is given, what is refused, and that a shared batch gives what one text alone has."""

import asyncio
import json
import math

import pytest

pytest.importorskip("starlette", reason="starlette is not installed: pip install 'fastattn[serve]'")
pytest.importorskip("prometheus_client", reason="prometheus_client is not installed: pip install 'fastattn[serve]'")
testclient = pytest.importorskip(
    "starlette.testclient", reason="httpx2 is not installed", exc_type=(ImportError, RuntimeError, Warning)
)

from serving.servers import FAMILY, small  # noqa: E402

from fastattn.data import Reading, Vocabulary  # noqa: E402
from fastattn.evaluation import evaluate  # noqa: E402
from fastattn.serving import Limits  # noqa: E402
from fastattn.serving.app import PAGE, make_app  # noqa: E402
from fastattn.serving.door import local_hosts  # noqa: E402
from fastattn.serving.fields import of_evaluate, of_translate  # noqa: E402
from fastattn.serving.metrics import Metrics  # noqa: E402
from fastattn.serving.service import Service  # noqa: E402
from fastattn.training import Translator  # noqa: E402

TSV = {"content-type": "text/tab-separated-values"}
WORDS = ["abc", "attention", "x", "zyxwvutsrqponmlkjihgfedcba", "kernel", "aaaa", "bottle"]


@pytest.fixture
def ask():
    """ask(models, limits, ...) -> a client; ended after the test."""
    clients = []

    def make(models=None, limits=None, **options):
        app = make_app(models or {"one": small(0), "two": small(1)}, limits, **options)
        clients.append(testclient.TestClient(app, base_url="http://127.0.0.1"))
        clients[-1].__enter__()
        return clients[-1]

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(ask):
    return ask()


def refused(answer, status, *words):
    """That an answer is a refusal, in JSON, which says these words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    content = answer.json()
    assert content["status"] == status
    for word in words:
        assert word in content["error"]


class TestTranslate:
    def test_answers_are_those_of_the_translator(self, client):
        answer = client.post("/translate", json={"texts": WORDS})
        assert answer.status_code == 200
        content = answer.json()
        assert content["model"] == "one"
        assert [each["text"] for each in content["results"]] == WORDS
        assert [each["answers"] for each in content["results"]] == [[{"text": t}] for t in small(0).translate(WORDS)]
        assert content["results"][0]["tokens"] == ["a", "b", "c"]

    def test_n_best_with_scores_and_attention(self, client):
        asked = {"texts": WORDS, "n_best": 3, "beam": 4, "length_penalty": 0.5, "attention": True, "model": "two"}
        results = client.post("/translate", json=asked).json()["results"]
        found = small(1).search(WORDS, n_best=3, beam=4, length_penalty=0.5, return_attention=True)
        assert [each["answers"] for each in results] == [[answer.to_json() for answer in best] for best in found]
        for result in results:
            assert len(result["answers"]) == 3
            for answer in result["answers"]:
                assert len(answer["attention"]) == len(answer["token_log_probabilities"])
                assert all(len(row) == len(result["tokens"]) for row in answer["attention"])
                assert all(math.isclose(sum(row), 1, abs_tol=1e-4) for row in answer["attention"])

    def test_scores_alone_have_no_attention(self, client):
        (result,) = client.post("/translate", json={"texts": ["abc"], "scores": True}).json()["results"]
        (answer,) = result["answers"]
        assert set(answer) == {"text", "score", "log_probability", "tokens", "token_log_probabilities", "ended"}

    def test_the_beam_is_as_wide_as_the_answers_are_many(self, client):
        (result,) = client.post("/translate", json={"texts": ["abc"], "n_best": 4}).json()["results"]
        assert result["answers"] == [{"text": text} for text in small(0).translate(["abc"], beam=4, n_best=4)[0]]

    def test_symbols_that_the_model_never_saw(self, client):
        asked = {"texts": ["ab日", "ab"], "scores": True}
        results = client.post("/translate", json=asked).json()["results"]
        assert [each["unknown_symbols"] for each in results] == [["日"], []]
        copied = client.post("/translate", json={**asked, "unknown": "copy"}).json()["results"][0]["answers"]
        assert [(each["text"], each["log_probability"]) for each in copied] == [("ab日", None)]
        empty = client.post("/translate", json={**asked, "unknown": "empty"}).json()["results"][0]["answers"]
        assert empty == []
        refused(client.post("/translate", json={**asked, "unknown": "fail"}), 422, "texts[0]", "'日'")

    def test_a_text_without_a_symbol_has_no_answer(self, client):
        results = client.post("/translate", json={"texts": ["", "ab"], "scores": True}).json()["results"]
        assert [len(each["answers"]) for each in results] == [0, 1]
        assert client.post("/translate", json={"texts": [""]}).json()["results"][0]["answers"] == [{"text": ""}]

    def test_a_model_without_attention(self, ask):
        client = ask({"plain": small(0, attention=None)})
        assert client.get("/info").json()["models"][0]["attention"] is False
        assert client.post("/translate", json={"texts": ["ab"], "scores": True}).status_code == 200
        refused(client.post("/translate", json={"texts": ["ab"], "attention": True}), 422, "has no attention")

    def test_features(self, ask):
        base = small(0)
        source = Vocabulary([*"abcdef"], "char", ["PST", "V"])
        import fastattn

        model = fastattn.AttentionSeq2seq(len(source), 5, 8, target_vocabulary=len(base.target_vocabulary), seed=0)
        reading = Reading(features_column=3)
        featured = Translator(model, source, base.target_vocabulary, reverse_source=False, max_target_tokens=5, reading=reading)
        client = ask({"featured": featured})
        assert client.get("/info").json()["models"][0]["features"] == ["PST", "V"]
        (result,) = client.post("/translate", json={"texts": ["abc\tV;PST"]}).json()["results"]
        assert result["tokens"] == ["V", "PST", "a", "b", "c"]
        assert result["answers"] == [{"text": text} for text in featured.translate(["abc\tV;PST"])]
        refused(client.post("/translate", json={"texts": ["abc\tV", "abc"]}), 422, "texts[1]: no tab")
        evaluated = client.post("/evaluate", content=b"abc\tcba\tV;PST\n", headers=TSV).json()
        assert evaluated["answers"][0]["source"] == "abc\tV\tPST"


class TestFieldsThatAreNone:
    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            ({}, "texts is missing"),
            ([], "the body is []; expected an object"),
            ("text", 'the body is "text"'),
            ({"texts": []}, "at least 1 text"),
            ({"texts": "abc"}, 'texts is "abc"; expected a list'),
            ({"texts": ["a", 3]}, "texts[1] is 3; expected a text"),
            ({"texts": ["\ud800"]}, "half of a surrogate pair"),
            ({"texts": ["a"], "beam": 0}, "beam is 0; expected a whole number from 1 to 32"),
            ({"texts": ["a"], "beam": True}, "beam is true"),
            ({"texts": ["a"], "beam": 2.0}, "beam is 2.0"),
            ({"texts": ["a"], "beam": 10**30}, "expected a whole number"),
            ({"texts": ["a"], "n_best": 3, "beam": 2}, "n_best is 3, and beam 2"),
            ({"texts": ["a"], "length_penalty": -1}, "length_penalty is -1; expected a number from 0 to 50"),
            ({"texts": ["a"], "length_penalty": "1"}, "length_penalty"),
            ({"texts": ["a"], "scores": 1}, "scores is 1; expected true or false"),
            ({"texts": ["a"], "unknown": "drop"}, "expected one of answer, empty, copy, fail"),
            ({"texts": ["a"], "unknown": ["copy"]}, "unknown"),
            ({"texts": ["a"], "model": "three"}, "expected one of one, two"),
            ({"texts": ["a"], "bream": 3}, "did you mean beam?"),
            ({"texts": ["a"], "scores\ud800": 3}, "there is no field"),
        ],
    )
    def test_say_what_was_expected(self, client, asked, words):
        body = json.dumps(asked)  # which writes halves of surrogate pairs as escapes
        refused(client.post("/translate", content=body, headers={"content-type": "application/json"}), 422, words)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b'{"texts": [NaN]}',
            b'{"texts": ["a"], "length_penalty": 1e999}',
            b"[" * 100_000,
            b"1" * 5000,
        ],
        ids=["empty", "half", "bytes", "NaN", "infinity", "deep", "long number"],
    )
    def test_a_body_that_is_no_json(self, client, body):
        refused(client.post("/translate", content=body, headers={"content-type": "application/json"}), 400, "is no JSON")
        assert client.post("/translate", json={"texts": ["abc"]}).status_code == 200

    def test_another_type(self, client):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            refused(client.post("/translate", content=b'{"texts": ["a"]}', headers={"content-type": kind}), 415, kind[:10])
        refused(client.post("/translate", content=b"{}"), 415, "nobody told")
        kind = {"content-type": "Application/JSON; charset=utf-8"}
        assert client.post("/translate", content=b'{"texts": ["a"]}', headers=kind).status_code == 200


class TestLimits:
    @pytest.fixture
    def client(self, ask):
        return ask(limits=Limits(max_bytes=2000, max_texts=3, max_pairs=4, max_length=10, max_beam=4, max_weights=200))

    def test_what_is_allowed_passes(self, client):
        assert client.post("/translate", json={"texts": ["abcdefghij"] * 3, "beam": 4}).status_code == 200
        assert client.post("/evaluate", json={"pairs": [["a", "b"]] * 4}).status_code == 200
        assert client.post("/translate", json={"texts": ["ab"], "n_best": 4, "attention": True}).status_code == 200

    @pytest.mark.parametrize(
        ("path", "asked", "status", "words"),
        [
            ("/translate", {"texts": ["a"] * 4}, 413, "texts has 4 texts; expected at most 3"),
            ("/translate", {"texts": ["a", "abcdefghijk"]}, 413, "texts[1] has 11 characters; expected at most 10"),
            ("/translate", {"texts": ["a"], "beam": 5}, 422, "beam is 5; expected a whole number from 1 to 4"),
            (
                "/translate",
                {"texts": ["abcdefghij"], "n_best": 4, "attention": True},
                413,
                "the attention may have 240 weights",
            ),
            ("/evaluate", {"pairs": [["a", "b"]] * 5}, 413, "pairs has 5 pairs"),
            ("/evaluate", {"pairs": [["a", "b" * 11]]}, 413, "pairs[0][1] has 11 characters"),
            ("/evaluate", {"pairs": [["a", "b"]], "rows": -1}, 422, "rows is -1"),
        ],
    )
    def test_what_is_beyond_does_not(self, client, path, asked, status, words):
        refused(client.post(path, json=asked), status, words)

    def test_a_large_body(self, client):
        """With its length told, and piece by piece without."""
        headers = {"content-type": "application/json"}
        refused(client.post("/translate", content=b" " * 2001, headers=headers), 413, "more than 2,000 bytes")
        pieces = (b" " * 500 for _ in range(1000))
        refused(client.post("/translate", content=pieces, headers=headers), 413, "more than 2,000 bytes")
        refused(client.post("/evaluate", content=b"a\tb\n" * 600, headers=TSV), 413, "more than 2,000 bytes")

    def test_a_file_with_many_lines_or_long_ones(self, client):
        refused(client.post("/evaluate", content=b"a\tb\n" * 5, headers=TSV), 413, "more than 4 pairs")
        refused(
            client.post("/evaluate", content=b"a\tb\n" + b"a" * 11 + b"\tb\n", headers=TSV), 413, "the file, line 2: the source"
        )

    def test_time(self, ask):
        client = ask(limits=Limits(timeout=1), batch_wait=30.0)
        refused(client.post("/translate", json={"texts": ["a"]}), 503, "longer than 1 second")

    def test_many_that_wait(self, ask, monkeypatch):
        client = ask()
        batcher = client.app.service.batcher
        monkeypatch.setattr(batcher, "_limit", 0)
        monkeypatch.setattr(batcher, "_jobs", [type("Job", (), {"waiting": 1})()])
        answer = client.post("/translate", json={"texts": ["a"]})
        refused(answer, 503, "too many texts are waiting")
        assert answer.headers["retry-after"] == "1"
        monkeypatch.undo()

    def test_a_limit_that_is_none(self):
        with pytest.raises(ValueError, match="max_texts is 0; expected a whole number of at least 1"):
            Limits(max_texts=0)


class TestEvaluate:
    PAIRS = (("abc", "cba"), ("attention", "noitnetta"), ("abc", "abc"), ("x", "x"))

    def test_the_figures_are_those_of_score(self, client):
        content = client.post("/evaluate", json={"pairs": self.PAIRS, "beam": 3, "intervals": True}).json()
        expected = small(0).score(self.PAIRS, beam=3, resamples=1000)
        assert content["figures"] == json.loads(json.dumps(expected.to_json()))
        assert [each["answer"] for each in content["answers"]] == list(expected.answers)
        assert content["answers"][0]["targets"] == ["cba", "abc"]
        assert content["wrong"] == sum(bool(c.token_errors) for c in expected.comparisons)

    def test_a_file_is_the_same_as_its_pairs(self, client):
        text = "".join(f"{source}\t{target}\n" for source, target in self.PAIRS)
        of_file = client.post("/evaluate?beam=3&model=two&rows=1", content="\n" + text, headers=TSV).json()
        of_pairs = client.post("/evaluate", json={"pairs": self.PAIRS, "beam": 3, "model": "two", "rows": 1}).json()
        assert of_file.pop("passed_over") == "1 blank line"
        assert of_pairs.pop("passed_over") == ""
        assert of_file == of_pairs
        assert of_file["model"] == "two"
        assert len(of_file["errors"]) == 1

    def test_the_errors_are_aligned(self, client):
        content = client.post("/evaluate", json={"pairs": self.PAIRS}).json()
        assert content["errors"]
        for error in content["errors"]:
            expected, given = zip(*error["aligned"])
            assert "".join(filter(None, expected)) == error["expected"]
            assert "".join(filter(None, given)) == error["answer"]
            assert sum(a != b for a, b in error["aligned"]) == error["token_errors"]
        counts = [each["count"] for each in content["confusions"]]
        assert counts == sorted(counts, reverse=True)
        assert sum(counts) == content["figures"]["token_errors"]

    def test_more_pairs_than_fit_in_a_batch(self, ask):
        client = ask(batch_size=2)
        pairs = [(a + b, b + a) for a in "abcdef" for b in "ghij"]
        content = client.post("/evaluate", json={"pairs": pairs}).json()
        assert [each["answer"] for each in content["answers"]] == small(0).translate([source for source, _ in pairs])

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "the file: is empty"),
            (b"\n\n", "the file: holds no pair"),
            (b"a\tb\nc\n", "the file, line 2: no tab"),
            (b"a\tb\n\xff\tc\n", "the file, line 2: is not UTF-8"),
            (b"a\tb\tc\n", "the file, line 1: 2 tabs"),
            (b"a\t \n", "the file, line 1"),
        ],
    )
    def test_a_file_that_is_none(self, client, content, words):
        refused(client.post("/evaluate", content=content, headers=TSV), 422, words)

    def test_what_is_compressed_is_not_unpacked(self, client):
        refused(client.post("/evaluate", content=b"\x1f\x8b\x08\x00" + b"\0" * 50, headers=TSV), 415, "compressed")

    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            ({}, "pairs is missing"),
            ({"pairs": [["a"]]}, 'pairs[0] is ["a"]; expected a source and a target'),
            ({"pairs": [["a", "b"], ["a", " "]]}, "pairs[1][1] is empty"),
            ({"pairs": [["a", None]]}, "pairs[0][1] is null"),
            ({"pairs": [["a", "b"]], "n_best": 2}, "there is no field"),
        ],
    )
    def test_pairs_that_are_none(self, client, asked, words):
        refused(client.post("/evaluate", json=asked), 422, words)

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ("beam=x", 'beam is "x"'),
            ("beam=2&beam=3", "more than once"),
            ("bean=2", "did you mean beam?"),
            ("intervals=1", "true"),
        ],
    )
    def test_a_query_that_is_none(self, client, query, words):
        refused(client.post(f"/evaluate?{query}", content=b"a\tb\n", headers=TSV), 422, words)

    def test_a_text_that_reads_like_a_number_stays_one(self, ask):
        client = ask({"1": small(0), "2": small(1)})
        assert client.post("/evaluate?model=2", content=b"a\tb\n", headers=TSV).json()["model"] == "2"

    def test_symbols_that_the_model_never_saw(self, client):
        pairs = [["日", "a"], ["ab", "b"]]
        assert client.post("/evaluate", json={"pairs": pairs}).json()["unknown_sources"] == 1
        refused(client.post("/evaluate", json={"pairs": pairs, "unknown": "fail"}), 422, "never saw: '日'")

    def test_targets_without_a_token(self, ask):
        """Which only features can bring about, or a token kind that drops spaces; the library's own words are passed on."""
        with pytest.raises(ValueError, match="hold no token"):
            evaluate(["a"], ["b"], [[""]])


class TestABatchIsWhatOneAloneIs:
    """Whoever shares a batch has the answers, the scores and the attention that they would have alone."""

    @pytest.mark.parametrize("options", [{}, FAMILY], ids=["plain", "family"])
    @pytest.mark.parametrize("search", [{}, {"n_best": 3, "beam": 4, "attention": True}, {"beam": 3, "scores": True}])
    def test_together_and_alone(self, backend, options, search):
        translator = small(3, **options)
        metrics = Metrics()
        service = Service({"m": translator}, Limits(), batch_wait=0.3, metrics=metrics)
        asked = [
            {
                "texts": [text],
                "model": "m",
                "beam": None,
                "n_best": 1,
                "length_penalty": 0.0,
                "unknown": "answer",
                "scores": False,
                "attention": False,
                **search,
            }
            for text in WORDS
        ]

        async def together():
            return await asyncio.gather(*map(service.translate, asked))

        async def alone():
            return [await service.translate(each) for each in asked]

        def count():
            return metrics.registry.get_sample_value("fastattn_batch_texts_count")

        try:
            shared = [json.loads(each) for each in asyncio.run(together())]
            assert count() == 1
            service.batcher._wait = 0
            single = [json.loads(each) for each in asyncio.run(alone())]
            assert count() == 1 + len(WORDS)
        finally:
            service.batcher.close()
        answers = [[a for r in each["results"] for a in r["answers"]] for each in shared]
        expected = [[a for r in each["results"] for a in r["answers"]] for each in single]
        assert len({str(each) for each in answers}) > 3  # they do differ from text to text
        for given, wanted in zip(answers, expected, strict=True):
            assert [a["text"] for a in given] == [a["text"] for a in wanted]
            assert [a.get("tokens") for a in given] == [a.get("tokens") for a in wanted]
            for a, b in zip(given, wanted, strict=True):
                assert a.get("score", 0) == pytest.approx(b.get("score", 0), abs=1e-3)
        alone_texts = [translator.search([t], beam=search.get("beam", 1), n_best=search.get("n_best", 1)) for t in WORDS]
        assert [[a["text"] for a in each] for each in answers] == [[a.text for a in best[0]] for best in alone_texts]


class TestTheRest:
    def test_info(self, client):
        content = client.get("/info").json()
        assert [model["name"] for model in content["models"]] == ["one", "two"]
        assert content["limits"]["max_texts"] == 256
        assert content["models"][0]["facts"]["longest answer"] == "6 tokens"

    def test_info_does_not_say_where_files_lie(self, ask):
        translator = small(0)
        translator.about["corpus"] = "/home/someone/pairs.tsv"
        assert ask({"one": translator}).get("/info").json()["models"][0]["facts"]["corpus"] == "pairs.tsv"

    def test_health(self, client):
        assert (client.get("/health").status_code, client.get("/health").json()) == (200, {"status": "ok"})
        client.app.service.batcher.close()
        assert (client.get("/health").status_code, client.get("/health").json()) == (503, {"status": "stopping"})
        refused(client.post("/translate", json={"texts": ["a"]}), 503, "stopping")

    def test_metrics(self, client):
        parser = pytest.importorskip("prometheus_client.parser")
        client.post("/translate", json={"texts": ["a", "b"]})
        client.post("/translate", json={"texts": []})
        client.get("/elsewhere/else")
        client.request("BREW", "/translate")
        answer = client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        samples = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in parser.text_string_to_metric_families(answer.text)
            for sample in family.samples
        }
        assert samples["fastattn_requests_total", "/translate", "200", "POST"] == 1
        assert samples["fastattn_requests_total", "/translate", "422", "POST"] == 1
        assert samples["fastattn_requests_total", "404", "GET", "other"] == 1
        assert samples["fastattn_requests_total", "/translate", "405", "other"] == 1
        assert samples["fastattn_texts_total", "one"] == 2
        assert samples["fastattn_batch_texts_count",] == 1
        assert samples["fastattn_waiting_texts",] == 0

    def test_the_page_and_no_other_file(self, client):
        for path, _, kind in PAGE:
            answer = client.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith(kind)
            assert client.get(path, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
        for path in ("/index.html", "/static/page.js", "/../pyproject.toml", "/%2e%2e/app.py", "//etc/passwd", "/page.js/"):
            refused(client.get(path, follow_redirects=False), 404, "nothing at this path")

    def test_names_no_other_host(self, client):
        import re

        for path, _, kind in PAGE:
            text = client.get(path).text.replace('xmlns="http://www.w3.org/2000/svg"', "")
            assert not re.findall(r"https?://|@import|url\(", text), path
            if kind == "text/html":
                assert not re.findall(r"<style|\sstyle=|\son\w+=|<script>", text)

    def test_another_method(self, client):
        answer = client.get("/translate")
        refused(answer, 405, "GET is not for this path")
        assert answer.headers["allow"] == "POST"
        refused(client.delete("/info"), 405)
        assert client.head("/").status_code == 200

    def test_every_answer_tells_the_browser(self, client):
        for answer in (client.get("/"), client.get("/nothing"), client.post("/translate", json={}), client.get("/info")):
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in answer.headers

    def test_a_fault_of_ours_is_told_without_its_insides(self, ask, monkeypatch):
        client = ask()
        monkeypatch.setattr(Translator, "translate", lambda *_, **__: 1 / 0)
        client = testclient.TestClient(client.app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        answer = client.post("/translate", json={"texts": ["a"]})
        refused(answer, 500, "the server failed")
        assert "division" not in answer.text
        assert "content-security-policy" in answer.headers
        monkeypatch.undo()
        assert client.post("/translate", json={"texts": ["a"]}).status_code == 200


class TestDoor:
    @pytest.fixture
    def client(self, ask):
        return ask(hosts=local_hosts("127.0.0.1"))

    def test_the_names_of_this_machine(self, client):
        for host in ("127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST", "localhost.", "[::1]:8000", "[::1]"):
            assert client.get("/health", headers={"host": host}).status_code == 200, host

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "127.0.0.1:80:80", "", "::1"]
    )
    def test_another_name(self, client, host):
        refused(client.get("/health", headers={"host": host}), 421, "expected one of 127.0.0.1, [::1], localhost")
        refused(client.post("/translate", json={"texts": ["a"]}, headers={"host": host}), 421)

    @pytest.mark.parametrize(
        ("host", "expected"),
        [
            ("127.0.0.1", {"127.0.0.1", "localhost", "[::1]"}),
            ("localhost", {"127.0.0.1", "localhost", "[::1]"}),
            ("::1", {"127.0.0.1", "localhost", "[::1]"}),
            ("127.0.0.9", {"127.0.0.1", "localhost", "[::1]", "127.0.0.9"}),
            ("0.0.0.0", None),
            ("::", None),
            ("192.168.0.7", None),
            ("box.example", None),
        ],
    )
    def test_which_names_are_allowed(self, host, expected):
        assert local_hosts(host) == expected

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": "http://127.0.0.1:9"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"origin": "http://127.0.0.1", "sec-fetch-site": "cross-site"},
        ],
    )
    def test_a_post_from_another_site(self, client, headers):
        refused(client.post("/translate", json={"texts": ["a"]}, headers=headers), 403, "another site")
        assert client.get("/health", headers=headers).status_code == 200

    @pytest.mark.parametrize(
        "headers", [{}, {"origin": "http://127.0.0.1"}, {"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}]
    )
    def test_a_post_from_this_page_or_no_page(self, client, headers):
        assert client.post("/translate", json={"texts": ["a"]}, headers=headers).status_code == 200

    def test_a_server_for_others_is_asked_under_any_name(self, ask):
        client = ask(hosts=local_hosts("0.0.0.0"))
        assert client.get("/health", headers={"host": "box.example"}).status_code == 200
        headers = {"host": "box.example", "origin": "http://evil.example"}
        refused(client.post("/translate", json={"texts": ["a"]}, headers=headers), 403)


class TestDescription:
    def test_it_is_openapi(self, client):
        validator = pytest.importorskip("openapi_spec_validator")
        validator.validate(client.get("/openapi.json").json())

    def test_each_path_and_each_field_stands_there(self, client):
        document = client.get("/openapi.json").json()
        pages = {path for path, _, _ in PAGE}
        paths = {route.path: route.methods - {"HEAD"} for route in client.app.app.routes if route.path not in pages}
        assert {path: {m.upper() for m in told} for path, told in document["paths"].items()} == paths
        schemas = document["components"]["schemas"]
        for name, fields in (("Translate", of_translate), ("Evaluate", of_evaluate)):
            told = set(schemas[name]["properties"]) - ({"pairs"} if name == "Evaluate" else set())
            assert told == {field.name for field in fields(Limits(), ["one"])}
        assert schemas["Translate"]["properties"]["model"]["enum"] == ["one", "two"]
        assert schemas["Translate"]["properties"]["texts"]["maxItems"] == 256

    def test_answers_are_as_described(self, client):
        document = client.get("/openapi.json").json()
        pairs = {"pairs": [["abc", "cba"], ["日", "x"]], "intervals": True}
        asked = {"texts": ["abc", "日"], "n_best": 2, "attention": True}
        for path, given in (("/translate", asked), ("/translate", {"texts": ["a"]}), ("/evaluate", pairs)):
            schema = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
            fits(client.post(path, json=given).json(), schema, document)
        for path in ("/info", "/health"):
            schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            fits(client.get(path).json(), schema, document)
        fits(client.get("/nothing").json(), {"$ref": "#/components/schemas/Error"}, document)


KINDS = {"string": str, "boolean": bool, "integer": int, "object": dict, "array": list, "null": type(None)}


def fits(value, schema, document, place="answer"):
    """That a value is as a schema of the document has it, with no property that it does not have."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    kinds = tuple(KINDS.get(name, float) for name in names) + ((int,) if "number" in names else ())
    assert isinstance(value, kinds), place
    assert value in schema.get("enum", [value])
    if isinstance(value, dict) and "properties" in schema:
        assert set(schema["required"]) <= set(value) <= set(schema["properties"]), place
        for name, each in value.items():
            fits(each, schema["properties"][name], document, f"{place}.{name}")
    if isinstance(value, list) and "items" in schema:
        for i, each in enumerate(value):
            fits(each, schema["items"], document, f"{place}[{i}]")
