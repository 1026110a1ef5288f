"""Metadata that depends on where the repository lies: its addresses, and a README whose links lead there.

The address is that of `origin`, or `CKPTCONV_REPOSITORY`; a source distribution remembers it. Where there is none, as
in a clone of a clone, there are no addresses, and links of the README to files of the repository become plain text.
"""

from __future__ import annotations

import os
import re
import subprocess
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

IMAGE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)]*)\)\n*")
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)]*)\)")
PAGES = {"Repository": "", "Changelog": "/blob/main/CHANGELOG.md", "Issues": "/issues"}


class Metadata(MetadataHookInterface):
    """Fills `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add to the metadata of pyproject.toml what it leaves open."""
        root = Path(self.root)
        address = repository(root)
        text = (root / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": linked(text, address)}
        metadata["urls"] = {name: address + page for name, page in PAGES.items()} if address else {}


def repository(root: Path) -> str:
    """Return the address of the repository in a browser, or nothing."""
    address = os.environ.get("CKPTCONV_REPOSITORY", "") or _origin(root) or _remembered(root)
    address = re.sub(r"^(?:ssh://)?git@([^:/]+)[:/]", r"https://\1/", address.strip())
    address = re.sub(r"^(https?://)[^@/]*@", r"\1", address).removesuffix("/").removesuffix(".git")
    return address if re.match(r"https?://", address) else ""


def _origin(root: Path) -> str:
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return ""
    return run.stdout if run.returncode == 0 else ""


def _remembered(root: Path) -> str:
    """Return the address in the metadata of a source distribution."""
    try:
        headers = HeaderParser().parsestr((root / "PKG-INFO").read_text(encoding="utf-8"))
    except OSError:
        return ""
    pages = (line.partition(", ") for line in headers.get_all("Project-URL", []))
    return next((page for name, _, page in pages if name == "Repository"), "")


def linked(text: str, address: str) -> str:
    """Return text whose links to files of the repository lead to its address, or are no links; so do its images."""
    text = IMAGE.sub(rf"![\1]({address}/raw/main/\2)\n\n" if address else "", text)
    return LINK.sub(rf"[\1]({address}/blob/main/\2)" if address else r"\1", text)
