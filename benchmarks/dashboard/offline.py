"""Make a site that asv has published work without a network: what it loads from elsewhere is put beside it."""

import re
import shutil
from pathlib import Path

from ..asv_runs import Refusal

VENDOR = Path(__file__).parent / "vendor"

# The last part of the address in asv's page, and the file here.
FILES = {
    "jquery-3.3.1.min.js": "jquery.min.js",
    "jquery.flot.min.js": "jquery.flot.js",
    "jquery.flot.time.min.js": "jquery.flot.time.js",
    "jquery.flot.selection.min.js": "jquery.flot.selection.js",
    "jquery.flot.categories.min.js": "jquery.flot.categories.js",
    "jquery.flot.orderBars.js": "jquery.flot.orderBars.js",
    "stupidtable.min.js": "stupidtable.min.js",
    "md5.min.js": "md5.min.js",
    "bootstrap.min.js": "bootstrap.min.js",
    "bootstrap.min.css": "bootstrap.min.css",
}

_TAG = re.compile(r"<(?:script|link)\b[^>]*?\b(?:src|href)=\"(https?://[^\"]+)\"[^>]*>")
# Hashes and rules for what comes from another host.
_REMOTE_ONLY = re.compile(r"\s(?:integrity|crossorigin|referrerpolicy)=\"[^\"]*\"")


def make_offline(site: Path) -> None:
    """Change asv's index.html in place and copy what it needs. Refusal if it loads a file that is not here."""
    page = site / "index.html"

    def local(tag: re.Match[str]) -> str:
        address = tag[1]
        name = FILES.get(address.rpartition("/")[2])
        if name is None:
            raise Refusal(f"asv's page loads {address}, which is not in {VENDOR}: its README.md says what to do")
        return _REMOTE_ONLY.sub("", tag[0].replace(address, f"vendor/{name}"))

    text = _TAG.sub(local, page.read_text(encoding="utf-8"))
    shutil.copytree(VENDOR, site / "vendor", dirs_exist_ok=True)
    page.write_text(text, encoding="utf-8")
