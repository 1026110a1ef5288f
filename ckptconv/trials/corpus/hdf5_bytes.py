"""HDF5 files whose bytes were changed: places, the superblock, and what stands before and behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ckptconv.stores.formats import hdf5
from ckptconv.trials.corpus._hdf5 import NAME, case


def place(path: Path) -> int:
    """Return where the first data set lies [bytes]."""
    return hdf5.read(path).tensors[NAME].extents[0].offset


def _at(change: Callable[[int, int], int]) -> Callable[[Path], bytes]:
    """Return what moves the place of the first data set; `change` gets the place and the length of the file."""

    def make(path: Path) -> bytes:
        data, here = path.read_bytes(), place(path)
        return data.replace(
            here.to_bytes(8, "little"), change(here, len(data)).to_bytes(8, "little"), 1
        )

    return make


def _word(at: int, value: int, nbytes: int = 8) -> Callable[[Path], bytes]:
    """Return what overwrites a number of the superblock."""

    def make(path: Path) -> bytes:
        data = bytearray(path.read_bytes())
        data[at : at + nbytes] = value.to_bytes(nbytes, "little")
        return bytes(data)

    return make


_NONE = (1 << 64) - 1
_READ = "not a readable HDF5 file of weights"
_BEGIN = "it does not begin as one"
# name, what a reader that does not look would do, what the refusal says, the file made of a sound one
_TABLE: tuple[tuple[str, str, str, Callable[[Path], bytes]], ...] = (
    (
        "data-past-the-end",
        "memory past the file",
        "cut short: its data ends|not a readable",
        _at(lambda here, size: size),
    ),
    (
        "data-far-past-the-end",
        "memory past the file",
        "cut short: its data ends|not a readable",
        _at(lambda here, size: 1 << 60),
    ),
    (
        "data-in-the-header",
        "the header as weights",
        "shares bytes with something else",
        _at(lambda here, size: 8),
    ),
    (
        "data-in-the-next",
        "one tensor in two places",
        "shares bytes with something else",
        _at(lambda here, size: here + 8),
    ),
    ("superblock-9", "an unknown form", _READ, _word(8, 9, 1)),
    ("addresses-of-3-bytes", "an unknown form", _READ, _word(13, 3, 1)),
    ("lengths-of-0-bytes", "an unknown form", _READ, _word(14, 0, 1)),
    ("end-too-late", "a download that stopped", _READ, _word(40, 1 << 50)),
    ("end-too-early", "bytes that nobody sees", _READ, _word(40, 512)),
    ("base-address", "places that are moved", _READ, _word(24, 4096)),
    ("root-outside", "memory past the file", _READ, _word(64, 1 << 50)),
    ("root-nowhere", "memory past the file", _READ, _word(64, _NONE)),
    ("root-in-the-data", "weights as a header", _READ, lambda path: _word(64, place(path))(path)),
    ("user-block", "two files in one", _BEGIN, lambda path: bytes(512) + path.read_bytes()),
    (
        "script-first",
        "two files in one",
        _BEGIN,
        lambda path: b"#!/bin/sh\n".ljust(512, b"\n") + path.read_bytes(),
    ),
    (
        "cut-in-half",
        "a download that stopped",
        _READ,
        lambda path: path.read_bytes()[: path.stat().st_size // 2],
    ),
    ("one-byte-less", "a download that stopped", _READ, lambda path: path.read_bytes()[:-1]),
    ("signature-alone", "a download that stopped", _READ, lambda path: hdf5.SIGNATURE),
    ("superblock-alone", "a download that stopped", _READ, lambda path: path.read_bytes()[:96]),
    (
        "signature-and-zeros",
        "a disk that lost it",
        _READ,
        lambda path: hdf5.SIGNATURE.ljust(4096, b"\0"),
    ),
    (
        "signature-and-ones",
        "a disk that lost it",
        _READ,
        lambda path: hdf5.SIGNATURE.ljust(4096, b"\xff"),
    ),
    ("empty-file", "a download that never began", "found an empty file", lambda path: b""),
    ("zeros", "a disk that lost it", _BEGIN, lambda path: bytes(4096)),
    (
        "git-lfs-pointer",
        "no weights at all",
        "found a Git LFS pointer",
        lambda path: b"version https://git-lfs.github.com/spec/v1\n",
    ),
    (
        "web-page",
        "no weights at all",
        "found a page of HTML",
        lambda path: b"<!DOCTYPE html><html></html>",
    ),
    (
        "zip-of-keras-3",
        "a model that runs code",
        "found a zip archive",
        lambda path: b"PK\3\4".ljust(100, b"\0"),
    ),
)


def _outside(make: Callable[[Path], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(make(path))


CASES = tuple(
    case(f"bytes-{name}", threat, says, _outside(make)) for name, threat, says, make in _TABLE
)
