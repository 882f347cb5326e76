"""Small models that answer, and a server in a process of its own."""

import json
import os
import signal
import string
import subprocess
import sys
import time
import urllib.error
import urllib.request

import fastattn
from fastattn.data import END, Vocabulary
from fastattn.training import Translator

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    "FASTATTN_BACKEND": "reference",
    "FASTATTN_NUM_THREADS": "1",
    "PYTHONWARNINGS": "error",
}
# Interruptible even where this process was started in the background, with SIGINT ignored.
COMMAND = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('fastattn', run_name='__main__')"
)
FAMILY = {"bidirectional": True, "attention": "additive", "attentional_size": 8, "input_feeding": True, "bridge": "affine"}


def small(seed=0, tokens="char", longest=6, **options):
    """A translator with its first weights, which is as sure of its answers as those make it."""
    letters = Vocabulary([*string.ascii_lowercase], tokens)
    model = fastattn.AttentionSeq2seq(len(letters), 5, 8, seed=seed, **options)
    for param in model.params:
        param *= 6  # answers that differ from source to source
    model.named_params()["decoder.affine.b"][END] = -4  # and have some symbols
    return Translator(model, letters, letters, reverse_source=True, max_target_tokens=longest)


class Running:
    """A server in a process of its own, and requests to it."""

    def __init__(self, *arguments):
        command = [sys.executable, "-c", COMMAND, "serve", "--port", "0", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=ENVIRONMENT, **pipes, text=True)
        self.line = self.process.stdout.readline()
        if "http" not in self.line:
            raise RuntimeError(self.process.communicate()[1])
        self.address = self.line.split()[-1]
        self.port = int(self.address.rstrip("/").rpartition(":")[2])

    def ask(self, path="", content=None, headers=None, method=None, timeout=20):
        """The status and the JSON, or the text, of a path. content: an object, or bytes."""
        headers = dict(headers or {})
        if content is not None and not isinstance(content, bytes):
            content = json.dumps(content).encode()
            headers.setdefault("content-type", "application/json")
        request = urllib.request.Request(self.address + path.lstrip("/"), content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, body = error.code, error.read()
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode()

    def count(self, name):
        """A figure of /metrics, by its line without the value; 0 where there is none."""
        for line in self.ask("/metrics")[1].splitlines():
            if line.rpartition(" ")[0] == name:
                return float(line.rpartition(" ")[2])
        return 0.0

    def end(self, number=signal.SIGINT):
        """The exit code, and what was said on standard error."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err


def finish(running):
    running.process.kill()
    running.process.communicate()


def until(true, seconds=10.0):
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.02)
