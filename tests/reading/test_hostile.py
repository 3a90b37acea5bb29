"""Files made to hurt: refused, or read, in little time and little memory.

Each is made here, as small as it can be. Where memory is the question a process of its own
reads the file, and what it took at most is looked at.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from nirtorch_cli.findings.errors import ConversionError, ReadError
from nirtorch_cli.graph.sound import required_sound
from nirtorch_cli.reading import chunks, hdf5, limits
from nirtorch_cli.reading.filters import DEFLATE, FLETCHER32, SHUFFLE, unpacked
from nirtorch_cli.reading.graphs import read
from nirtorch_cli.reading.heaps import Heaps
from nirtorch_cli.reading.limits import CHUNK_BYTES, ENTRY_BYTES, MAX_NAME, NODE_BYTES

TEXT = h5py.string_dtype()
Edit = Callable[[h5py.File], None]
MEGABYTE = 2**20


def made(path: Path, *edits: Edit) -> Path:
    """input -> linear -> threshold -> output, edited."""
    graph = nir.NIRGraph.from_list(
        nir.Linear(np.ones((3, 2), dtype=np.float32)), nir.Threshold(np.ones(3))
    )
    nir.write(path, graph)
    with h5py.File(path, "r+") as file:
        for edit in edits:
            edit(file)
    return path


def refusal(source: Any, **options: Any) -> str:
    """The one line with which a source is refused; it is never a long one."""
    with pytest.raises(ReadError) as caught:
        read(source, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 1000
    return f"{caught.value.findings[0].code} {line}"


CHILD = """
import json, pathlib, re, resource, sys
from nirtorch_cli.findings.errors import NirtorchError
from nirtorch_cli.reading.graphs import read
import nirtorch_cli.graph.inspection

def peak():
    status = pathlib.Path("/proc/self/status")
    if status.exists():  # what getrusage says starts with what the parent had
        return int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]) * 1024
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return taken if sys.platform == "darwin" else taken * 1024

before = peak()
try:
    read(sys.argv[1])
    answer = "read"
except NirtorchError as error:
    answer = error.findings[0].code
print(json.dumps([answer, peak() - before]))
"""


def cost(path: Path) -> tuple[str, int]:
    """What a process of its own says to a file, and how much memory that took."""
    pytest.importorskip("resource")
    answer = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    code, taken = json.loads(answer.stdout)
    return code, taken


def test_what_a_process_takes_is_seen(tmp_path: Path) -> None:
    """The figures below would also be small if nothing were measured."""

    def edit(file: h5py.File) -> None:
        file.create_dataset("node/metadata/x", data=np.ones(8 * MEGABYTE))

    code, taken = cost(made(tmp_path / "a.nir", edit))
    assert code == "read"
    assert 60 * MEGABYTE < taken < 200 * MEGABYTE


# ---- data that grow


def weight_of(chunk: bytes, filters: int = 1, shape: tuple[int, ...] = (3, 2)) -> Edit:
    """An edit: the weight has one chunk, stored as given."""

    def edit(file: h5py.File) -> None:
        del file["node/nodes/linear/weight"]
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk(shape)
        for _ in range(filters):
            creation.set_filter(h5py.h5z.FILTER_DEFLATE, h5py.h5z.FLAG_OPTIONAL, (9,))
        space = h5py.h5s.create_simple(shape)
        parent = file["node/nodes/linear"].id
        dataset = h5py.h5d.create(parent, b"weight", h5py.h5t.IEEE_F32LE, space, creation)
        dataset.write_direct_chunk((0,) * len(shape), chunk, 0)

    return edit


def bomb(size: int) -> bytes:
    packer = zlib.compressobj(9)
    zeros = bytes(MEGABYTE)
    return b"".join([packer.compress(zeros) for _ in range(size // MEGABYTE)] + [packer.flush()])


@pytest.mark.parametrize("filters", [1, 2])
def test_a_chunk_that_grows(tmp_path: Path, filters: int) -> None:
    """libhdf5 would unpack all of it, half a gigabyte for 24 kB, and twice packed far more."""
    chunk = bomb(512 * MEGABYTE)
    chunk = zlib.compress(chunk, 9) if filters == 2 else chunk
    path = made(tmp_path / "a.nir", weight_of(chunk, filters, (60, 100)))
    code, taken = cost(path)
    assert code == "NIR002"
    assert taken < 50 * MEGABYTE
    assert "node 'linear', weight: damaged HDF5 file: a chunk is longer" in refusal(path)


def test_a_chunk_of_no_bytes(tmp_path: Path) -> None:
    assert "a chunk cannot be unpacked" in refusal(made(tmp_path / "a.nir", weight_of(b"\0\1")))
    short = zlib.compress(bytes(23))
    line = refusal(made(tmp_path / "b.nir", weight_of(short)))
    assert "a chunk is not as long as it should be" in line


def test_many_chunks_of_which_none_is_stored(tmp_path: Path) -> None:
    """A file of a few kilobytes could keep libhdf5 busy for hours."""

    def edit(file: h5py.File) -> None:
        file.create_dataset("node/metadata/x", (2**31,), "i1", chunks=(1,))

    path = made(tmp_path / "a.nir", edit)
    assert refusal(path).startswith("NIR014")
    code, taken = cost(path)
    assert code == "NIR014"
    assert taken < 50 * MEGABYTE


def test_chunks_are_counted(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        file.create_dataset("node/metadata/x", (5000,), "i1", chunks=(1,))

    path = made(tmp_path / "a.nir", edit)
    assert "metadata/x: the file's data claim" in refusal(path, max_bytes=5000 * CHUNK_BYTES)
    read(path, max_bytes=5000 * (CHUNK_BYTES + 1) + 200_000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scaleoffset": 2}, "is packed with filter 6; only gzip, szip, lzf, shuffle"),
        ({"compression": 32015, "allow_unknown_filter": True}, "is packed with filter 32015"),
        (
            {"compression": "szip", "chunks": (2**12, 2**12)},
            "is packed in chunks of 134,217,728 bytes; with szip, 16,777,216 are the most",
        ),
    ],
)
def test_ways_of_packing_that_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    def edit(file: h5py.File) -> None:
        del file["node/nodes/linear/weight"]
        shape = options.get("chunks", (3, 2))
        file.create_dataset("node/nodes/linear/weight", shape, "f8", **options)

    line = refusal(made(tmp_path / "a.nir", edit))
    assert line.startswith("NIR016")
    assert message in line


def test_gzip_over_lzf_is_refused(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        del file["node/nodes/linear/weight"]
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((3, 2))
        creation.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL)
        creation.set_deflate(9)
        space, parent = h5py.h5s.create_simple((3, 2)), file["node/nodes/linear"].id
        h5py.h5d.create(parent, b"weight", h5py.h5t.IEEE_F32LE, space, creation)

    assert "is packed several times" in refusal(made(tmp_path / "a.nir", edit))


def packed_with(pack: str, stored: bytes, skipped: int = 0) -> Edit:
    """Metadata of 24 bytes, of which a file has a chunk as it is given."""

    def edit(file: h5py.File) -> None:
        options = {"chunks": (24,), "compression": pack}
        dataset = file.create_dataset("node/metadata/x", (24,), "u1", **options)
        dataset.id.write_direct_chunk((0,), stored, skipped)

    return edit


@pytest.mark.parametrize(
    ("pack", "stored", "skipped", "message"),
    [
        ("lzf", b"\x1f" + bytes(32) + b"\xe0\xff\0" * 40, 0, "is longer than it should be"),
        ("lzf", bytes(24), 0, "is not as long as it should be"),
        ("lzf", bytes(23), 1, "is not as long as it should be"),
        ("lzf", b"\x20\0", 0, "cannot be unpacked"),  # refers to what is not there
        ("lzf", b"\0a\xe0", 0, "cannot be unpacked"),  # ends in a reference
        ("lzf", b"\x1fabc", 0, "cannot be unpacked"),  # ends in a run
        ("szip", b"\x18", 0, "is not as long as it should be"),
        ("szip", bytes(78), 0, "is not as long as it should be"),
        ("szip", (24).to_bytes(4, "little"), 0, "is not as long as it should be"),
        ("szip", (24).to_bytes(4, "little") + b"\xff\x01", 0, "is not as long as it should be"),
        ("szip", (2**31).to_bytes(4, "little") + bytes(99), 0, "is not as long as it should be"),
        ("szip", bytes(25), 1, "is not as long as it should be"),
    ],
)
def test_chunks_too_short_or_too_long(
    tmp_path: Path, pack: str, stored: bytes, skipped: int, message: str
) -> None:
    """libhdf5 would hand out what was in memory before, or try again with more memory."""
    line = refusal(made(tmp_path / "a.nir", packed_with(pack, stored, skipped)))
    assert f"damaged HDF5 file: a chunk {message}" in line


def test_a_chunk_whose_filters_were_lost(tmp_path: Path) -> None:
    """Nothing says any more that its few bytes are packed; libhdf5 fills up what lacks."""

    def edit(file: h5py.File) -> None:
        options = {"chunks": (512,), "compression": "gzip"}
        file.create_dataset("node/metadata/x", data=np.zeros(512), **options)

    path = made(tmp_path / "a.nir", edit)
    with h5py.File(path) as file:
        place = file["node/metadata/x"].id.get_create_plist()
        assert place.get_nfilters() == 1
    content = path.read_bytes()
    # The message that lists the filters (type 11, HDF5 file format IV.A.2.l) becomes a NIL.
    messages = [at for at in range(0, len(content), 8) if content[at : at + 2] == b"\x0b\0"]
    refusals = []
    for at in messages:
        lost = content[:at] + b"\0\0" + content[at + 2 :]
        with contextlib.suppress(Exception):
            with h5py.File(io.BytesIO(lost)) as file:
                gone = file["node/metadata/x"].id.get_create_plist().get_nfilters() == 0
            if gone:
                refusals.append(refusal(lost))
    assert refusals
    assert all("a chunk is not as long as it should be" in line for line in refusals)


@pytest.mark.parametrize("pack", ["lzf", "szip"])
def test_a_chunk_that_was_not_packed(tmp_path: Path, pack: str) -> None:
    path = made(tmp_path / "a.nir", packed_with(pack, bytes(range(24)), 1))
    assert read(path).graph.metadata["x"].tolist() == list(range(24))


@pytest.mark.parametrize("pack", ["lzf", "szip"])
@pytest.mark.parametrize("kind", ["repeating", "slowly rising", "random", "zeros"])
@pytest.mark.parametrize("count", [64, 1000, 70_000])
def test_packed_data_are_read_whole_or_not_at_all(
    tmp_path: Path, pack: str, kind: str, count: int
) -> None:
    values = {
        "repeating": np.arange(count) % 7,
        "slowly rising": np.arange(count) // 3,
        "random": np.random.default_rng(0).integers(0, 2**31, count),
        "zeros": np.zeros(count),
    }[kind].astype("<i4")
    path, short = tmp_path / "a.nir", tmp_path / "b.nir"

    def edit(file: h5py.File) -> None:
        options = {"chunks": (count,), "compression": pack}
        file.create_dataset("node/metadata/x", data=values, **options)

    made(path, edit)
    assert np.array_equal(read(path).graph.metadata["x"], values)
    with h5py.File(path) as file:
        skipped, stored = file["node/metadata/x"].id.read_direct_chunk((0,))

    def cut(file: h5py.File) -> None:
        edit(file)
        file["node/metadata/x"].id.write_direct_chunk((0,), stored[: len(stored) // 2], skipped)

    made(short, cut)
    assert "damaged HDF5 file: a chunk " in refusal(short)


def test_chunks_that_share_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand datasets in one place would cost the time of a thousand."""

    def edit(file: h5py.File) -> None:
        values = np.random.default_rng(0).random(10_000)
        file.create_dataset("node/metadata/x0", data=values, compression="gzip")
        for number in range(1, 20):
            file[f"node/metadata/x{number}"] = file["node/metadata/x0"]

    path = made(tmp_path / "a.nir", edit)
    assert "its chunks share their bytes" in refusal(path)
    monkeypatch.setattr(chunks, "MAX_REREAD", 20)
    assert len(read(path).graph.metadata) == 20


def fletcher(data: bytes) -> bytes:
    """The checksum word by word, as its definition says."""
    first = second = 0
    for place in range(0, len(data), 2):
        first = (first + int.from_bytes(data[place : place + 2].ljust(2, b"\0"), "big")) % 65535
        second = (second + first) % 65535
    return (second << 16 | first).to_bytes(4, "little")


def no_szip(stored: bytes) -> bytes:
    raise AssertionError(stored)


def test_unpacking() -> None:
    data = np.arange(101, dtype="<f8").tobytes()
    planes = np.frombuffer(data, np.uint8).reshape(101, 8).T.tobytes()
    for count in (0, 1, 2, 3, 255, 808):
        part = data[:count]
        assert unpacked(part + fletcher(part), [(FLETCHER32, ())], 0, count, no_szip) == part
    filters = [(SHUFFLE, (8,)), (DEFLATE, (9,)), (FLETCHER32, ())]
    packed = zlib.compress(planes)
    packed += fletcher(packed)
    assert unpacked(packed, filters, 0, len(data), no_szip) == data
    # A filter that did not help was left out, and a bit says so.
    assert unpacked(planes, filters, 0b110, len(data), no_szip) == data
    with pytest.raises(ValueError, match="checksum"):
        unpacked(bytes([packed[0] ^ 1]) + packed[1:], filters, 0, len(data), no_szip)
    with pytest.raises(ValueError, match="checksum"):
        unpacked(b"", [(FLETCHER32, ())], 0, 0, no_szip)
    with pytest.raises(ValueError, match="not as long"):
        unpacked(packed, filters, 0, len(data) - 8, no_szip)


# ---- texts


def reference(file: h5py.File, place: str) -> int:
    """Where in the file the reference of a text is."""
    offset: int = file[place].id.get_offset()
    return offset


def test_a_false_length_of_a_text(tmp_path: Path) -> None:
    """libhdf5 allocates and clears the 4 GB that a reference claims before it looks further."""
    path = made(tmp_path / "a.nir")
    with h5py.File(path) as file:
        at = reference(file, "node/type")
    content = bytearray(path.read_bytes())
    content[at : at + 4] = (2**32 - 1).to_bytes(4, "little")
    path.write_bytes(content)
    code, taken = cost(path)
    assert code in ("NIR002", "NIR014")
    assert taken < 50 * MEGABYTE
    content[at : at + 4] = (9).to_bytes(4, "little")
    assert "a text is not where it should be" in refusal(bytes(content))


@pytest.mark.parametrize(
    ("start", "value"), [(4, 2**40), (4, 8), (12, 77)], ids=["far out", "no heap", "no object"]
)
def test_a_reference_that_leads_nowhere(tmp_path: Path, start: int, value: int) -> None:
    path = made(tmp_path / "a.nir")
    with h5py.File(path) as file:
        at = reference(file, "node/type") + start
    content = bytearray(path.read_bytes())
    width = 8 if start == 4 else 4
    content[at : at + width] = value.to_bytes(width, "little")
    assert "a text is not where it should be" in refusal(bytes(content))


def test_heaps_inside_one_another() -> None:
    """Each byte could start a heap that covers the rest of the file."""
    head = b"GCOL\x01\0\0\0"
    content = bytearray()
    count = 3000
    for place in range(count):
        content += head + (16 * (count - place) + 8192).to_bytes(8, "little")
    content += bytes(8192)
    heaps = Heaps(bytes(content), 0, 8, 8, claim=lambda size: None)
    with pytest.raises(ValueError, match=r"too many heaps|broken"):
        heaps.check()


@pytest.mark.parametrize("place", ["node/type", "node/edges", "node/nodes/linear/type"])
def test_texts_of_a_megabyte(tmp_path: Path, place: str) -> None:
    def edit(file: h5py.File) -> None:
        del file[place]
        long = "x" * MEGABYTE
        file.create_dataset(place, data=[[long, "y"]] if "edges" in place else long, dtype=TEXT)

    line = refusal(made(tmp_path / "a.nir", edit))
    assert line.startswith("NIR017")
    assert f"of 1,048,576 characters, '{'x' * 60}...'; {MAX_NAME:,} are the most" in line


def test_a_type_nobody_knows_is_not_printed_in_full(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        del file["node/nodes/linear/type"]
        file["node/nodes/linear/type"] = "x" * MAX_NAME

    file = read(made(tmp_path / "a.nir", edit))
    with pytest.raises(ConversionError) as caught:
        required_sound(file.graph)
    (finding,) = caught.value.findings
    assert finding.code == "NIR005"
    assert len(finding.line()) < 500


@pytest.mark.parametrize("group", ["node/nodes", "node/nodes/linear", "node/metadata", "/"])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_names_of_a_megabyte(tmp_path: Path, group: str, libver: str) -> None:
    path = made(tmp_path / "a.nir")
    with h5py.File(path, "r+", libver=libver) as file:
        longest = 65_000 if libver == "latest" else MEGABYTE
        file.require_group(group).create_group("n" * longest)
    line = refusal(path)
    assert line.startswith("NIR017")
    assert f"a name of {longest:,} bytes, '{'n' * 60}...'" in line


def test_names_just_short_enough(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        file.move("node/nodes/linear", "node/nodes/" + "n" * MAX_NAME)

    assert "n" * MAX_NAME in read(made(tmp_path / "a.nir", edit)).graph.nodes


def test_long_names_of_nested_graphs(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        group = file["node"]
        for _ in range(5):
            group = group["nodes"].create_group("g" * MAX_NAME)
            group["type"], group["edges"] = "NIRGraph", np.zeros((0, 2))
            group.create_group("nodes")

    line = refusal(made(tmp_path / "a.nir", edit))
    assert line.startswith("NIR017")
    assert "names of 4,099 characters, with those of the graphs around" in line


def test_names_that_libhdf5_would_load_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit(file: h5py.File) -> None:
        for number in range(100):
            file[f"node/metadata/{number}{'x' * 900}"] = number

    path = made(tmp_path / "a.nir", edit)
    assert len(read(path).graph.metadata) == 100
    monkeypatch.setattr(hdf5, "MAX_NAMES_BYTES", 90_000)
    assert "the names of its members take 1" in refusal(path)


# ---- many of everything


def test_nodes_are_counted_before_they_are_read(tmp_path: Path) -> None:
    """The links are all to one dataset: it would be called no group, were it ever looked at."""

    def edit(file: h5py.File) -> None:
        file["x"] = 1
        for number in range(3000):
            file[f"node/nodes/n{number}"] = file["x"]

    path = made(tmp_path / "a.nir", edit)
    line = refusal(path, max_bytes=3000 * NODE_BYTES)
    assert line == (
        f"NIR014 {path}: the file's data claim more than {3000 * NODE_BYTES:,} bytes, "
        "with 3,004 nodes; if you trust the file, raise the limit (--max-bytes)"
    )


def test_a_million_nodes_are_over_the_limit() -> None:
    assert 70_000 * NODE_BYTES > limits.DEFAULT_MAX_BYTES
    assert 1_000_000 * ENTRY_BYTES > limits.DEFAULT_MAX_BYTES
    # A neuron takes over 3 kB of a file that nir writes, and a large file may claim more.
    assert limits.allowed_bytes(None, 100_000 * 3000) > 100_000 * NODE_BYTES


def test_entries_of_metadata_are_counted(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        for number in range(2000):
            file[f"node/metadata/{number}"] = 1

    path = made(tmp_path / "a.nir", edit)
    line = refusal(path, max_bytes=2000 * ENTRY_BYTES)
    assert "with 2,000 entries of metadata; if you trust" in line
    assert len(read(path).graph.metadata) == 2000


def test_unknown_fields_are_not_read(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        file["x"] = 1
        for number in range(2000):
            file[f"node/nodes/linear/{number}"] = file["x"]

    file = read(made(tmp_path / "a.nir", edit))
    assert len(file.findings) == 1
    assert file.findings[0].message.startswith("2,000 fields that this node type does not have")


@pytest.mark.parametrize("dtype", [TEXT, "S8"], ids=["any length", "of 8"])
def test_edges_are_counted_before_they_are_read(tmp_path: Path, dtype: Any) -> None:
    def edit(file: h5py.File) -> None:
        del file["node/edges"]
        file.create_dataset("node/edges", (2**22, 2), dtype, chunks=(2**16, 2))

    path = made(tmp_path / "a.nir", edit)
    line = refusal(path)
    assert line.startswith("NIR014")
    assert "with 8,388,608 texts" in line or "with 4,194,304 edges" in line
    code, taken = cost(path)
    assert code == "NIR014"
    assert taken < 200 * MEGABYTE


def test_one_dataset_under_many_names_claims_each_time(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        file.create_dataset("node/metadata/0", data=np.zeros(100_000), compression="gzip")
        for number in range(1, 100):
            file[f"node/metadata/{number}"] = file["node/metadata/0"]

    path = made(tmp_path / "a.nir", edit)
    assert path.stat().st_size < 100_000
    assert refusal(path, max_bytes=50_000_000).startswith("NIR014")


def test_many_attributes_are_never_looked_at(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        for number in range(20):
            file["node/nodes/linear"].attrs[f"a{number}"] = "x" * 3000

    assert len(read(made(tmp_path / "a.nir", edit)).graph.nodes) == 4


def test_many_nodes_that_cannot_be_read(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        for number in range(1000):
            file.create_group(f"node/nodes/n{number}")

    with pytest.raises(ReadError) as caught:
        read(made(tmp_path / "a.nir", edit))
    assert len(caught.value.findings) == 100


# ---- things that are no numbers


def committed(file: h5py.File, place: str) -> None:
    file[place] = np.dtype("f8")


def vlen(file: h5py.File, place: str) -> None:
    file.create_dataset(place, (1,), h5py.vlen_dtype(np.int32))[0] = [1, 2]


def stored(value: Any, dtype: Any = None) -> Callable[[h5py.File, str], None]:
    def store(file: h5py.File, place: str) -> None:
        file.create_dataset(place, data=value, dtype=dtype)

    return store


STRANGE = {
    "compound": stored(np.zeros(2, dtype=[("a", "f8"), ("b", "i4")])),
    "complex": stored(1j),
    "opaque": stored(np.zeros(2, dtype="V8")),
    "time": stored(np.zeros(2, dtype=h5py.opaque_dtype("M8[s]"))),
    "array": stored(np.zeros(2, dtype=[("a", "f8", (3,))])),
    "numbers of any length": vlen,
    "committed type": committed,
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_types(tmp_path: Path, name: str) -> None:
    def as_weight(file: h5py.File) -> None:
        del file["node/nodes/linear/weight"]
        STRANGE[name](file, "node/nodes/linear/weight")

    line = refusal(made(tmp_path / "a.nir", as_weight))
    assert "node 'linear', weight: " in line
    assert line.startswith("NIR004" if name == "committed type" else "NIR016")
    file = read(made(tmp_path / "b.nir", lambda file: STRANGE[name](file, "node/metadata/x")))
    assert file.graph.metadata == {}
    assert [finding.code for finding in file.findings] == ["NIR016"]


@pytest.mark.parametrize("kind", ["f2", "i1", "u2", "?"])
def test_unusual_numbers_are_numbers(tmp_path: Path, kind: str) -> None:
    value = np.array([[0, 1], [1, 0], [1, 1]], dtype=kind)

    def edit(file: h5py.File) -> None:
        del file["node/nodes/linear/weight"]
        file.create_dataset("node/nodes/linear/weight", data=value, compression="gzip")

    weight = read(made(tmp_path / "a.nir", edit)).graph.nodes["linear"].weight
    assert weight.tolist() == value.tolist()


def test_what_was_never_written_is_zero(tmp_path: Path) -> None:
    """libhdf5 leaves the memory as it found it, with whatever was there before."""

    def edit(file: h5py.File) -> None:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space, parent = h5py.h5s.create_simple((4096,)), file.require_group("node/metadata").id
        h5py.h5d.create(parent, b"x", h5py.h5t.IEEE_F64LE, space, creation)

    found = read(made(tmp_path / "a.nir", edit)).graph.metadata["x"]
    assert not found.any()


# ---- streams


class Endless(io.RawIOBase):
    """A stream of zeros, after a start."""

    def __init__(self, start: bytes) -> None:
        self.start = start
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "an endless stream was read to its end"
        self.given += size
        part, self.start = self.start[:size], self.start[size:]
        return part.ljust(size, b"\0")


def test_an_endless_stream(tmp_path: Path) -> None:
    stream = Endless(b"")
    assert "is not an HDF5 file" in refusal(stream)
    assert stream.given <= 16 * MEGABYTE
    stream = Endless(made(tmp_path / "a.nir").read_bytes())
    line = refusal(stream, max_bytes=50 * MEGABYTE)
    assert line.startswith("NIR014")
    assert "has more than 52,428,800 bytes" in line
    assert stream.given <= 51 * MEGABYTE


def test_a_stream_in_small_parts(tmp_path: Path) -> None:
    content = made(tmp_path / "a.nir").read_bytes()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(100)

    assert set(read(Slow(content)).graph.nodes) == {"input", "linear", "threshold", "output"}
