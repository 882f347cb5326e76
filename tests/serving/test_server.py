"""The server as its users run it, in a process of its own; and what hostile clients can do to it, and to others through it."""

import concurrent.futures
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time

import pytest
from serving.servers import ENVIRONMENT, small, until

from fastattn.cli.main import parser, run

pytest.importorskip("starlette", reason="starlette is not installed: pip install 'fastattn[serve]'")
pytest.importorskip("prometheus_client", reason="prometheus_client is not installed: pip install 'fastattn[serve]'")


def connect(server, content=b""):
    """A connection to a server, over which some bytes went."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(content)
    return connection


def everything(connection):
    """What comes until the end."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def post(content, path="/translate", length=None, headers=()):
    """The bytes of a request."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        f"content-length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_it_answers_as_the_models_do(shared):
    for seed, name in enumerate(("one", "two")):
        status, content = shared.ask("/translate", {"texts": ["abc", "kernel"], "model": name})
        assert status == 200
        texts = [each["answers"][0]["text"] for each in content["results"]]
        assert texts == small(seed).translate(["abc", "kernel"])
    assert shared.line == f"one and two: {shared.address}\n"
    assert [each["name"] for each in shared.ask("/info")[1]["models"]] == ["one", "two"]


def test_it_listens_on_this_machine_alone(shared):
    assert shared.address.startswith("http://127.0.0.1:")
    listening = subprocess.run([sys.executable, "-c", LISTENING, str(shared.port)], capture_output=True, text=True, check=True)
    assert listening.stdout.split() == ["0100007F"]  # 127.0.0.1 as Linux writes it


LISTENING = """
import sys
for line in [*open("/proc/net/tcp"), *open("/proc/net/tcp6")]:
    place, state = line.split()[1], line.split()[3]
    if state == "0A" and place.endswith(f":{int(sys.argv[1]):04X}"):
        print(place.split(":")[0])
"""


def test_many_clients_at_once_have_the_answers_of_one(shared):
    words = [a + b + c for a in "abc" for b in "def" for c in "ghi"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(shared.ask, "/translate", {"texts": [word], "n_best": 2, "scores": True}) for word in words]
        found = [each.result()[1]["results"][0]["answers"] for each in asked]
    expected = small(0).search(words, n_best=2, beam=2)
    assert [[a["tokens"] for a in each] for each in found] == [[list(a.tokens) for a in best] for best in expected]


class TestTheEnd:
    @pytest.mark.parametrize(
        ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
    )
    def test_by_a_signal(self, serve, folders, number, code, said):
        """A client that is connected and says nothing is not waited for."""
        server = serve(folders[0])
        with connect(server), connect(server, b"GET / HTTP"):
            assert server.ask("/health") == (200, {"status": "ok"})
            start = time.monotonic()
            assert server.end(number) == (code, f"fastattn: {said}\n")
            assert time.monotonic() - start < 5

    def test_what_was_asked_is_answered(self, serve, folders):
        server = serve(folders[0], "--batch-wait", "1500")
        with connect(server, post({"texts": ["abc"]})) as connection:
            until(lambda: server.count("fastattn_waiting_texts") == 1)
            assert server.end(signal.SIGTERM)[0] == 143
            assert b'"answers":[{"text"' in everything(connection)

    @pytest.mark.slow
    def test_what_takes_too_long_is_told(self, serve, folders):
        server = serve(folders[0], "--batch-wait", "60000")
        with connect(server, post({"texts": ["abc"]})) as connection:
            until(lambda: server.count("fastattn_waiting_texts") == 1)
            assert server.end(signal.SIGTERM) == (143, "fastattn: terminated\n")
            answer = everything(connection)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"the server is stopping" in answer


def drip_on(connection):
    """A byte now and then."""
    for _ in range(100):
        connection.sendall(b" ")
        time.sleep(0.1)


class TestHostileClients:
    def test_rubbish(self, shared):
        for rubbish in (b"\x16\x03\x01\x02\x00\x01", b"rubbish\r\n\r\n", b"\0" * 5000 + b"\r\n\r\n"):
            with connect(shared, rubbish) as connection:
                connection.shutdown(socket.SHUT_WR)
                answer = everything(connection)
                assert not answer or answer.startswith(b"HTTP/1.1 400"), rubbish
                assert not answer or json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 400
        assert shared.ask("/health")[0] == 200

    def test_headers_without_an_end(self, shared):
        with connect(shared, b"GET / HTTP/1.1\r\n") as connection:
            try:
                for i in range(3000):
                    connection.sendall(b"x-%d: %s\r\n" % (i, b"y" * 100))
            except ConnectionError:
                pass
            answer = everything(connection)
            assert not answer or answer.startswith(b"HTTP/1.1 4")
        assert shared.ask("/health")[0] == 200

    def test_a_host_that_is_another(self, shared):
        status, content = shared.ask("/translate", {"texts": ["abc"]}, {"host": "evil.example"})
        assert (status, content["status"]) == (421, 421)
        with connect(shared, b"GET /info HTTP/1.0\r\n\r\n") as connection:
            assert everything(connection).startswith(b"HTTP/1.1 421")

    def test_a_page_of_another_site(self, shared):
        assert shared.ask("/translate", {"texts": ["abc"]}, {"origin": "https://evil.example"})[0] == 403

    def test_ten_megabytes(self, shared):
        status, content = shared.ask("/translate", b" " * 10_000_000, {"content-type": "application/json"})
        assert (status, content["error"]) == (413, "the body has more than 2,000,000 bytes; expected at most so many")

    def test_ten_megabytes_whose_length_is_not_told(self, shared):
        head = b"POST /evaluate HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: text/tab-separated-values\r\n"
        with connect(shared, head + b"transfer-encoding: chunked\r\n\r\n") as connection:
            for _ in range(100):
                connection.sendall(b"186a0\r\n" + b"a\tb\n" * 25_000 + b"\r\n")
            connection.sendall(b"0\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 413")
        assert shared.ask("/health")[0] == 200

    def test_lengths_that_lie(self, shared):
        for length in ("-1", "1e3", "99999999999999999999"):
            with connect(shared, post({"texts": ["abc"]}, length=length)) as connection:
                assert connection.recv(100).startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")), length
        assert shared.ask("/health")[0] == 200

    def test_clients_that_hang_harm_nobody(self, shared):
        """A hundred of them, at each place where one can stop."""
        words = ["abc", "kernel"]
        starts = [b"", b"POST /transl", post({"texts": words}, length=1000), post({"texts": words})]
        with contextlib.ExitStack() as hanging:
            for i in range(100):
                hanging.enter_context(connect(shared, starts[i % len(starts)]))
            for _ in range(5):
                start = time.monotonic()
                status, content = shared.ask("/translate", {"texts": words})
                assert status == 200
                assert [each["answers"][0]["text"] for each in content["results"]] == small(0).translate(words)
                assert time.monotonic() - start < 5

    def test_whoever_goes_away_is_not_computed_for(self, serve, folders):
        server = serve(folders[0], "--batch-wait", "1000")
        gone = '{method="POST",path="/translate",status="499"}'
        with connect(server, post({"texts": ["abc"] * 200})):
            until(lambda: server.count("fastattn_waiting_texts") == 200 or server.count("fastattn_batch_texts_count") > 0)
        until(lambda: server.count(f"fastattn_requests_total{gone}") == 1)
        assert server.count("fastattn_waiting_texts") == 0
        status, content = server.ask("/translate", {"texts": ["abc"]})
        assert (status, content["results"][0]["answers"][0]["text"]) == (200, *small(0).translate(["abc"]))

    @pytest.mark.slow
    def test_whoever_sends_or_reads_too_slowly_is_sent_away(self, serve, folders):
        server = serve(folders[0], "--timeout", "2", "--max-weights", "100000000", "--max-beam", "64")
        large = {"texts": ["abcdefghijklmnopqrstuvwxyz" * 30] * 100, "n_best": 20, "attention": True}
        with (
            connect(server) as idle,
            connect(server, b"GET / HT") as half,
            connect(server, post(b"", length=1000)) as drip,
            connect(server) as reader,
        ):
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.sendall(post(large))
            open_now = server.count("process_open_fds")
            start = time.monotonic()
            for connection in (idle, half):
                assert everything(connection) == b""
            assert 0.4 < time.monotonic() - start < 8
            with pytest.raises(ConnectionError):  # one byte after another is not enough
                drip_on(drip)
            until(lambda: server.count("process_open_fds") <= open_now - 4)
            assert len(everything(reader)) < 5_000_000
        assert server.ask("/health")[0] == 200

    @pytest.mark.slow
    def test_more_connections_than_there_is_room_for(self, serve, folders):
        """Those who have kept it waiting for longest go."""
        server = serve(folders[0])
        with contextlib.ExitStack() as hanging:
            for _ in range(600):
                hanging.enter_context(connect(server))
            assert server.ask("/translate", {"texts": ["abc"]})[0] == 200
            assert server.count("process_open_fds") < 560


class TestCommand:
    def test_a_port_that_is_taken(self, shared, folders, capsys):
        assert run(["serve", str(folders[0]), "--port", str(shared.port)]) == 1
        said = capsys.readouterr().err
        assert said == f"fastattn: cannot listen on 127.0.0.1, port {shared.port}: Address already in use\n"

    def test_a_host_that_is_none(self, folders, capsys):
        assert run(["serve", str(folders[0]), "--host", "no.such.host.invalid"]) == 1
        assert capsys.readouterr().err.startswith("fastattn: cannot listen on no.such.host.invalid, port 8000: ")

    def test_a_folder_that_is_none(self, tmp_path, capsys):
        assert run(["serve", str(tmp_path)]) == 1
        assert "config.json" in capsys.readouterr().err

    def test_the_same_model_twice(self, folders, capsys):
        assert run(["serve", str(folders[0]), str(folders[0])]) == 1
        assert "is given twice; expected two models" in capsys.readouterr().err

    @pytest.mark.parametrize("package", ["starlette", "uvicorn", "prometheus_client"])
    def test_without_the_extra(self, folders, capsys, monkeypatch, package):
        monkeypatch.setitem(sys.modules, package, None)
        assert run(["serve", str(folders[0])]) == 1
        said = f"fastattn: serving needs {package}; install it with: pip install 'fastattn[serve]'\n"
        assert capsys.readouterr().err == said

    @pytest.mark.parametrize("option", [["--max-texts", "0"], ["--port", "65536"], ["--batch-wait", "-1"], ["--max-text", "3"]])
    def test_options_that_are_none(self, folders, option):
        with pytest.raises(SystemExit) as error:
            run(["serve", str(folders[0]), *option])
        assert error.value.code == 2

    def test_the_help_needs_no_extra(self, monkeypatch):
        for package in ("starlette", "uvicorn", "prometheus_client"):
            monkeypatch.setitem(sys.modules, package, None)
        commands = next(iter(parser()._subparsers._group_actions)).choices
        assert "--max-bytes N" in commands["serve"].format_help()

    def test_a_name_to_be_asked_under(self, serve, folders):
        server = serve(folders[0], "--allow-host", "models.example")
        assert server.ask("/health", headers={"host": "models.example:80"})[0] == 200
        assert server.ask("/health")[0] == 421

    def test_to_be_open_to_others_is_said(self, serve, folders):
        server = serve(folders[0], "--host", "0.0.0.0")
        assert server.ask("/health", headers={"host": "box.example"})[0] == 200
        assert server.end() == (
            130,
            "fastattn: it is open to whoever reaches this machine; nobody is asked for a password\nfastattn: interrupted\n",
        )

    @pytest.mark.slow
    def test_that_kernels_compile_is_said(self, folders, tmp_path):
        environment = {**ENVIRONMENT, "FASTATTN_BACKEND": "compiled", "NUMBA_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-m", "fastattn", "serve", str(folders[0]), "--port", "0"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
            assert "http://127.0.0.1:" in process.stdout.readline()
            process.terminate()
            assert process.communicate(timeout=60)[1] == (
                "fastattn: compiling kernels (once on this machine)\nfastattn: terminated\n"
            )
