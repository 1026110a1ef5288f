"""A progress bar for Python: in a notebook as the notebook draws bars, elsewhere on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ckptconv.base.errors import one_line
from ckptconv.run.phases import Phases, listening


@contextmanager
def progress_bar(label: str = "") -> Iterator[Callable[[int, int], None]]:
    """Give what verbs take as `progress`; within the block it is drawn as a bar.

    While `verify` runs the models, the bar says which framework, precision, probe and layer, and the time left. It is
    a widget in a notebook that has ipywidgets, and text otherwise.

        with ckptconv.progress_bar() as bar:
            ckptconv.verify("dates", "dates-tf", progress=bar)

    Args: label: what stands before the bar.
    """
    bar = _bar(label)

    def advance(done: int, total: int) -> None:
        bar.total = total or None
        bar.update(done - bar.n)

    def say(phases: Phases) -> None:
        bar.set_postfix_str(one_line(str(phases)))

    try:
        with listening(say):
            yield advance
    finally:
        bar.close()


def _bar(label: str) -> Any:
    settings = {"desc": label or None, "unit": "B", "unit_scale": True}
    # Without ipywidgets tqdm.auto draws text as well, and a warning above it.
    module = "tqdm.auto" if find_spec("ipywidgets") else "tqdm"
    return import_module(module).tqdm(**settings)
