"""What a batch is to do: a TOML file, or a pattern of directories.

    [defaults]
    command = "pt2tf"

    [[conversion]]
    source = "models/*"
    target = "converted/{name}-tf"

Paths are those of the working directory, as on the command line. A pattern stands for every directory with a
config.json that it matches, and `{name}` for the last part of its path. Every value is held against what the verb
takes, by the verb's own check, before the first conversion begins.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from glob import glob
from pathlib import Path
from typing import Any, get_args

from ckptconv.base.errors import SourceError, UsageError, is_blank, one_line
from ckptconv.base.files import limits, more, read_source, require_file, why_no_file
from ckptconv.base.presence import is_file, lies_at
from ckptconv.base.strict_json import in_words
from ckptconv.batches.task import Task
from ckptconv.stores.hub import is_address
from ckptconv.verbs.convert import DIRECTIONS, OWN_OPTIONS, WriteOptions, way_of
from ckptconv.verbs.verify import Level, require_arguments

NAME = "{name}"
COMMANDS = (*DIRECTIONS, "verify")
WRITING: dict[str, Any] = {
    "dtype": str,
    "max_shard_bytes": int,
    "allow_overflow": bool,
}
"""Options of every conversion, as `WriteOptions` names them -> their types."""
CONVERSION: dict[str, dict[str, Any]] = {
    **{command: WRITING | dict(OWN_OPTIONS.get(command, {})) for command in DIRECTIONS},
    "verify": {"positions": str},
}
"""Command -> options of its conversion -> their types."""
VERIFICATION: dict[str, Any] = {
    "seed": int,
    "texts": list,
    "inputs": str,
    "min_coverage": (int, float),
    "timeout": (int, float),
}
"""Options of every verification -> their types."""
OWN: dict[str, Any] = {
    "command": str,
    "source": str,
    "target": str,
    "level": str,
    "overwrite": bool,
}
TYPES = {str: "a string", int: "an integer", bool: "a boolean", list: "a list of strings"}
LEVELS = get_args(Level)
KEYS = ("defaults", "conversion")
MAX_TASKS = 100_000
NO_PLAN = (
    "A plan is a TOML file with a table [[conversion]] for each conversion; for a pattern of checkpoints, give"
    " --to 'out/{name}'."
)
"""What to give where there is no plan."""


def read_plan(path: Path) -> tuple[Task, ...]:
    """Return the conversions of a TOML file, patterns expanded.

    Raises: SourceError: it cannot be read. UsageError: it asks for what makes no sense; every problem is listed.
    """
    require_file(path, NO_PLAN)
    most = limits().json_bytes
    raw = read_source(path, most + 1)
    if len(raw) > most:
        raise SourceError(f"{path}: more than {most} bytes of TOML; {more('json_bytes')}")
    try:
        values = tomllib.loads(raw.decode())
    except UnicodeDecodeError:
        raise SourceError(f"{path}: is not TOML: it is not a text in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: is not TOML: {one_line(str(error))[:200]}") from None
    return _required(str(path), _tasks(values))


def pattern_plan(
    pattern: str, target: str, command: str, level: str, *, overwrite: bool = False
) -> tuple[Task, ...]:
    """Return the conversions of every checkpoint that a pattern matches.

    Raises: UsageError: it matches none, or the targets are not apart.
    """
    entry = {
        "source": pattern,
        "target": target,
        "command": command,
        "level": level,
        "overwrite": overwrite,
    }
    return _required(pattern, _tasks({"conversion": [entry]}))


def _required(what: str, items: Iterable[Task | str]) -> tuple[Task, ...]:
    """Return the tasks, unless there are problems among them or between them. Raises UsageError."""
    tasks: list[Task] = []
    problems: list[str] = []
    for item in items:
        if isinstance(item, Task):
            tasks.append(item)
        else:
            problems.append(item)
    problems += _clashes(tasks)
    if not tasks and not problems:
        problems = ["no [[conversion]] in it"]
    if problems:
        lines = "".join(f"\n  {one_line(problem)}" for problem in problems)
        raise UsageError(f"{what}: nothing was converted.{lines}")
    return tuple(tasks)


def _tasks(values: Mapping[str, Any]) -> Iterator[Task | str]:
    """Return the tasks of a plan, and a sentence for each problem."""
    yield from (_unknown(key, KEYS, "the plan") for key in values if key not in KEYS)
    defaults, entries = values.get("defaults", {}), values.get("conversion", [])
    if not isinstance(defaults, dict):
        yield "defaults: write a table, [defaults]"
        return
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        yield "conversion: write a list of tables, [[conversion]]"
        return
    count = 0
    for number, entry in enumerate(entries, 1):
        where = f"conversion {number}"
        problems = list(_problems(where, {**defaults, **entry}, entry))
        if problems:
            yield from problems
            continue
        for item in _expanded(where, {**defaults, **entry}):
            count += 1
            if count > MAX_TASKS:
                yield f"more than {MAX_TASKS} conversions"
                return
            yield item


def _problems(where: str, values: Mapping[str, Any], entry: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with the keys of one conversion; a default for other commands is none."""
    for key in ("command", "source", "target"):
        if key not in values:
            yield f"{where}: has no {key}"
    command = values.get("command")
    if "command" in values and command not in COMMANDS:
        yield f"{where}: command {in_words(command)} is not one of {', '.join(COMMANDS)}"
        return
    options = CONVERSION.get(str(command), {}) | VERIFICATION
    kinds = OWN | options
    every = set(OWN).union(VERIFICATION, *CONVERSION.values())
    for key, value in values.items():
        if key not in kinds:
            if key in entry or key not in every:
                yield _unknown(key, kinds, where)
        elif not _is_a(value, kinds[key]):
            yield f"{where}: {key} = {in_words(value)} is not {_kind(kinds[key])}"
        elif refusal := _refusal(key, values):
            yield f"{where}: {refusal}"


def _refusal(key: str, values: Mapping[str, Any]) -> str:
    """Return why the verb would refuse a value of the right type; empty where it takes it."""
    value, command = values[key], str(values.get("command"))
    if is_blank(value) or (isinstance(value, str) and "\0" in value):
        return f"{key} = {value!r} is {'empty' if is_blank(value) else 'not a name'}"
    if key == "target" and command != "verify" and is_address(value):
        return f"target: {value}: an address can be read, not written"
    if key == "inputs":
        why = why_no_file(value)
        return f"inputs: {value}: {why}" if why else ""
    level = values.get("level", "outputs")
    try:
        if key in WRITING:
            WriteOptions(**{key: value})
        elif key in OWN_OPTIONS.get(command, {}):
            way_of(command, **{key: value})
        elif key == "min_coverage" and level in LEVELS:
            require_arguments(level, min_coverage=value)
        elif key not in OWN or key == "level":
            require_arguments(**{key: value})
    except UsageError as error:
        return str(error)
    return ""


def _is_a(value: object, kind: Any) -> bool:
    if kind is list:
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind)


def _kind(kind: Any) -> str:
    return "a number" if isinstance(kind, tuple) else TYPES[kind]


def _unknown(key: str, choices: Iterable[str], where: str) -> str:
    near = get_close_matches(key, choices := list(choices), n=1)
    advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(choices)}"
    return f"{where}: no key {key!r}; {advice}"


def _expanded(where: str, values: Mapping[str, Any]) -> Iterator[Task | str]:
    """Return the tasks of one conversion, one for each directory that its pattern matches."""
    source, target, command = values["source"], values["target"], values["command"]
    options = CONVERSION[command] | VERIFICATION
    chosen = {key: value for key, value in values.items() if key in options}
    level, overwrite = values.get("level", "outputs"), values.get("overwrite", False)
    if not any(character in source for character in "*?[") or lies_at(source):
        name = os.path.basename(source.rstrip("/"))  # noqa: PTH119  # a name of the hub is no path
        yield Task(command, source, target.replace(NAME, name), level, chosen, overwrite)
        return
    folders = [path for path in sorted(glob(source)) if is_file(Path(path, "config.json"))]  # noqa: PTH207
    if not folders:
        yield f"{where}: {source} matches no directory with a config.json"
    if len(folders) > 1 and NAME not in target:
        yield f"{where}: {len(folders)} checkpoints and one target; write {NAME} in it"
        return
    for folder in folders:
        name = os.path.basename(folder.rstrip("/"))  # noqa: PTH119
        yield Task(command, folder, target.replace(NAME, name), level, chosen, overwrite)


def _clashes(tasks: Iterable[Task]) -> Iterator[str]:
    """Say which targets are written twice, or read by another conversion: a batch has no order."""
    tasks, targets, keys = list(tasks), dict[str, Task](), set[str]()
    for task in tasks:
        place = os.path.realpath(task.target)
        if place in targets and (task.command, targets[place].command) != ("verify", "verify"):
            yield f"{task.target}: is the target of two conversions"
        elif task.key in keys:
            yield f"{task}: stands there twice"
        targets.setdefault(place, task)
        keys.add(task.key)
    written = {place for place, task in targets.items() if task.command != "verify"}
    for place in sorted(written):
        above = written.intersection(map(str, Path(place).parents))
        if above:
            yield f"{targets[place].target}: lies in {targets[max(above)].target}, which another conversion writes"
    for task in tasks:
        place = os.path.realpath(task.source)
        places = written.intersection((place, *map(str, Path(place).parents)))
        if places and os.path.realpath(task.target) not in places:
            yield (
                f"{task.source}: is read by one conversion and written by another; "
                "give them two batches"
            )
