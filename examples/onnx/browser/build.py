"""A folder that a browser can open, of graphs that `fastattn export` wrote: they, the page, and ONNX Runtime Web.

    python build.py GRAPHS SITE
    python -m http.server --directory SITE

ONNX Runtime Web comes from npm, of the version below, and is compared with a digest that stands here; `npm` fetches it, or
--package names the file. The page loads nothing from elsewhere. This script needs Python alone, and nothing of fastattn.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "onnxruntime-web@1.30.0"
# Of the package's file, as `npm view PACKAGE dist.integrity` says it.
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# What the page needs of it: JavaScript, and what runs models on a CPU.
PARTS = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")

GRAPHS = ("about.json", "encoder.onnx", "decoder_step.onnx", "greedy.onnx")
PAGE = ("index.html", "page.js", "model.js", "style.css")


class Refusal(Exception):
    """What cannot be done, and why, in a line."""


def fetch(folder: Path) -> Path:
    """The package's file, fetched to a folder by npm."""
    npm = shutil.which("npm")
    if npm is None:
        raise Refusal(f"npm, which fetches {PACKAGE}, is not installed; --package names a file that was fetched elsewhere")
    command = [npm, "pack", PACKAGE, "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    found = [*folder.glob("*.tgz")]
    if done.returncode or len(found) != 1:
        raise Refusal(f"npm did not fetch {PACKAGE}: {done.stderr.strip() or done.stdout.strip() or 'it says nothing'}")
    return found[0]


def checked(package: Path) -> Path:
    """The file, if it is the one that is expected."""
    with package.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    given = f"sha512-{base64.b64encode(digest).decode()}"
    if given != INTEGRITY:
        raise Refusal(f"{package} is {given}; expected {PACKAGE}, {INTEGRITY}")
    return package


def vendor(package: Path, folder: Path) -> None:
    """Takes what the page needs out of the package."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(package) as archive:
        for name in PARTS:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None, name  # the digest says which file it is
            with member, (folder / name).open("wb") as file:
                shutil.copyfileobj(member, file)


def build(graphs: Path, site: Path, package: Path | None = None) -> None:
    """Writes the folder ``site``, a new one or over an old one."""
    for name in GRAPHS:
        if not (graphs / name).is_file():
            raise Refusal(f"{graphs} has no {name}; expected a folder that `fastattn export DIR --onnx {graphs}` wrote")
    with tempfile.TemporaryDirectory() as folder:
        vendor(checked(package or fetch(Path(folder))), site / "vendor")
    (site / "graphs").mkdir(exist_ok=True)
    for name in PAGE:
        shutil.copyfile(Path(__file__).parent / name, site / name)
    for name in GRAPHS:
        shutil.copyfile(graphs / name, site / "graphs" / name)


def main() -> None:
    parser = argparse.ArgumentParser(description="A folder that a browser can open, of graphs that `fastattn export` wrote.")
    parser.add_argument("graphs", metavar="GRAPHS", type=Path, help="the folder that `fastattn export DIR --onnx GRAPHS` wrote")
    parser.add_argument("site", metavar="SITE", type=Path, help="the folder to write")
    parser.add_argument("--package", metavar="FILE", type=Path, help=f"the file of {PACKAGE}, in place of fetching it by npm")
    arguments = parser.parse_args()
    try:
        build(arguments.graphs, arguments.site, arguments.package)
    except (Refusal, OSError) as error:
        raise SystemExit(f"build.py: {error}") from error
    print(f"python -m http.server --bind 127.0.0.1 --directory {arguments.site}")


if __name__ == "__main__":
    main()
