"""Runs cells in a real kernel and prints what each shows: `python notebook.py CELL...` gives JSON.

A process of its own, since the client leaves sockets open that a strict test run takes for a fault.
"""

from __future__ import annotations

import json
import os
import sys
from tempfile import TemporaryDirectory
from typing import Any


def run(cells: list[str]) -> list[dict[str, Any]]:
    """Return for each cell its last output: type -> text."""
    import nbclient
    import nbformat
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class Here(KernelSpecManager):  # type: ignore[misc]
        """One kernel: this Python, with this environment."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            """Return it, whatever it is called."""
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=command, display_name="here", language="python")

    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    notebook = nbformat.v4.new_notebook(cells=made)
    manager = AsyncKernelManager(kernel_name="here", kernel_spec_manager=Here())
    nbclient.NotebookClient(notebook, km=manager, timeout=120).execute()
    return [_shown(cell.outputs) for cell in notebook.cells]


def _shown(outputs: list[Any]) -> dict[str, Any]:
    """Return the last output of a cell; where it is none but what was printed, name of the stream -> its text."""
    if outputs[-1].output_type != "stream":
        return dict(outputs[-1].data)
    names = {output.name for output in outputs}
    return {name: "".join(part.text for part in outputs if part.name == name) for name in names}


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        os.environ["IPYTHONDIR"] = os.environ["JUPYTER_CONFIG_DIR"] = folder
        sys.stdout.write(json.dumps(run(sys.argv[1:])))
