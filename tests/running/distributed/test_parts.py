"""The folder of finished shards: what is put there is there, and only that of the same run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nirtorch_cli.findings.errors import OutputError, UsageError
from nirtorch_cli.running.distributed.parts import Parts
from nirtorch_cli.running.distributed.processes import Launch, launch_of
from nirtorch_cli.running.signals.signal import Signal
from nirtorch_cli.running.state_file import MadeWith, saved_state
from nirtorch_cli.running.stream import ShardRun, StreamRun
from nirtorch_cli.running.tally import Tally

SETTINGS = {"MODEL": "abc", "--steps": 5, "--shard": [[0, 2], [2, 4]]}


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    found = Parts(str(tmp_path / "out.h5.parts"))
    found.begin(SETTINGS)
    return found


def run(seed: int = 0) -> StreamRun:
    random = np.random.default_rng(seed)
    values = {
        ("output", None): random.random((5, 2, 3), np.float32),
        ("nest/lif", "v"): random.random((5, 2)),
        ("nest/lif", "spikes"): random.random((5, 2, 0)) > 0.5,
    }
    values["output", None][3, 1, 2] = np.inf
    tallies = {key: Tally() for key in values}
    for key, array in values.items():
        tallies[key].add(array)
    counts = {"nest/lif": random.integers(0, 5, (2, 4)), "lif": random.random(2)}
    shard = ShardRun(tallies, counts, ["lif"], {"lif": {"v": random.random((2, 3))}})
    return StreamRun([shard], {key: Signal.of(array) for key, array in values.items()}, 5)


def test_what_is_put_there_is_read_back(parts: Parts) -> None:
    assert parts.finished(2) == []
    for number in (1, 0):
        parts.put(number, run(number), MadeWith(dt=0.5))
    assert parts.finished(2) == [0, 1]
    for number in (0, 1):
        expected, found = run(number), parts.shard(number)
        (shard,), (other,) = expected.shards, found.shards
        assert found.steps == 5
        assert list(found.signals) == list(expected.signals)
        for key, signal in expected.signals.items():
            assert found.signals[key].dtype == signal.dtype
            np.testing.assert_array_equal(found.signals[key].part(), signal.part())
            np.testing.assert_array_equal(found.signals[key].part(1, 3), signal.part(1, 3))
            if signal.width:
                rows = found.signals[key].rows(1, 2)
                np.testing.assert_array_equal(rows.part(), signal.part()[:, 1:])
        assert found.tallies == expected.tallies
        for path, count in shard.counts.items():
            np.testing.assert_array_equal(other.counts[path], count)
        assert other.not_finite == ["lif"]
        saved = saved_state(parts.state_file(number))
        np.testing.assert_array_equal(saved.leaves["lif/v"], shard.state["lif"]["v"])


@pytest.mark.parametrize("suffix", ["bin", "json"])
def test_what_was_not_written_to_its_end_is_not_finished(parts: Parts, suffix: str) -> None:
    for number in (0, 1):
        parts.put(number, run())
    file = parts.folder / f"0001.{suffix}"
    file.write_bytes(file.read_bytes()[:-3])
    assert parts.finished(2) == [0]
    file.unlink()
    assert parts.finished(2) == [0]


def test_the_same_run_goes_on(parts: Parts) -> None:
    parts.put(1, run())
    parts.begin({**SETTINGS, "--shard": ((0, 2), (2, 4))})  # as JSON has it
    assert parts.finished(2) == [1]


def test_another_run_is_refused_or_discards(parts: Parts) -> None:
    parts.put(1, run())
    other = {**SETTINGS, "MODEL": "def", "--steps": 6}
    with pytest.raises(UsageError) as caught:
        parts.begin(other)
    text = "'{}' has finished shards of another run; it differs in 'MODEL', '--steps'; --force"
    assert str(caught.value).startswith(text.format(parts.folder))
    assert parts.finished(2) == [1]
    parts.begin(other, force=True)
    assert parts.finished(2) == []
    parts.begin(other)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"run": 3}', b"\xff"])
def test_a_damaged_manifest_is_another_run(parts: Parts, content: bytes) -> None:
    (parts.folder / "run.json").write_bytes(content)
    with pytest.raises(UsageError, match="finished shards of another run"):
        parts.begin(SETTINGS)
    parts.begin(SETTINGS, force=True)
    assert json.loads((parts.folder / "run.json").read_text())["run"] == SETTINGS


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "out.h5.parts"
    folder.mkdir()
    (folder / "0001.bin").write_text("mine")
    for force in (False, True):
        with pytest.raises(UsageError, match="has other files; name another output"):
            Parts(str(folder)).begin(SETTINGS, force=force)
    assert (folder / "0001.bin").read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="finished shards cannot be kept there: "):
        Parts(str(tmp_path / "file")).begin(SETTINGS)


def test_only_what_is_ours_is_removed(parts: Parts) -> None:
    parts.put(0, run(), MadeWith())
    (parts.folder / ".nirtorch-00.tmp").write_text("of a process that was killed")
    (parts.folder / "notes.txt").write_text("mine")
    parts.remove()
    assert [path.name for path in parts.folder.iterdir()] == ["notes.txt"]
    (parts.folder / "notes.txt").unlink()
    parts.remove()
    assert not parts.folder.exists()
    parts.remove()


# ------------------------------------------------------------------------------ the launch

TORCHRUN = {"RANK": "2", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "1"}


def test_what_a_launcher_says() -> None:
    assert launch_of({}) is None
    assert launch_of(TORCHRUN) == Launch(2, 4, 0)
    assert launch_of({**TORCHRUN, "LOCAL_RANK": "1"}) == Launch(2, 4, 1)
    for name in TORCHRUN:
        assert launch_of({key: TORCHRUN[key] for key in TORCHRUN if key != name}) is None


@pytest.mark.parametrize(
    "change", [{"RANK": "4"}, {"RANK": "-1"}, {"WORLD_SIZE": "many"}, {"LOCAL_RANK": "x"}]
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="the environment names no process of several: RANK="):
        launch_of({**TORCHRUN, **change})
