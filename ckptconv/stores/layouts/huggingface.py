"""transformers' own layout: `config.json`, and beside it weights in one file, or shards and their index.

Source: transformers 4.57.6, `from_pretrained` of the three frameworks for which file comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from ckptconv.base.errors import SourceError
from ckptconv.base.files import START_BYTES, kind_of, read_source
from ckptconv.base.presence import is_file, lies_at
from ckptconv.base.weight_names import FILE_NAMES
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.formats import FORMAT_TAGS, FORMATS, Contents, Format
from ckptconv.stores.layouts import Layout, Weights


def weights_name(form: Format) -> str:
    """Return the file name of weights in one file, such as `model.safetensors`."""
    return FILE_NAMES[form.name]


def index_name(form: Format) -> str:
    """Return the file name of the index of shards."""
    return _index_of(weights_name(form))


def _index_of(weights: str) -> str:
    return f"{weights}.index.json"


def shard_name(form: Format, number: int, count: int) -> str:
    """Return the file name of shard `number` (from 1) of `count`."""
    stem, _, suffix = weights_name(form).rpartition(".")
    return f"{stem}-{number:05d}-of-{count:05d}.{suffix}"


def shard_names(form: Format, count: int) -> list[str]:
    """Return the file names of weights in `count` files."""
    if count == 1:
        return [weights_name(form)]
    return [shard_name(form, number, count) for number in range(1, count + 1)]


def every_name() -> Iterator[str]:
    """Return the file names under which transformers looks for weights: in one file, or an index of shards."""
    for weights in FILE_NAMES.values():
        yield weights
        yield _index_of(weights)


def read_ahead(*checkpoints: Path | str | None) -> None:
    """Start the process that reads HDF5 where a directory has such weights: it takes as long to start as all imports.

    What goes wrong here goes wrong again for whoever reads the file, and is a refusal there.
    """
    names = (FILE_NAMES["hdf5"], _index_of(FILE_NAMES["hdf5"]))
    folders = [folder for folder in checkpoints if isinstance(folder, Path)]  # and no address
    with suppress(OSError, SourceError):
        if any(is_file(folder / name) for folder in folders for name in names):
            from ckptconv.stores.formats.hdf5 import start

            start()


def format_of(name: str) -> Format | None:
    """Return the format that a weights file is written in, by its suffix; None: ckptconv writes no such file."""
    suffix = Path(name).suffix
    writable = (form for form in FORMATS.values() if form.create is not None)
    return next((form for form in writable if weights_name(form).endswith(suffix)), None)


def first_choice(files: Collection[str], naming: NamingName | None) -> tuple[Format, str] | None:
    """Return format and file name (weights, or index of shards) of what to download of some files; None: nothing.

    A format that holds only the naming's own weights comes first for TF and Flax, safetensors for PyTorch, and
    where no naming is asked for, PyTorch's formats come before the others.
    """
    choices = [
        (form, name)
        for form in FORMATS.values()
        if naming is None or naming in form.namings
        for name in (weights_name(form), index_name(form))
        if name in files
    ]
    return min(choices, key=lambda choice: _download_rank(choice[0], naming), default=None)


def _download_rank(form: Format, naming: NamingName | None) -> tuple[bool, bool, str]:
    own = form.name != "safetensors"
    first = not own if naming in ("tf", "flax") else own
    return first, "pytorch" not in form.namings, form.name


def preference(weights: Weights) -> tuple[bool, str]:
    """Order of the classes in transformers 4.57.6: safetensors first, but Flax takes msgpack first."""
    return (weights.format.name != "safetensors") != (weights.naming == "flax"), weights.format.name


def present(folder: Path, naming: NamingName) -> bool:
    """Tell whether a directory has weights of a framework, among others or alone."""
    return any(weights.naming == naming for weights in read(folder))


def read(folder: Path) -> Iterator[Weights]:
    """Open every set of weights in a directory; see `Layout.read`."""
    for name, weights in FILE_NAMES.items():
        single, index = folder / weights, folder / _index_of(weights)
        # What is no file, or a link that leads nowhere, is refused when it is opened.
        if lies_at(single):
            form = FORMATS[name]
            if _is(form, single):
                contents = form.read(single)
                yield Weights(
                    form,
                    _naming(form, contents),
                    (single,),
                    contents.tensors,
                    notices=contents.notices,
                )
        elif lies_at(index):
            yield from _sharded(FORMATS[name], index)


def read_file(path: Path) -> Weights:
    """Open one file of tensors, whatever it is called.

    Raises: SourceError: of no format that is read, or malformed.
    """
    kind = kind_of(read_source(path, START_BYTES))
    by_suffix = {Path(FILE_NAMES[form]).suffix: form for form in reversed(list(FILE_NAMES))}
    name = kind.form if kind and kind.form else by_suffix.get(path.suffix, "")
    if not name:
        what = kind.name if kind else "a file of no known format"
        suffixes = ", ".join(sorted(set(by_suffix)))
        raise SourceError(f"{path}: {what}; tensors are read from {suffixes}.")
    form = FORMATS[name]
    contents = form.read(path)
    naming = _naming(form, contents)
    return Weights(form, naming, (path,), contents.tensors, notices=contents.notices)


def _is(form: Format, path: Path) -> bool:
    """Tell formats apart that share a file name; a file of no known beginning goes to the first."""
    rivals = [FORMATS[name] for name, own in FILE_NAMES.items() if own == weights_name(form)]
    if len(rivals) == 1:
        return True
    start = read_source(path, 16)
    chosen = [rival for rival in rivals if rival.magic and start.startswith(rival.magic)]
    return form is (chosen or rivals)[0]


def _naming(form: Format, contents: Contents) -> NamingName:
    """Return whose names a file holds: the format says, or safetensors' metadata; PyTorch's without any."""
    if len(form.namings) == 1:
        return form.namings[0]
    tag = contents.metadata.get("format")
    return next((naming for naming, own in FORMAT_TAGS.items() if own == tag), "pytorch")


def _sharded(form: Format, index: Path) -> Iterator[Weights]:
    """Open the shards that an index names, and check the index against them."""
    from ckptconv.stores.parsers.shard_index import read_index

    listing = read_index(index)
    files = tuple(index.parent / name for name in listing.files)
    listing.require_files(weights_name(form))
    if not _is(form, files[0]):
        return
    contents = {file.name: form.read(file) for file in files}
    naming = _naming(form, next(iter(contents.values())))
    listing.require_agreement(naming, contents)
    tensors = {
        name: stored for shard in contents.values() for name, stored in shard.tensors.items()
    }
    notices = tuple(notice for shard in contents.values() for notice in shard.notices)
    yield Weights(form, naming, files, tensors, (index,), notices=notices)


LAYOUT = Layout("huggingface", read, rank=0)
