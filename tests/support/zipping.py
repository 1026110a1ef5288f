"""PyTorch's zip form, written by hand: what a test may put into a file that torch would never write."""

from __future__ import annotations

import struct
import zlib

from pickling import text


def pickled(
    numel: int = 6, *, offset: int = 0, shape: str = "(K\x02K\x03t", stride: str = "(K\x03K\x01t"
) -> bytes:
    """Return the pickle of a state_dict with one float32 tensor `a`."""
    storage = (
        b"("
        + text("storage")
        + b"ctorch\nFloatStorage\n"
        + text("0")
        + text("cpu")
        + bytes([75, numel])
        + b"tQ"
    )
    view = bytes([75, offset]) + shape.encode("latin-1") + stride.encode("latin-1")
    return (
        b"\x80\x02}"
        + text("a")
        + b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + view
        + b"\x89}tRs."
    )


PICKLE, DATA = ("m/data.pkl", pickled()), ("m/data/0", struct.pack("<6f", *range(6)))
VERSION = ("m/version", b"3\n")
MEMBERS = (PICKLE, ("m/byteorder", b"little"), DATA, VERSION)


def container(
    members: tuple[tuple[str, bytes], ...] = MEMBERS,
    *,
    flags: int = 0,
    method: int = 0,
    pad: int = 0,
    zip64: bool = False,
) -> bytes:
    """Return a zip container of stored members; flag 8 puts a descriptor behind each."""
    body, directory = b"", b""
    for name, data in members:
        header, crc, size = len(body), zlib.crc32(data), len(data)
        known = (0, 0, 0) if flags & 8 else (crc, size, size)
        body += struct.pack(
            "<4s5H3L2H", b"PK\3\4", 0, flags, method, 0, 0, *known, len(name.encode()), pad
        )
        body += name.encode() + b"Z" * pad + data
        body += struct.pack("<4s3L", b"PK\7\10", crc, size, size) if flags & 8 else b""
        directory += (
            struct.pack(
                "<4s6H3L5H2L",
                b"PK\1\2",
                0,
                0,
                flags,
                method,
                0,
                0,
                crc,
                size,
                size,
                len(name.encode()),
                0,
                0,
                0,
                0,
                0,
                header,
            )
            + name.encode()
        )
    count, size, at = len(members), len(directory), len(body)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, at, 0)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 0, 0, 0, 0, count, count, size, at)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at + size, 1)
    return body + directory + (end64 + locator if zip64 else b"") + end
