"""`fastattn info`: what a report of a fault or of a speed should say about the machine; and what a model is."""

import argparse
import os
import platform
from collections.abc import Iterator

from .common import choose_computing, version

# As LLVM names them; what else a CPU can do makes no difference to the kernels.
VECTOR_FEATURES = (
    "sse2", "sse4.2", "avx", "avx2", "fma", "avx512f", "avx512vl", "avx512bf16", "amx-tile", "amx-bf16",
    "neon", "bf16", "sve", "sve2",
)  # fmt: skip
MODEL_WIDTH = 28  # of the longest name


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `fastattn info`."""
    parser = commands.add_parser(
        "info",
        help="show versions, CPU, threads and cache; or what a model is",
        description="Show versions, the CPU and its vector features, the threads and the folder of "
        "the compiled kernels: what a report of a fault or of a speed should say. With DIR, show what the model in that folder "
        "is, what it was trained on, and how well it did.",
    )
    parser.add_argument("folder", nargs="?", metavar="DIR", help="the folder of a model, as written by `fastattn train`")
    parser.add_argument(
        "--clear-cache",
        action="store_true",
        help="remove the machine code that is kept; the next run compiles the kernels anew",
    )
    # For the sub-command's own complaints about its usage.
    parser.set_defaults(run=run, wrong_usage=parser.error)


def run(arguments: argparse.Namespace) -> None:
    """Prints a fact a line."""
    if arguments.folder is not None:
        if arguments.clear_cache:
            arguments.wrong_usage("--clear-cache and DIR: expected one of the two")
        from fastattn.training import Translator

        for name, text in Translator.load(arguments.folder).facts():
            print(f"{name:<{MODEL_WIDTH}} {text}")
        return
    choose_computing()
    if arguments.clear_cache:
        from fastattn import backend

        files, folder = backend.clear_cache()
        print(f"{files} {'file' if files == 1 else 'files'} of machine code removed from {folder or 'no folder: none is kept'}")
        return
    for name, fact in facts():
        print(f"{name:<16} {fact}")


def facts() -> Iterator[tuple[str, object]]:
    """Names and facts."""
    import llvmlite
    import numba
    import numpy as np
    from llvmlite import binding

    from fastattn import backend

    yield "fastattn", version()
    yield "Python", f"{platform.python_version()} ({platform.python_implementation()})"
    for package in (np, numba, llvmlite):
        yield package.__name__, package.__version__
    yield "platform", platform.platform()
    yield "CPU", f"{binding.get_host_cpu_name()}, {os.cpu_count()} logical cores"
    present = binding.get_host_cpu_features()
    yield "vector features", " ".join(name for name in VECTOR_FEATURES if present.get(name)) or "none known"
    yield "kernels", backend.get_backend()
    yield "threads", backend.get_num_threads()
    yield "cache folder", backend.cache_folder() or "none"
