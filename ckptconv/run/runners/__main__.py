"""The child process: `python -m ckptconv.run.runners NAME FOLDER...` reads jobs, and leaves the answers there.

    ROOT/0/1/...  the folder of the run, of this child, of its job; the run removes ROOT, or the child if it cannot

    job.json      what `ckptconv.run.children.write_job` writes
    probes.npz    PROBE.INPUT -> integers or floats, the first axis counts rows
    answers.npz   see `ckptconv.run.children.Answer`
    answers.json  framework, versions, problems, settings, generation, texts, endings, reached;
                  or `unavailable`, `failed`, `refused`: why

The framework is imported at once; the jobs can be read when `JOBS` comes in by stdin and begin when `TURN` does,
float64 when `ROOM` does, and the process ends when stdin does.
Several jobs pay the framework's start-up once; one that fails is said in its own folder, and the next begins.
Exit code 0: answered. 3: the framework cannot be imported. 4: the user's inputs are refused. Anything else: it failed,
and said why.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from ckptconv.base.errors import SourceError
from ckptconv.base.memory import give_back
from ckptconv.base.strict_json import read_json
from ckptconv.compare.configs import METADATA
from ckptconv.run.endings import ending, without_start
from ckptconv.run.modalities import MODALITIES, Example
from ckptconv.run.phases import FORWARD, SEARCH, tell_into, teller
from ckptconv.run.runners import JOBS, ROOM, RUNNERS, TURN, Array, Batch, Runner, Session
from ckptconv.run.runners._fence import fence
from ckptconv.run.runners._imports import lean_imports
from ckptconv.run.runners._listening import listener
from ckptconv.run.runners._margins import OwnMargins, rules_of
from ckptconv.run.token_ids import unnamed_tokens
from ckptconv.run.yardstick import LOOSE, Places, difference

UNAVAILABLE, REFUSED = 3, 4
UNABLE = (AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError)
"""What a class that cannot generate raises. Not what a lack of memory does: RuntimeError, MemoryError."""
RUN_PREFIX = "ckptconv-"
"""How the name of a run's folder begins; nothing else is ever removed."""


def _listen_to_the_parent(folder: Path) -> dict[bytes, threading.Event]:
    """Return what is set when the parent says that this child may go on, and end it when its end of stdin closes.

    A parent that was killed could not remove its folder; the child does.
    """
    permits = {permit: threading.Event() for permit in (JOBS, TURN, ROOM)}

    def watch() -> None:
        # not sys.stdin: its lock would be held when Python ends
        while (permit := os.read(0, 1)) in permits:
            permits[permit].set()
        if folder.name.startswith(RUN_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    return permits


def _version(distribution: str) -> str:
    """Return an installed version; `tensorflow` may have come as another distribution, such as tensorflow-cpu."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(distribution), "__version__", "unknown"))


def _probes(job: Path) -> dict[str, dict[str, Array]]:
    """Return probe name -> input name -> array."""
    probes: dict[str, dict[str, Array]] = {}
    with np.load(job / "probes.npz", allow_pickle=False) as arrays:
        for key in arrays.files:
            probe, _, name = key.partition(".")
            probes.setdefault(probe, {})[name] = arrays[key]
    return probes


def after_start(
    sequences: Array, prompt: Sequence[int], ends: Collection[int], length: int
) -> Array:
    """Return the tokens after the start tokens, shape (rows, length), -1 after the first of `ends`.

    Classes differ in what comes before and after: Whisper's answer in PyTorch lacks the start tokens; PyTorch and TF
    stop when all rows have ended, Flax pads on to the full length.
    """
    begin = sequences[:, : len(prompt)]
    skipped = len(prompt) if np.array_equal(begin, [list(prompt)] * len(sequences)) else 0
    tokens = np.full((len(sequences), length), -1, np.int64)
    for row, sequence in zip(tokens, sequences[:, skipped : length + skipped], strict=True):
        stops = np.flatnonzero(np.isin(sequence, list(ends)))
        stop = int(stops[0]) + 1 if len(stops) else len(sequence)
        row[:stop] = sequence[:stop]
    return tokens


@dataclass(frozen=True, slots=True)
class Arrays:
    """The arrays of an answer, written as they come, as `np.savez` writes them: memory holds those of one probe."""

    archive: ZipFile

    def write(self, arrays: Mapping[str, Array]) -> None:
        """Add arrays to the file. Raises: OSError: it cannot be written. ValueError: one holds objects of Python."""
        for name, array in arrays.items():
            with self.archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


@dataclass(frozen=True, slots=True)
class Questions:
    """One job as the child reads it."""

    runner: Runner
    job: Mapping[str, Any]
    probes: Mapping[str, Batch]
    """The parent's; those of examples come besides."""
    room: threading.Event
    """Set when float64 may be loaded."""

    @property
    def checkpoint(self) -> Path:
        """What is loaded."""
        return Path(self.job["checkpoint"])

    @property
    def places(self) -> Places:
        """How this model's inputs become places."""
        return Places(MODALITIES[self.job["modality"]], self.job["facts"])

    def answer(self, arrays: Arrays) -> dict[str, Any]:
        """Write the arrays and return the report that the job asks for; a model a precision, one after the other."""
        examples = self._examples()
        arrays.write(
            {
                f"inputs/{probe}.{name}": array
                for probe, batch in examples.items()
                for name, array in batch.items()
            }
        )
        probes = {**self.probes, **examples}
        teller().expect(len(probes), len(self.job["generate"]), self.job["precisions"])
        report: dict[str, Any] = {}
        searched: dict[str, Array] = {}
        for precision in self.job["precisions"]:
            if precision == "float64":
                self.room.wait()
            self.runner.use_threads(self.job["threads"] if precision == "float32" else None)
            session = self.runner.load(self.checkpoint, precision, self.job["model_class"])
            give_back()
            if precision == "float32":
                report = self._report(session)
            self._probe(session, precision, probes, arrays, report)
            searched |= self._search(session, precision, probes, searched, report)
            del session  # before the next is loaded
            give_back()
        arrays.write(searched)
        return report

    def _examples(self) -> dict[str, dict[str, Array]]:
        """Return the probes that the job's examples make."""
        if not self.job["examples"]:
            return {}
        examples = [Example(**fields) for fields in self.job["examples"]]
        return self.places.modality.encoded(self.checkpoint, examples, self.job["facts"])

    def _probe(
        self,
        session: Session,
        precision: str,
        probes: Mapping[str, Batch],
        arrays: Arrays,
        report: dict[str, Any],
    ) -> None:
        """Answer every probe in one precision, into arrays and report."""
        places = self.places
        # In float64, where no gradient is too small.
        measures = self.job["coverage"] and precision == "float64"
        reach = session.reach(places.valid) if measures else None
        for number, (probe, batch) in enumerate(probes.items(), 1):
            step = f"probe {probe} ({number} of {len(probes)})"
            teller().begin(precision, step, FORWARD.get(precision, 1.0))
            answered = (reach or session).forward(batch, places.wants_maps(batch))
            arrays.write({f"{precision}/{probe}/{name}": array for name, array in answered.items()})
        if reach:
            report["reached"] = reach.reached()

    def _search(
        self,
        session: Session,
        precision: str,
        probes: Mapping[str, Batch],
        single: Mapping[str, Array],
        report: dict[str, Any],
    ) -> dict[str, Array]:
        """Return what every search gives in one precision; what cannot be made is reported.

        Args: single: what the searches gave in float32.
        """
        arrays: dict[str, Array] = {}
        for name, settings in self.job["generate"].items():
            teller().begin(precision, f"search {name}", SEARCH)
            search = SearchRun(session, name, settings, self.job["facts"])
            batch = probes[str(self.job["generate_from"])]
            inputs = self.places.modality.generation_inputs(batch)
            if precision == "float32":
                try:
                    arrays |= search.generate(inputs)
                except UNABLE as error:
                    report["unable"][name] = f"{type(error).__name__}: {error}".splitlines()[0]
            elif f"{name}/tokens" in single:
                arrays |= search.judge(inputs, single)
        return arrays

    def _report(self, session: Session) -> dict[str, Any]:
        """Return what is to be known of a model, and its answers to texts."""
        return {
            "problems": session.problems,
            "settings": session.settings,
            "generation": session.generation,
            **self._texts(session),
            "unable": {},
        }

    def _texts(self, session: Session) -> dict[str, Any]:
        """Generate for texts with the checkpoint's own tokenizer and generation config; see `Answer`."""
        if not self.job["texts"]:
            return {"texts": [], "endings": []}
        modality = self.places.modality
        inputs, tokenizer = modality.answered(self.checkpoint, self.job["texts"], self.job["facts"])
        completed = self._completed(session)
        tokens = session.generate(inputs, completed)
        if tokens is None:
            raise NotImplementedError(f"{self.runner.name} cannot generate")
        settings = completed or session.generation
        rows = [[int(token) for token in row] for row in tokens]

        def spelled(ids: Sequence[int]) -> list[str]:
            shown = [token for token in ids if token not in tokenizer.all_special_ids]
            return [str(word) for word in tokenizer.convert_ids_to_tokens(shown)]

        answers = [without_start(row, settings) for row in rows]
        return {
            "texts": tokenizer.batch_decode(answers, skip_special_tokens=True),
            "endings": [asdict(ending(row, settings, spelled)) for row in rows],
        }

    def _completed(self, session: Session) -> dict[str, Any] | None:
        """Return the model's own settings with the tokens that they leave open; None where they name them all.

        An artefact has its settings built in.
        """
        absent = unnamed_tokens(session.generation) if self.job["model_class"] else ()
        if not absent:
            return None
        own = {key: value for key, value in session.generation.items() if key not in METADATA}
        greedy = self.job["generate"]["greedy"]
        return own | {key: greedy[key] for key in absent}


@dataclass(frozen=True, slots=True)
class SearchRun:
    """One generation, by settings that are the same for all sides."""

    session: Session
    name: str
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def beams(self) -> int:
        """Beams of the search; 1 for a greedy one."""
        return int(self.settings.get("num_beams", 1))

    @property
    def is_own(self) -> bool:
        """True where the model's own settings count."""
        return bool(self.settings.get("own"))

    def generate(self, inputs: Batch) -> dict[str, Array]:
        """Generate in float32: the tokens, and of a greedy search the logits of its cached steps.

        A row counts up to its end, or up to the padding token: after that one, a RoBERTa's cached steps have other
        positions than its full pass, in PyTorch itself.
        """
        if self.is_own:
            sequences = self._own(inputs)
            return {} if sequences is None else {f"{self.name}/tokens": self._cut(sequences)}
        heard = listener(self.beams)
        sequences = self.session.generate(self._rows(inputs), self.settings, heard)
        if sequences is None:
            return {}
        tokens = self._cut(sequences)
        if self.beams > 1:
            return {f"{self.name}/tokens": tokens[:1]}
        return {f"{self.name}/tokens": tokens, f"float32/{self.name}/cached": heard.stacked()}

    def _own(self, inputs: Batch, heard: OwnMargins | None = None) -> Array | None:
        """Search by the model's own settings, with the beams that are asked for, if any are."""
        beams = self.settings.get("beams")
        if beams is None:
            return self.session.generate(inputs, None, heard)
        return self.session.generate_beams(inputs, int(beams), heard)

    def judge(self, inputs: Batch, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Say in float64 what the search should have met.

        Logits of a full pass without a cache, a beam search's margins, or the tokens and margins of the model's own.
        """
        if self.is_own:
            followed = OwnMargins(rules_of(self.session.generation, self.settings.get("beams")))
            sequences = self._own(inputs, followed)
            assert sequences is not None
            margins = {f"{self.name}/margins": followed.stacked()}
            return {f"{self.name}/exact": self._cut(sequences), **margins}
        if self.beams > 1:
            heard = listener(self.beams)
            self.session.generate(self._rows(inputs), self.settings, heard)
            return {f"{self.name}/margins": heard.stacked()[:1]}
        steps = arrays[f"float32/{self.name}/cached"].shape[1]
        tokens = arrays[f"{self.name}/tokens"][:, :steps]
        fed = np.where(tokens < 0, self.settings["pad_token_id"], tokens)[:, :-1]
        ids = np.concatenate([np.tile(self._prompt, (len(tokens), 1)), fed], axis=1)
        whole = {"decoder_input_ids": ids, "decoder_attention_mask": np.ones_like(ids)}
        logits = self.session.forward({**inputs, **whole})["logits"][:, len(self._prompt) - 1 :]
        counts, single = tokens >= 0, arrays[f"float32/{self.name}/cached"]
        if not difference(single[counts], logits[counts]).relative > LOOSE:
            return {f"float64/{self.name}/cached": logits}
        own = self._own_steps(inputs, tokens)
        if own is None or own.shape != logits.shape:
            return {f"float64/{self.name}/cached": logits}
        return {
            f"float64/{self.name}/cached": own,
            f"{self.name}/own_steps": np.ones(1, np.int64),
        }

    def _own_steps(self, inputs: Batch, tokens: Array) -> Array | None:
        """Return the logits of cached steps in float64; None where they choose other tokens.

        A class's cached steps may compute something else than its full pass: ProphetNet's do. What a conversion owes
        is what the class computes.
        """
        heard = listener(self.beams)
        sequences = self.session.generate(inputs, self.settings, heard)
        if sequences is None:
            return None
        same = np.array_equal(self._cut(sequences)[:, : tokens.shape[1]], tokens)
        return heard.stacked() if same else None

    @property
    def _prompt(self) -> list[int]:
        """The decoder's start tokens."""
        return self.facts.get("prompt") or [int(self.facts["start"])]

    def _cut(self, sequences: Array) -> Array:
        """Return the new tokens of an answer; of the model's own search as many as there are."""
        length = int(self.settings.get("max_new_tokens", sequences.shape[1]))
        ends = np.ravel([self.settings["eos_token_id"], self.settings["pad_token_id"]])
        return after_start(sequences, self._prompt, ends.tolist(), length)

    def _rows(self, inputs: Batch) -> Batch:
        """Return the inputs; for a beam search the first row alone.

        When a batch's search ends is decided row by row in PyTorch, and for all rows at once in TF and Flax, which
        may change an answer. A framework that has compiled as many rows gets the row as often: equal rows end together.
        """
        if self.beams == 1:
            return inputs
        return {
            name: np.repeat(array[:1], len(array) if self.session.compiles else 1, axis=0)
            for name, array in inputs.items()
        }


def main(name: str, *folders: str) -> int:
    """Answer the jobs in `folders`; return the exit code."""
    jobs, runner = [Path(folder) for folder in folders], RUNNERS[name]
    permits = _listen_to_the_parent(jobs[0].absolute().parents[1])
    tell_into(jobs[0].absolute().parent)
    os.environ.update(runner.process.environment)

    def asked() -> list[dict[str, Any]]:
        permits[JOBS].wait()
        return [read_json(job / "job.json") for job in jobs]

    try:
        questions = _import(runner, asked)
    except (ImportError, AttributeError) as error:
        permits[JOBS].wait()
        (jobs[0] / "answers.json").write_text(
            json.dumps({"framework": name, "unavailable": str(error)})
        )
        return UNAVAILABLE
    permits[TURN].wait()
    for job, question in zip(jobs, questions, strict=True):
        try:
            _answer_in(job, Questions(runner, question, _probes(job), permits[ROOM]))
        except Exception as error:
            if len(jobs) == 1:
                if isinstance(error, SourceError):
                    (job / "answers.json").write_text(json.dumps({"refused": str(error)}))
                    return REFUSED
                raise
            failed = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            (job / "answers.json").write_text(json.dumps({"framework": name, "failed": failed}))
    return 0


def _import(runner: Runner, asked: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Import what a runner needs, and what the jobs name, which are waited for meanwhile; return the jobs.

    What is imported stays, so nobody looks for cycles in it: that is a fifth of the time that PyTorch's takes.
    Raises ImportError, AttributeError: it is not there.
    """
    process = runner.process
    gc.disable()
    if process.fence:
        fence(process.fence)
    sys.modules.update(dict.fromkeys(process.hidden))  # type: ignore[arg-type]  # None: as if it were not installed
    with lean_imports():
        for module in process.modules:
            import_module(module)
        questions = asked()
        for model_class in sorted({str(question["model_class"]) for question in questions}):
            runner.require(model_class)
    gc.freeze()
    gc.enable()
    return questions


def _answer_in(job: Path, questions: Questions) -> None:
    """Answer one job in its folder."""
    with ZipFile(job / "answers.npz", "w") as archive:
        report = questions.answer(Arrays(archive))
    process = questions.runner.process
    report |= {
        "framework": questions.runner.name,
        "versions": {name: _version(name) for name in process.distributions},
        "loaded": sorted(
            module for module in ("torch", "tensorflow", "jax") if sys.modules.get(module)
        ),
    }
    (job / "answers.json").write_text(json.dumps(report, default=str))


if __name__ == "__main__":
    status = main(*sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(
        status
    )  # the answers are written; to take a framework down would cost another half second
