"""Tries the extras, each in a fresh virtual environment that has fastattn, that extra and what its tests need.

    python tests/environments.py                        every environment, with the newest packages
    python tests/environments.py --oldest               with the oldest that pyproject.toml admits
    python tests/environments.py core onnx              these alone
    python tests/environments.py --python python3.13    by another Python

An environment passes if the tests of its extra pass, and none of them is skipped because its package is missing. In the one
without extras (``core``) each extra has to be missed in one sentence that names it. The environments are made in --folder, and
a second run uses those that stand there; without --folder they are removed in the end. Needs pip, and its index.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Of each extra for users: the arguments of pytest.
TESTS = {
    "core": ["tests/test_readme.py", "tests/kernels/test_kernels.py", "tests/kernels/test_code_cache.py", "tests/models",
             "tests/training/test_text.py", "tests/training/test_model_folder.py", "tests/training/test_display.py",
             "tests/evaluation/test_metrics.py", "tests/evaluation/test_bootstrap.py"],
    "plot": ["tests/drawing", "tests/cli/test_attention.py"],
    "notebook": ["tests/test_notebook.py"],
    "tensorboard": ["tests/cli/test_train.py", "-k", "tensorboard"],
    "evaluation": ["tests/evaluation", "tests/test_docs_evaluation.py"],
    "grapheme": ["tests/data/test_vocabulary.py"],
    "sklearn": ["tests/test_sklearn.py", "tests/test_docs_python.py"],
    "torch": ["tests/interop/test_torch.py", "tests/layers/test_torch.py", "tests/models/test_torch.py"],
    "onnx": ["tests/interop/test_onnx.py", "tests/examples/test_onnx.py"],
    "serve": ["tests/serving/test_api.py", "tests/serving/test_batching.py", "tests/serving/test_server.py"],
    "mpi": ["tests/mpi"],
}  # fmt: skip
# What the tests of an extra need besides, from the extra `test`.
ALSO = {
    "notebook": ("nbclient", "ipykernel"),
    "onnx": ("onnxruntime",),
    "evaluation": ("pyyaml",),
    "serve": ("httpx2",),
    "mpi": ("mpich",),
}

# Left out with the oldest packages: tests in which any warning of a process is an error; pyparsing warns of matplotlib 3.8.
OLDEST = {
    "plot": [
        *("--deselect", "tests/cli/test_attention.py::test_the_picture_is_one"),
        *("--deselect", "tests/cli/test_attention.py::test_nothing_is_drawn_on_a_screen"),
    ]
}

# What misses an extra where it is not installed.
MISSES = {
    "plot": "from fastattn.drawing import draw_history; draw_history([])",
    "tensorboard": "from fastattn.training import Board; Board('logs')",
    "evaluation": "from fastattn.evaluation import evaluate; evaluate(['a'], ['a'], [['a']], bleu_tokenize='13a')",
    "grapheme": "from fastattn.data import Vocabulary; Vocabulary('a', 'grapheme')",
    "sklearn": "import fastattn.sklearn",
    "torch": "import fastattn.interop.torch",
    "onnx": "import fastattn.interop.onnx",
    "serve": "from fastattn.cli.serve import run; run(None)",
    "mpi": "from fastattn.training.communicators import require_mpi; require_mpi()",
}
SENTENCE = r"\S.* needs \S+; install it with: pip install 'fastattn\[{}\]'"
# But for a package that no extra brings.
MISSING_PACKAGE = re.compile(r"SKIPPED(?!.*openapi_spec_validator).*(?:could not import|not installed).*")


class Failure(Exception):
    """What an environment does not do, in some lines."""


def named(requirement: str) -> str:
    """The package of a requirement."""
    return re.match(r"[\w.-]+", requirement)[0].lower()


def oldest(requirement: str) -> str:
    """``numpy>=1.26`` -> ``numpy==1.26``. ValueError for a requirement that admits any version."""
    found = re.fullmatch(r"([\w.-]+)(?:>=|==)([\w.]+)(?:,.*)?", requirement)
    if found is None:
        raise ValueError(f"{requirement!r} has no oldest version")
    return f"{found[1]}=={found[2]}"


def requirements(extra: str, is_oldest: bool) -> list[str]:
    """What an environment is made of, beside fastattn; of what the tests alone need always the newest."""
    extras = PROJECT["optional-dependencies"]
    own = [*PROJECT["dependencies"], *([] if extra == "core" else extras[extra])]
    for_tests = [each for each in extras["test"] if named(each) in ("pytest", *ALSO.get(extra, ()))]
    return [*(map(oldest, own) if is_oldest else own), *for_tests]


def run(*command: str | Path) -> str:
    """What a command says. Failure, with the end of what it said, if it fails."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env=kept, capture_output=True, text=True)
    if done.returncode:
        raise Failure("\n".join([" ".join(map(str, command)), *(done.stdout + done.stderr).splitlines()[-25:]]))
    return done.stdout


def make(folder: Path, python: str, wanted: Sequence[str]) -> Path:
    """The Python of a virtual environment with these packages, a new one if there is none."""
    interpreter = folder / "bin" / "python"
    if not interpreter.exists():
        run(python, "-m", "venv", folder)
    run(interpreter, "-m", "pip", "install", "--quiet", "-e", ROOT, *wanted)
    return interpreter


def check_tests(python: Path, extra: str, is_oldest: bool) -> str:
    """The last line of pytest."""
    # Old packages use what the newer ones that they need will not have for long.
    ignored = ["-W", "ignore::DeprecationWarning", "-W", "ignore::PendingDeprecationWarning", *OLDEST.get(extra, ())]
    said = run(python, "-m", "pytest", "-rs", *(ignored if is_oldest else ()), *TESTS[extra])
    if extra != "core" and (skipped := MISSING_PACKAGE.findall(said)):
        raise Failure("\n".join(["tests were skipped:", *skipped]))
    return said.splitlines()[-1]


def check_misses(python: Path) -> Iterator[str]:
    """The sentence of each extra that is not there."""
    for extra, code in MISSES.items():
        said = run(python, "-c", f"try:\n    {code}\nexcept ImportError as error:\n    print(error)").strip()
        if not re.fullmatch(SENTENCE.format(extra), said):
            raise Failure(f"{code}\nsaid {said!r}; expected a sentence that names the extra {extra}")
        yield said


def try_one(extra: str, folder: Path, python: str, is_oldest: bool) -> Iterator[str]:
    """What there is to say of an environment that passes. Failure of one that does not."""
    interpreter = make(folder / extra, python, requirements(extra, is_oldest))
    listed = run(interpreter, "-m", "pip", "list", "--format=freeze").splitlines()
    names = {named(each) for each in requirements(extra, is_oldest)}
    yield " ".join(each for each in listed if named(each) in names)
    if extra == "core":
        yield from check_misses(interpreter)
    yield check_tests(interpreter, extra, is_oldest)


def main() -> int:
    parser = argparse.ArgumentParser(description="Tries the extras, each in a fresh virtual environment.")
    parser.add_argument("extras", metavar="EXTRA", nargs="*", help=f"of {', '.join(TESTS)}; all, if none is named")
    parser.add_argument("--oldest", action="store_true", help="the oldest packages that pyproject.toml admits")
    parser.add_argument("--python", default=sys.executable, help="the Python to make the environments with")
    parser.add_argument("--folder", type=Path, help="where to make the environments, and to leave them")
    arguments = parser.parse_args()
    if unknown := [each for each in arguments.extras if each not in TESTS]:
        parser.error(f"there is no environment {unknown[0]!r}; expected one of {', '.join(TESTS)}")
    failed = []
    with tempfile.TemporaryDirectory(prefix="fastattn-") as temporary:
        for extra in arguments.extras or TESTS:
            begin = time.monotonic()
            print(f"== {extra}", flush=True)
            try:
                for line in try_one(extra, arguments.folder or Path(temporary), arguments.python, arguments.oldest):
                    print(line, flush=True)
            except Failure as failure:
                failed.append(extra)
                print(failure)
            print(f"{'failed' if extra in failed else 'passed'} ({time.monotonic() - begin:.0f} s)", flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
