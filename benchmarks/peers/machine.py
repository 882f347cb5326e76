"""What was measured on, and with what."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastattn.cli.info import VECTOR_FEATURES

from .process import ROOT

PACKAGES = ("fastattn", "numpy", "numba", "llvmlite", "torch", "jax", "jaxlib")


def facts() -> dict[str, Any]:
    """Everything that a time may depend on and that can be asked for."""
    from llvmlite import binding

    present = binding.get_host_cpu_features()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu_name(),
        "llvm_cpu": binding.get_host_cpu_name(),
        "features": [name for name in VECTOR_FEATURES if present.get(name)],
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
    }


def available_cores() -> int:
    """How many logical cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_cores(threads: int) -> list[int]:
    """As many logical cores as there are threads, no two of one physical core while there are others.

    An empty list where the system does not let a process choose. ValueError for more threads than cores.
    """
    if not 1 <= threads <= available_cores():
        raise ValueError(f"{threads} threads; expected 1 to {available_cores()}, the cores that there are")
    if not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0), key=lambda core: (_siblings(core).index(core), core))[:threads]


def _siblings(core: int) -> list[int]:
    """The logical cores of the same physical one, lowest first."""
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
    except OSError:
        return [core]
    siblings: list[int] = []
    for part in text.strip().split(","):  # "0,64" or "0-1"
        first, _, last = part.partition("-")
        siblings.extend(range(int(first), int(last or first) + 1))
    return siblings


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """With "-dirty" behind it when files differ from the commit; None without git."""
    try:
        described = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
