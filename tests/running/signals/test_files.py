"""Files of inputs, outputs and states: read, written, read back; broken and hostile ones."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nirtorch_cli.findings.errors import NirtorchError, OutputError, ReadError, UsageError
from nirtorch_cli.reading.limits import DEFAULT_MAX_BYTES
from nirtorch_cli.reading.sources import FilePart, file_part_of
from nirtorch_cli.running.signals.csv import table_of
from nirtorch_cli.running.signals.formats import SIGNALS, recording_of
from nirtorch_cli.running.signals.npz import archive_of
from nirtorch_cli.running.signals.outputs import Label, check_format, write_signals
from nirtorch_cli.running.state_file import (
    MadeWith,
    fitted,
    require_storable_state,
    saved_state,
    write_state,
)

DT = 1e-3


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(text: str, dt: float = DT, max_bytes: int = DEFAULT_MAX_BYTES, stdin: Any = None) -> Any:
    return recording_of(file_part_of(text), dt=dt, max_bytes=max_bytes, stdin=stdin).values


def refused(text: str, kind: type[NirtorchError] = ReadError, **options: Any) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(NirtorchError) as caught:
        read(text, **options)
    assert type(caught.value) is kind
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 700
    return line


V = Label("lif", "v")


def written(form: str, label: Label, values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    write_signals(stream, [(label, values)], DT, form=form)
    return stream.getvalue()


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).random(shape, np.float32)


ANY_NUMBERS = st.sampled_from([np.float32, np.float64, np.float16, np.int32, np.bool_])


# -------------------------------------------------------------------------- npy and npz


def test_of_an_array_only_what_is_used_is_read() -> None:
    """A .npy file is as large as its numbers, so they stay where they are."""
    np.save("large.npy", np.zeros((1000, 500, 64), np.float32))  # 128 MB
    tracemalloc.start()
    try:
        values = read("large.npy")
        assert values.shape == (1000, 500, 64)
        assert values[500:510, 7:9].sum() == 0
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert not values.flags.writeable


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(ANY_NUMBERS, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)), st.booleans())
def test_what_numpy_saves_is_read(array: np.ndarray, is_fortran: bool) -> None:
    array = np.asfortranarray(array) if is_fortran else array
    np.save("a.npy", array)
    np.savez_compressed("a.npz", array)
    for name in ("a.npy", "a.npz"):
        found = read(name)
        assert found.dtype == array.dtype
        assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")


def test_one_array_of_several() -> None:
    np.savez("a.npz", first=numbers(3), second=numbers(4))
    assert len(read("a.npz:second")) == 4
    assert refused("a.npz") == (
        "a.npz: holds 2 arrays; name one, 'a.npz:first': it holds 'first', 'second'"
    )
    assert refused("a.npz:third") == "a.npz: has no array 'third'; it holds 'first', 'second'"
    np.savez("none.npz")
    assert refused("none.npz") == "none.npz: holds no array"
    np.save("b.npy", numbers(3))
    assert refused("b.npy:x") == "b.npy: holds one array only, and no 'x'"


def test_names_with_colons() -> None:
    np.savez("a:b.npz", **{"x:y": numbers(3), "z": numbers(4)})
    assert len(read("a:b.npz:x:y")) == 3
    assert file_part_of("a:b.npz:z") == FilePart("a:b.npz", "z")
    assert file_part_of("a:b.npz") == FilePart("a:b.npz")
    assert file_part_of("nothing:x") == FilePart("nothing:x")
    assert file_part_of("-:z") == FilePart("-", "z")


def test_the_length_of_a_step_in_an_archive() -> None:
    """It is no array to feed, and the model's must be the same."""
    np.savez("a.npz", x=numbers(3), dt=DT)
    assert len(read("a.npz")) == len(read("a.npz:x")) == 3
    assert len(read("a.npz", dt=float(np.float32(DT)))) == 3
    said = (
        "a.npz: was recorded at dt 0.001, and the model runs at dt 0.0001; "
        "give --dt 0.001, or record events, which fit any dt"
    )
    assert refused("a.npz", UsageError, dt=1e-4) == said
    assert refused("a.npz:x", UsageError, dt=1e-4) == said
    assert read("a.npz:dt", dt=1e-4) == DT
    np.savez("a.npz", dt=np.array([DT]))
    assert refused("a.npz") == "a.npz: holds no array"
    np.savez("a.npz", x=numbers(3), y=numbers(3), dt=DT)
    assert refused("a.npz").startswith("a.npz: holds 2 arrays; name one, 'a.npz:x': it holds 'x',")
    for other in (numbers(3), np.zeros((500, 3)), "text", True, 0.0, np.nan, -1.0):
        np.savez("a.npz", x=numbers(3), dt=other)
        assert len(read("a.npz:x", dt=1e-4)) == 3
        assert "a.npz: holds 2 arrays" in refused("a.npz")


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


def test_nothing_is_unpickled() -> None:
    np.save("a.npy", np.array([Bomb()], object), allow_pickle=True)
    np.savez("a.npz", np.array([Bomb()], object))
    Path("b.npz").write_bytes(zipped({"x": pickle.dumps(Bomb())}))
    hint = "holds Python objects; they are never unpickled here: save an array of numbers"
    assert refused("a.npy") == f"a.npy: {hint}"
    assert refused("a.npz") == f"a.npz: {hint}"
    assert "damaged .npy file" in refused("b.npz")
    assert not Path("exploded").exists()


def zipped(members: dict[str, bytes], **options: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def header(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_what_is_claimed_is_counted_first() -> None:
    limit = "its data claim more than 1,000,000 bytes; if you trust the file, raise the limit"
    Path("a.npy").write_bytes(header("(10**9, 10**9)".replace("10**9", "1000000000")))
    assert limit in refused("a.npy", max_bytes=10**6)
    Path("zeros.npz").write_bytes(zipped({"x": header("(1000000,)") + bytes(4 * 10**6)}))
    assert Path("zeros.npz").stat().st_size < 10**4
    assert limit in refused("zeros.npz", max_bytes=10**6)
    Path("many.npz").write_bytes(zipped({str(n): bytes(10**5) for n in range(20)}))
    assert "holds 20 arrays" in refused("many.npz", max_bytes=10**6)
    np.save("long.npy", numbers(10**6))
    assert limit in refused("long.npy", max_bytes=10**6)
    stdin = io.BytesIO(bytes(2 * 10**6))
    assert "<stdin>: has more than 1,000,000 bytes" in refused("-", max_bytes=10**6, stdin=stdin)


def test_a_zip_that_lies_about_its_sizes() -> None:
    content = zipped({"x": header("(1000000,)") + bytes(4 * 10**6)})
    lie = content.replace(struct.pack("<I", 4 * 10**6 + len(header("(1000000,)"))), b"\x50\0\0\0")
    assert lie != content
    Path("a.npz").write_bytes(lie)
    assert "is a damaged .n" in refused("a.npz", max_bytes=10**6)


@pytest.mark.parametrize(
    "content",
    [
        header("(4,)"),
        header("(4,)") + bytes(15),
        header("(-4,)") + bytes(16),
        header("(4.5,)") + bytes(16),
        header("4") + bytes(16),
        header("(4,)", "nonsense") + bytes(16),
        header("(" * 3000) + bytes(16),
        header("__import__('os').mkdir('exploded')"),
        b"\x93NUMPY\x09\x00",
        b"\x93NUMPY",
    ],
)
def test_npy_files_that_are_damaged(content: bytes) -> None:
    Path("a.npy").write_bytes(content)
    assert refused("a.npy") == (
        "a.npy: is a damaged .npy file, or one that was not written to its end; "
        "save it again with numpy.save"
    )
    assert not Path("exploded").exists()


def test_of_two_files_that_were_joined_none_is_lost() -> None:
    np.save("a.npy", numbers(3))
    np.savez("a.npz", numbers(3))
    np.savez("b.npz", x=numbers(4), y=numbers(5))
    np.savez("none.npz")
    npy, a, b, none = (Path(f).read_bytes() for f in ("a.npy", "a.npz", "b.npz", "none.npz"))
    Path("j.npy").write_bytes(npy + npy)
    assert refused("j.npy") == (
        "j.npy: has a second array after its array; save each array in a file of its own"
    )
    Path("j.npy").write_bytes(npy + b"\0")
    assert "j.npy: has 1 byte after its array; save" in refused("j.npy")
    assert "a second array" in refused("-", stdin=io.BytesIO(npy + npy))
    for joined in (a + a, b + a, a + none, none + a, a + npy, a + b"\n", a + bytes(10**5)):
        Path("j.npz").write_bytes(joined)
        line = refused("j.npz")
        assert "before or after its archive; were two files joined?" in line or (
            len(joined) > 10**5 and "is a damaged .npz file" in line
        )
    Path("j.npz").write_bytes(a + b)
    assert "before or after its archive" in refused("j.npz:x")


def test_an_archive_with_one_name_twice() -> None:
    stream = io.BytesIO(zipped({"x": b""}))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("x", b"")
    Path("a.npz").write_bytes(stream.getvalue())
    assert refused("a.npz:x") == "a.npz: has 2 arrays 'x'; give each its own name"


def test_an_archive_with_a_comment() -> None:
    np.savez("a.npz", x=numbers(3))
    with zipfile.ZipFile("a.npz", "a") as archive:
        archive.comment = b"of monday"
    assert len(read("a.npz")) == 3


@pytest.mark.parametrize("make", ["npy", "npz", "h5", "csv"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.999])
def test_files_that_were_not_written_to_their_end(make: str, share: float) -> None:
    write_signals("all.npz", [(Label("x", "v"), numbers(9, 3, 4))], DT)
    write_signals("all.h5", [(Label("x", "v"), numbers(9, 3, 4))], DT)
    write_signals("all.csv", [(Label("x", "v"), numbers(9, 3, 4))], DT)
    np.save("all.npy", numbers(9, 3, 4))
    content = Path(f"all.{make}").read_bytes()
    Path(f"half.{make}").write_bytes(content[: int(len(content) * share)])
    if make == "csv" and share == 0.999:  # a digit less is a number too
        return
    refused(f"half.{make}")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(3, complex), "holds complex128, not real numbers"),
        (np.array(["a"]), "holds <U1, not real numbers"),
        (np.zeros(3, "M8[s]"), "holds datetime64[s], not real numbers"),
    ],
)
def test_arrays_of_what_is_no_number(array: np.ndarray, said: str) -> None:
    np.save("a.npy", array)
    assert refused("a.npy") == f"a.npy: {said}"


def test_a_name_that_promises_another_kind() -> None:
    np.save("a.npy", numbers(3))
    Path("a.npy").rename("a.npz")
    assert refused("a.npz") == "a.npz: is not a .npz file; it looks like a .npy file: name it so"
    Path("b.npy").write_text("1,2\n")
    assert refused("b.npy") == "b.npy: is not a .npy file"
    Path("c.nir").write_text("1,2\n")
    assert refused("c.nir") == "c.nir: is not an HDF5 file"
    Path("a.npz").rename("a.dat")
    assert len(read("a.dat")) == 3


def test_files_that_are_not_there() -> None:
    assert refused("no.npy") == "no.npy: no such file"
    assert refused(".") == ".: is a directory; name a file"
    assert refused("") == ": no such file" or refused("") == "'': no such file"
    Path("empty.npy").touch()
    assert refused("empty.npy") == "empty.npy: is empty; was it written completely?"
    assert refused("a\0.npy").startswith("a\\x00.npy: cannot be read: ")
    assert refused("-") == "<stdin>: there is no stdin"


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damaged_bytes_raise_nothing_else(data: st.DataObject) -> None:
    """Any file with some of its bytes changed is read, or refused."""
    kind = data.draw(st.sampled_from(["npy", "npz", "h5", "csv"]))
    name, signals = f"a.{kind}", [(Label("x", "v"), numbers(5, 2, 3))]
    if kind == "npy":
        np.save(name, numbers(5, 2, 3))
    else:
        write_signals(name, signals, DT)
    content = bytearray(Path(name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    Path(name).write_bytes(content)
    with contextlib.suppress(ReadError, UsageError):
        read(name, max_bytes=10**7)


# ----------------------------------------------------------------------------------- csv


def table(text: str) -> np.ndarray:
    return table_of(text.encode(), FilePart("t.csv"), DEFAULT_MAX_BYTES)


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,4.5\n",
        "1,2\n3,4.5",
        "a,b\n1,2\n3,4.5\n",
        '"a","b"\r\n1,2\r\n3,4.5\r\n',
        "\ufeffa,b\n1,2\n3,4.5\n",
        "# made by hand\n\n1, 2\n# more\n3, 4.5\n\n",
        "nan_1,inf_2\n1,2\n3,4.5\n",
        "1e0,2\n3,4.5 # the end\n",
        "1,2 # the start, and\n3,4.5 # the end\n",
        "  # by hand\n1,2\n3,4.5\n",
        "a,b\r1,2\r3,4.5\r",
        "# old\r1,2\r3,4.5",
        '"a,1", "b"\n1,2\n3,4.5\n',
        "n#1,n#2\n1,2\n3,4.5\n",
    ],
)
def test_tables(text: str) -> None:
    assert table(text).tolist() == [[[1, 2]], [[3, 4.5]]]


def test_a_table_of_one_neuron_and_one_of_one_step() -> None:
    assert table("1\n2\n3\n").shape == (3, 1, 1)
    assert table("1,2,3\n").shape == (1, 1, 3)
    assert table("a,b\n").shape[0] == 0
    assert np.isnan(table("nan,inf\n")[0, 0, 0])


def test_a_column_of_batch_rows() -> None:
    for name in ("batch", "Batch", "BATCH"):
        text = f"{name},n0\n1,10\n0,0\n0,1\n1,11\n"
        assert table(text)[:, :, 0].tolist() == [[0, 10], [1, 11]]
    with pytest.raises(ReadError, match="batch rows have from 1 to 2 steps; all must have"):
        table("batch,n0\n0,1\n0,1\n1,1\n")
    with pytest.raises(ReadError, match="does not count the batch rows from 0"):
        table("batch,n0\n1,1\n2,1\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n3,x\n", "is not a table of numbers: line 3 has 'x'; a row is a time step"),
        ("1,2\n3\n", "line 2 has 1 column, the one before it 2"),
        ("1,2\n\n3,\n", "line 3 has ''"),
        ("a,b\n1\n", "names 2 columns and has 1"),
        ("a\n1,2\n", "names 1 column and has 2"),
        ('"a,b",c,d\n1,2,3\n1,2,3\n1,2,x\n', "line 4 has 'x'"),
        ("1;2\n3;4\n", "it has '1;2' in column 1; columns are separated by commas"),
        ("a;b\n3;4\n", "line 2 has '3;4'; columns are separated by commas"),
        ("1\t2\n3\t4\n", "; columns are separated by commas"),
        ("a\tb\n3\t4\n", "line 2 has '3\\t4'; columns are separated by commas"),
        ("1 2\n3 4\n", "; columns are separated by commas"),
        (
            "1,0,,0,1\n1,0,0,0,1\n",
            "line 1 is neither numbers nor names: it has '' in column 3; no cell may be",
        ),
        ("# made\n1;0,0\n1,0\n", "it has '1;0' in column 1; columns are separated by commas"),
        ("1,0,O,1\n1,0,0,1\n", "names: it has 'O' in column 3; a row is a time step"),
        ("1,nan,O\n", "names: it has 'O' in column 3; a row is a time step"),
        ('"1","0"\n1,0\n', "names: it has '1' in column 1"),
        ("1..0,0..1\n1,0\n", "names: it has '1..0' in column 1"),
        ("a,,b\n1,2,3\n", "names: it has '' in column 2"),
        (",\n1,2\n", "names: it has '' in column 1"),
        (",0,1\n0,5,6\n", "it has '' in column 1; no cell may be empty; pandas does not number"),
        (",a,b\n0,5,6\n", "it has '' in column 1"),
        ("t,0,1\n0,5,6\n", "names: it has 't' in column 1"),
        ("0,1,2\n0,0,1\n", "line 1 is 0, 1, .. 2: are these names or a step?; put '#' before it"),
        (f"{'x' * 200_000},y\n1,2\n", "line 1 is not a line of names: field larger"),
        ("\0\1", "holds neither an array nor text; give .npy, .npz, .csv or NIR data"),
    ],
)
def test_tables_that_are_none(text: str, said: str) -> None:
    Path("t.csv").write_text(text, newline="")
    assert said in refused("t.csv")


def test_a_first_step_that_counts_its_columns() -> None:
    """What the refusal says makes it one or the other; two columns are spikes as likely."""
    assert table("#0,1,2\n0,0,1\n").tolist() == [[[0, 0, 1]]]
    assert table("a,b,c\n0,1,2\n0,0,1\n").tolist() == [[[0, 1, 2]], [[0, 0, 1]]]
    for row in ("0,1", "0.0,1.0,2.0", "1,0,0", "0,0,1", "0,1,3", "0"):
        assert table(f"{row}\n{row}\n").shape == (2, 1, row.count(",") + 1)


def test_a_table_that_claims_too_much() -> None:
    for mark in ",\n\r":
        Path("t.csv").write_text(mark * 1000, newline="")
        assert "claim more than 2,000 bytes" in refused("t.csv", max_bytes=2000)


@settings(deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(min_dims=3, max_dims=4, max_side=4),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_a_table_that_is_written_is_read_back(values: np.ndarray) -> None:
    found = table_of(written("csv", V, values), FilePart("t.csv"), DEFAULT_MAX_BYTES)
    assert (found.astype(values.dtype) == values.reshape(*values.shape[:2], -1)).all()


def test_a_table_is_what_others_read() -> None:
    assert written("csv", V, np.array([[[1, 0.5]], [[0, 0.1]]], np.float32)).decode() == (
        "n0,n1\n1,0.5\n0,0.100000001\n"
    )
    assert written("csv", V, np.zeros((1, 2, 1, 2))).decode() == "batch,n0_0,n0_1\n0,0,0\n1,0,0\n"


def test_several_arrays_in_one_table() -> None:
    """Groups of columns, a batch column where there are several rows, and quotes where needed."""
    v, spikes = numbers(3, 2, 2, 2), (numbers(3, 2, 1) > 0.5).astype(np.float32)
    signals = [
        (Label("output", is_output=True, is_only=True), numbers(3, 2).astype(np.float64)),
        (Label("hidden.lif", "v"), v),
        (Label('#a,"b"\n', "spikes"), spikes),
    ]
    write_signals("a.csv", signals, DT)
    with open("a.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == [
        "batch",
        "output[]",
        *(f"hidden.lif:v[{i}_{j}]" for i in range(2) for j in range(2)),
        '#a,"b"\\n:spikes[0]',
    ]
    found = np.array(rows, float)
    assert found[:, 0].tolist() == [0, 1] * 3
    assert (found[:, 1] == signals[0][1].ravel()).all()
    assert (found[:, 2:6].astype(np.float32) == v.reshape(6, 4)).all()
    assert (found[:, 6] == spikes.ravel()).all()
    assert refused("a.csv").startswith("a.csv: has columns of 3 arrays, 'output', 'hidden.lif:v',")
    assert refused("a.csv").endswith("; an input is one array: write one, or all to an .npz file")
    write_signals("a.csv", [(label, array[:, :1]) for label, array in signals[1:]], DT)
    assert Path("a.csv").read_text().startswith("hidden.lif:v[0_0],hidden.lif:v[0_1],")
    assert "has columns of 2 arrays" in refused("a.csv")
    write_signals("a.csv", [(label, array[:, :1]) for label, array in signals[:0:-1]], DT)
    assert Path("a.csv").read_text().startswith('"#a,""b""\\n:spikes[0]",hidden')
    assert "has columns of 2 arrays" in refused("a.csv")
    assert table("v[0],v[1]\n1,2\n").shape == table("a[0],b\n1,2\n").shape == (1, 1, 2)


# ------------------------------------------------------------------------------ NIR data


def test_a_nir_data_file_is_read_back_by_nir_and_here() -> None:
    v, spikes = numbers(9, 2, 3, 4), numbers(9, 2, 5) > 0.5
    signals = [
        (Label("output", is_output=True, is_only=True), v[:, :, 0]),
        (Label("lif", "v"), v),
        (Label("lif", "spikes"), spikes.astype(np.float32)),
        (Label("nest/in.ner/lif", "v"), v + 1),
        (Label("nest/li", "output"), v + 2),
    ]
    write_signals("a.nir", signals, DT)
    nodes = nir.read_data("a.nir").nodes
    found = nodes["lif"].observables
    assert found["v"].dt == DT
    assert found["v"].data.shape == (2, 9, 12)
    assert (found["v"].data.reshape(2, 9, 3, 4).swapaxes(0, 1) == v).all()
    assert found["spikes"].data.dtype == bool
    assert (found["spikes"].data.swapaxes(0, 1) == spikes).all()
    found["spikes"].to_event(99)
    inner = nodes["nest"].nodes["in.ner"].nodes["lif"].observables["v"]
    assert (inner.data.reshape(2, 9, 3, 4).swapaxes(0, 1) == v + 1).all()
    assert (nodes["output"].observables["output"].data.swapaxes(0, 1) == v[:, :, 0]).all()
    assert (read("a.nir:lif/v").reshape(v.shape) == v).all()
    assert (read("a.nir:lif/spikes") == spikes).all()
    assert (read("a.nir:nest/in.ner/lif/v").reshape(v.shape) == v + 1).all()
    assert (read("a.nir:nest/li").reshape(v.shape) == v + 2).all()


def test_it_is_the_file_that_nir_writes(tmp_path: Path) -> None:
    values = numbers(6, 2, 3)
    gridded = nir.TimeGriddedData(values.swapaxes(0, 1).copy(), DT)
    data = nir.NIRGraphData({"lif": nir.NIRNodeData({"v": gridded})})
    nir.write_data("nir.h5", data)
    write_signals("own.h5", [(Label("lif", "v"), values)], DT)
    assert described("own.h5") == described("nir.h5")


def described(path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def see(name: str, thing: Any) -> None:
        found[name] = {key: (type(value), value) for key, value in thing.attrs.items()}
        if isinstance(thing, h5py.Dataset):
            found[name] = (thing.dtype, thing.compression, thing[()].tolist())

    with h5py.File(path) as file:
        see("/", file)
        file.visititems(see)
    return found


def nir_data(**observables: Any) -> nir.NIRGraphData:
    return nir.NIRGraphData({"in": nir.NIRNodeData(observables)})


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_events_through_a_file_are_their_grid(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, n) for n in (3, 20, 4)]))
    spikes = np.random.default_rng(data.draw(st.integers(0, 99))).random(shape) < 0.3
    gridded = nir.TimeGriddedData(spikes, DT)
    nir.write_data("a.h5", nir_data(events=gridded.to_event(spikes.size), grid=gridded))
    assert (read("a.h5:in/events") == read("a.h5:in/grid")).all()
    assert (read("a.h5:in/grid").swapaxes(0, 1) == spikes).all()


def test_events_with_values_and_at_any_dt() -> None:
    idx, time = np.array([[0, 0, 1, -1]]), np.array([[0.0, 4e-4, 2e-3, np.inf]])
    events = nir.ValuedEventData(idx, time, 2, 3e-3, np.array([[0.5, 1.5, -3, 9]]))
    nir.write_data("a.h5", nir_data(e=events))
    assert read("a.h5")[:, 0].tolist() == [[2, 0], [0, 0], [0, -3]]
    fine = read("a.h5", dt=1e-4)
    assert fine.shape == (30, 1, 2)
    assert (fine[0, 0, 0], fine[4, 0, 0], fine[20, 0, 1]) == (0.5, 1.5, -3)


def test_a_grid_of_another_dt() -> None:
    nir.write_data("a.h5", nir_data(v=nir.TimeGriddedData(np.zeros((1, 5, 2)), 2e-4)))
    assert refused("a.h5", UsageError) == (
        "a.h5: node 'in/v': was recorded at dt 0.0002, and the model runs at dt 0.001; "
        "give --dt 0.0002, or record events, which fit any dt"
    )
    assert read("a.h5", dt=float(np.float32(2e-4))).shape == (5, 1, 2)


def test_several_observables() -> None:
    v = nir.TimeGriddedData(np.zeros((1, 5, 2)), DT)
    nir.write_data("a.h5", nir_data(v=v, spikes=v))
    held = "it holds 'in/spikes', 'in/v'"
    assert refused("a.h5") == f"a.h5: holds 2 observables; name one, 'a.h5:in/spikes': {held}"
    assert refused("a.h5:in") == f"a.h5: has several observables 'in'; {held}"
    assert refused("a.h5:v") == f"a.h5: has no observable 'v'; {held}"
    nir.write_data("none.h5", nir_data())
    assert refused("none.h5") == "none.h5: holds no observable"


def test_a_model_is_no_nir_data() -> None:
    nir.write("model.nir", nir.NIRGraph.from_list(nir.Linear(np.eye(2))))
    assert refused("model.nir") == (
        "model.nir: is an HDF5 file, but does not hold NIR data; "
        "nir.write_data writes one; a model is not an input"
    )


def spoilt(change: Callable[[Any], None], observable: Any = None) -> None:
    """A NIR data file with one thing changed in the group of its only observable."""
    v = nir.TimeGriddedData(np.zeros((1, 5, 2)), DT) if observable is None else observable
    nir.write_data("a.h5", nir_data(v=v))
    with h5py.File("a.h5", "a") as file:
        change(file["nodes/in/observables/v"])


EVENTS = nir.EventData(np.array([[0, 1]]), np.array([[0.0, 0.1]]), 2, 1.0)


@pytest.mark.parametrize(
    ("change", "observable", "said"),
    [
        (lambda g: g.attrs.__delitem__("dt"), None, "has no dt, or one that is not finite"),
        (lambda g: g.attrs.__setitem__("dt", np.nan), None, "has no dt"),
        (lambda g: g.attrs.__setitem__("dt", "fast"), None, "dt: is not a number"),
        (lambda g: g.attrs.__setitem__("dt", np.zeros(9)), None, "dt: is not a number"),
        (lambda g: g.__delitem__("data"), None, "has neither 'data' nor 'idx'"),
        (lambda g: g.__delitem__("time"), EVENTS, "has no 'time'"),
        (lambda g: replace(g, "data", np.zeros(3)), None, "data have the shape (3,), not (samp"),
        (lambda g: replace(g, "data", "text"), None, "data holds <U4, not numbers"),
        (
            lambda g: g.attrs.__setitem__("n_neurons", 1),
            EVENTS,
            "an event of neuron 1, where there",
        ),
        (lambda g: g.attrs.__setitem__("n_neurons", 2.5), EVENTS, "has 2.5 neurons"),
        (lambda g: g.attrs.__setitem__("t_max", 1e99), EVENTS, "claim more than"),
        (lambda g: g.attrs.__setitem__("n_neurons", 2**60), EVENTS, "claim more than"),
        (lambda g: g.attrs.__setitem__("t_max", -1.0), EVENTS, "make no recording"),
        (lambda g: replace(g, "time", np.zeros((1, 3))), EVENTS, "all alike"),
    ],
)
def test_observables_that_are_damaged(change: Any, observable: Any, said: str) -> None:
    spoilt(change, observable)
    line = refused("a.h5")
    assert line.startswith("a.h5: node 'in/v'")
    assert said in line


def replace(group: Any, name: str, value: Any) -> None:
    del group[name]
    group[name] = value


def test_nothing_outside_the_file_is_read() -> None:
    np.full((1, 5, 2), 7.0).tofile("secret.bin")
    with h5py.File("other.h5", "w") as file:
        file["data"] = np.full((1, 5, 2), 7.0)

    def external(group: Any) -> None:
        del group["data"]
        group.create_dataset("data", (1, 5, 2), "f8", external=[("secret.bin", 0, 80)])

    def virtual(group: Any) -> None:
        layout = h5py.VirtualLayout((1, 5, 2), "f8")
        layout[:] = h5py.VirtualSource("other.h5", "data", (1, 5, 2))
        del group["data"]
        group.create_virtual_dataset("data", layout)

    def external_link(group: Any) -> None:
        replace(group, "data", h5py.ExternalLink("other.h5", "data"))

    def soft_link(group: Any) -> None:
        replace(group, "data", h5py.SoftLink("/nodes"))

    def ring(group: Any) -> None:
        group.file["nodes/again"] = group.file["nodes"]

    for change in (external, virtual, external_link, soft_link, ring):
        spoilt(change)
        line = refused("a.h5")
        assert any(word in line for word in ("refused", "twice")), line


def test_a_chunk_that_is_longer_than_its_room() -> None:
    """libhdf5 2.0 would write what it reads behind the room that it was given."""

    def unpacked(group: Any) -> None:
        del group["data"]
        group.create_dataset("data", data=np.zeros((1, 5, 2)), chunks=(1, 5, 2))

    spoilt(unpacked)
    content = Path("a.h5").read_bytes()
    key = struct.pack("<II4Q", 80, 0, 0, 0, 0, 0)
    assert content.count(key) == 1
    longer = content.replace(key, struct.pack("<II4Q", 4000, 0, 0, 0, 0, 0)) + bytes(4000)
    Path("a.h5").write_bytes(longer)
    assert "a chunk is not as long as it should be" in refused("a.h5")


def test_a_nir_data_file_that_claims_too_much() -> None:
    def unwritten(group: Any) -> None:
        del group["data"]
        group.create_dataset("data", (10**4, 10**4, 10**4), "f8", chunks=(100, 100, 100))

    spoilt(unwritten)
    assert "the file's data claim more than" in refused("a.h5")


# ----------------------------------------------------------------------------- writing


def test_an_archive_of_everything() -> None:
    signals = [
        (Label("out", is_output=True, is_only=True), numbers(5, 2, 3)),
        (Label("nest/lif", "v"), numbers(5, 2, 4)),
        (Label("lif", "count"), numbers(2, 4)),
    ]
    write_signals("a.npz", signals, DT)
    with np.load("a.npz", allow_pickle=False) as found:
        assert found.files == ["output", "nest/lif:v", "lif:count", "dt"]
        assert (found["dt"].shape, found["dt"].dtype, found["dt"].item()) == ((), np.float64, DT)
        for label, array in signals:
            assert (found[label.key] == array).all()
    assert (read("a.npz:nest/lif:v") == signals[1][1]).all()
    first = Path("a.npz").read_bytes()
    write_signals("a.npz", signals, DT)
    assert Path("a.npz").read_bytes() == first
    two = [(Label(name, is_output=True), numbers(5, 2, 3)) for name in ("file", "b")]
    write_signals("b.npz", two, DT)
    with np.load("b.npz") as found:
        assert found.files == ["file", "b", "dt"]


@pytest.mark.parametrize(
    ("path", "labels", "said"),
    [
        ("out.txt", [V], "'out.txt': a recording cannot be written as '.txt'; end it in .npz, "),
        ("out", [V], "'out': the name has no suffix; end it in .npz, .csv, .nir, .h5, .hdf5, or "),
        ("out.npy", [V], "'out.npy': a recording cannot be written as '.npy'"),
        (
            "a.csv",
            [V, Label("lif", "count")],
            "'lif:count' has no axis of time, which a .csv file ne",
        ),
        ("a.npz", [V, V], "two arrays would be called 'lif:v'"),
        (
            "a.npz",
            [Label("dt", is_output=True), Label("b", is_output=True)],
            "two arrays would be called 'dt': the output, and the length of a step; write NIR da",
        ),
        ("a.nir", [Label("lif", "count")], "'lif:count' has no axis of time, which NIR data need"),
        ("a.nir", [Label("n"), Label("n/a")], "hold either a nested graph's output or that of"),
    ],
)
def test_names_and_forms_that_do_not_do(path: str, labels: list[Label], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_format(path, labels)
    assert said in str(caught.value)
    with pytest.raises(UsageError):
        write_signals(path, [(label, numbers(3, 1, 2)) for label in labels], DT)
    assert os.listdir() == []


@pytest.mark.parametrize("form", ["npz", "csv", "nir"])
def test_a_form_that_no_name_says(form: str) -> None:
    """To a stream, or to a file that is called otherwise: the same bytes as to its own."""
    signals = [(V, numbers(4, 1, 2))]
    stream = io.BytesIO()
    write_signals(stream, signals, DT, form=form)
    write_signals("a.csv" if form == "npz" else "a.npz", signals, DT, form=form)
    (other,) = Path().iterdir()
    assert stream.getvalue() == other.read_bytes()
    stream.seek(0)
    assert (read("-", stdin=stream).astype(np.float32) == signals[0][1]).all()
    with pytest.raises(UsageError, match="the name has no suffix"):
        write_signals(stream, signals, DT)
    with pytest.raises(UsageError, match="two arrays would be called"):
        write_signals(stream, signals * 2, DT, form=form)


@pytest.mark.parametrize("suffix", [s for f in SIGNALS if f.writer for s in f.suffixes])
def test_a_full_disk_leaves_nothing_half_written(
    suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> Any:
        raise OSError(28, os.strerror(28))

    path = Path(f"a{suffix}")
    path.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        write_signals(str(path), [(V, numbers(3, 1, 2))], DT)
    assert path.read_bytes() == b"old"
    assert os.listdir() == [path.name]
    with pytest.raises(OutputError, match="exists already"):
        write_signals(str(path), [(V, numbers(3, 1, 2))], DT, clobber=False)


@settings(deadline=None, max_examples=40)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.float16]),
        hnp.array_shapes(min_dims=2, max_dims=4, max_side=4),
    ),
    st.sampled_from([".npz", ".nir"]),
)
def test_what_is_written_is_read_back(values: np.ndarray, suffix: str) -> None:
    write_signals(f"a{suffix}", [(V, values)], DT)
    found = read(f"a{suffix}")
    assert found.dtype == values.dtype
    assert np.array_equal(found.reshape(values.shape), values, equal_nan=True)


def test_an_empty_recording_in_nir_data() -> None:
    content = written("nir", Label("a", "v"), np.zeros((0, 2, 3), np.float32))
    Path("a.h5").write_bytes(content)
    assert nir.read_data("a.h5").nodes["a"].observables["v"].shape == (2, 0, 3)


# ------------------------------------------------------------------------------- states


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.text(max_size=4)
    | hnp.arrays(ANY_NUMBERS, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
)
STATES = st.recursive(
    LEAVES,
    lambda inner: (
        st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        is_float = one.dtype.kind == "f"
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=is_float)
    return bool(one == other)


def test_same_sees_differences() -> None:
    assert not same({"a": np.zeros(2)}, {"a": np.zeros(3)})
    assert not same((1,), [1])
    assert not same(None, {})


@settings(deadline=None)
@given(STATES)
def test_a_state_comes_back_as_it_was(state: Any) -> None:
    write_state("s.npz", state)
    assert same(fitted(saved_state("s.npz").leaves, state, "s.npz"), state)


STATE = {"lif": {"v": numbers(2, 3)}, "w": None, "nest": {"li": {"v": numbers(2, 1)}}}


def test_the_arrays_of_a_state_have_the_names_of_their_places() -> None:
    write_state("s.npz", STATE)
    with np.load("s.npz", allow_pickle=False) as found:
        assert found.files == ["lif/v", "nest/li/v", "nirtorch:made_with"]


class Pair(NamedTuple):
    v: Any
    i: Any


def test_a_named_tuple_comes_back_by_the_template() -> None:
    template = {"lif": Pair(numbers(2), numbers(2))}
    write_state("s.npz", template)
    assert type(fitted(saved_state("s.npz").leaves, template, "s.npz")["lif"]) is Pair


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({**STATE, "lif": {}}, "has no 'lif/v'"),
        ({**STATE, "more": numbers(1)}, "has 'more', which the model has not"),
        ({**STATE, "lif": {"v": numbers(3, 3)}}, "'lif/v' has the shape (3, 3), not (2, 3)"),
        ({**STATE, "lif": {"v": np.array([["a"] * 3] * 2)}}, "'lif/v' holds <U1"),
        ({**STATE, "lif": None}, "has no 'lif/v'"),
        ({**STATE, "w": numbers(2)}, "has 'w', which the model has not"),
        ({**STATE, "w": (1, 2)}, "has 'w/0', 'w/1', which the model has not"),
        ({**STATE, "steps": True}, "'steps' is no int"),
        ({**STATE, "steps": numbers(2)}, "'steps' is no int"),
        ({**STATE, "lif": {"v": 3}}, "'lif/v' has the shape (1,), not (2, 3)"),
        ({}, "has no 'lif/v', 'nest/li/v', 'steps'"),
        (None, "has no 'lif/v', 'nest/li/v', 'steps'"),
    ],
)
def test_a_state_of_another_model(state: Any, said: str) -> None:
    write_state("s.npz", state)
    with pytest.raises(UsageError) as caught:
        fitted(saved_state("s.npz").leaves, {**STATE, "steps": 3}, "s.npz")
    line = str(caught.value)
    assert line.startswith("s.npz: is not a state of this model and batch: ")
    assert said in line


def test_a_state_that_differs_in_everything_is_told_at_a_bearable_length() -> None:
    many = {f"n{i}": numbers(2) for i in range(50)}
    with pytest.raises(UsageError, match=r"; and 42 more$"):
        fitted({key: numbers(3) for key in many}, many, "s.npz")


def test_a_state_that_no_file_can_hold() -> None:
    """Which can be asked before a run is at its end, and costs nothing."""
    for value, said in (({1}, "set"), (np.array([{}]), "Python object"), (1j, "complex")):
        for refusing in (require_storable_state, lambda state: write_state("s.npz", state)):
            message = f"node 'a/b': the state holds a {said}, which a state file cannot store"
            with pytest.raises(UsageError, match=f"^{message}$"):
                refusing({"a": {"b": value}})
    assert os.listdir() == []
    state = {"v": np.zeros(10**6), "w": [None, (1, "a")]}
    tracemalloc.start()
    require_storable_state(state)
    assert tracemalloc.get_traced_memory()[1] < 10**5
    tracemalloc.stop()


MADE_WITH = MadeWith(1e-4, "euler", "value", False, "above", "float32", "model.nir", 100)


@pytest.mark.parametrize("made_with", [MADE_WITH, MadeWith(), MadeWith(model="é\n"), None])
def test_what_a_state_was_made_with(made_with: MadeWith | None) -> None:
    write_state("s.npz", STATE, made_with=made_with)
    found = saved_state("s.npz")
    assert found.made_with == made_with
    assert same(fitted(found.leaves, STATE, "s.npz"), STATE)


def test_a_state_of_other_steps() -> None:
    assert MADE_WITH.differences(dataclasses.replace(MADE_WITH, dt=float(np.float32(1e-4)))) == []
    assert MADE_WITH.differences(MadeWith(dtype="float64", model="b.nir", steps=3)) == []
    assert MADE_WITH.differences(MadeWith(1e-3, "exact", "subtract")) == [
        "dt 0.0001, not 0.001",
        "integration euler, not exact",
        "reset value, not subtract",
    ]


@pytest.mark.parametrize(
    ("told", "is_fine"),
    [
        ('{"dt": 1, "unheard of": []}', True),
        ("{}", True),
        ("null", True),
        ("[]", False),
        ("{", False),
        ('{"dt": "fast"}', False),
        ('{"dt": NaN}', False),
        ('{"dt": -1.0}', False),
        ('{"steps": 1.5}', False),
        (f'{{"dt": 1{"0" * 400}}}', False),
        ('{"steps": true}', False),
        ('{"reset": 1}', False),
        ("[" * 10**5, False),
    ],
)
def test_states_that_say_something_else(told: str, is_fine: bool) -> None:
    Path("s.npz").write_bytes(archive_of({"nirtorch:made_with": text_bytes(told)}))
    if is_fine:
        assert saved_state("s.npz").leaves == {}
    else:
        with pytest.raises(ReadError, match=r"s.npz: is a damaged saved state; write it again"):
            saved_state("s.npz")


def text_bytes(text: str) -> Any:
    return np.frombuffer(text.encode(), np.uint8)


def test_a_state_of_the_version_before() -> None:
    """It said which dicts and tuples held its arrays, which the model says now."""
    structure = {"dict": [["lif", {"dict": [["v", {"array": "lif/v"}]]}], ["w", None]]}
    arrays = {"lif/v": numbers(2, 3), "nirtorch:state": text_bytes(json.dumps(structure))}
    Path("s.npz").write_bytes(archive_of(arrays))
    found = saved_state("s.npz")
    assert found.made_with is None
    state = {"lif": {"v": numbers(2, 3)}, "w": None}
    assert same(fitted(found.leaves, state, "s.npz"), state)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text", "s.npz: is not a saved state; nirtorch run --state-out writes one"),
        (b"", "s.npz: is empty"),
        (b"PK\x03\x04", "is a damaged .npz file"),
        (archive_of({"a": numbers(2)}), "is an .npz file, but not a saved state"),
    ],
)
def test_states_that_are_none(content: bytes, said: str) -> None:
    Path("s.npz").write_bytes(content)
    with pytest.raises(ReadError) as caught:
        saved_state("s.npz")
    assert said in str(caught.value)


def test_a_state_that_claims_too_much() -> None:
    write_state("s.npz", {"v": np.zeros(10**6)})
    with pytest.raises(ReadError, match="claim more than 1,000,000 bytes"):
        saved_state("s.npz", max_bytes=10**6)
