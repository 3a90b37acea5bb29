"""Weights of converted modules in .safetensors files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from networks import module_of
from safetensors import safe_open

from nirtorch_cli import ReadError, load_weights, read
from nirtorch_cli.conversion.artefacts.safetensors import save
from nirtorch_cli.findings.errors import OutputError, SaveError

DIGITS = Path(__file__).parents[2] / "data" / "digits.nir"


def digits(**options: Any) -> Any:
    return module_of(DIGITS, {}, **options)


def altered(module: Any) -> Any:
    """The module with other weights."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.25)
    return module


def assert_same_weights(one: Any, other: Any) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_weights_come_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    tuned = altered(digits(dtype=dtype))
    save(tuned, tmp_path / "w.safetensors")
    fresh = digits(dtype=dtype)
    before = fresh.state_dict()
    load_weights(fresh, tmp_path / "w.safetensors")
    assert_same_weights(fresh, tuned)
    assert all(before[name] is not None for name in before)
    x = torch.ones(3, 64, dtype=dtype)
    assert torch.equal(fresh(x)[0], tuned(x)[0])


def test_they_are_converted_to_the_modules_type(tmp_path: Path) -> None:
    save(altered(digits()), tmp_path / "w.safetensors")
    wide = digits(dtype=torch.float64)
    load_weights(wide, tmp_path / "w.safetensors")
    assert_same_weights(wide, altered(digits()).double())


def test_the_same_module_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = io.BytesIO(), tmp_path / "w.safetensors"
    save(digits(), first)
    save(digits(), second)
    assert first.getvalue() == second.read_bytes()


def test_the_metadata_say_what_made_it(tmp_path: Path) -> None:
    save(digits(), tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        said = json.loads(file.metadata()["nirtorch"])
    assert said["file"] == "digits.nir"
    assert said["dt"] == 1e-4
    assert said["reset"] == "value"
    assert len(said["sha256"]) == 64
    assert set(said["versions"]) == {"nirtorch_cli", "nir", "torch"}


def test_shared_and_transposed_tensors_are_stored(tmp_path: Path) -> None:
    def mapped(node: nir.Linear) -> torch.nn.Module:
        module = torch.nn.Linear(2, 2)
        module.bias = torch.nn.Parameter(torch.ones(2))
        module.register_buffer("same", module.bias.data)
        module.weight = torch.nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T)
        return module

    graph = nir.NIRGraph.from_list(nir.Linear(np.eye(2)))
    module = module_of(graph, {nir.Linear: mapped})
    save(module, tmp_path / "w.safetensors")
    other = altered(module_of(graph, {nir.Linear: mapped}))
    load_weights(other, tmp_path / "w.safetensors")
    assert_same_weights(other, module)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save(digits(), tmp_path / "w.safetensors")
    other = module_of(nir.NIRGraph.from_list(nir.Linear(np.ones((2, 3)))), {})
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ReadError, match=r"has no 'linear\.weight'") as caught:
        load_weights(other, tmp_path / "w.safetensors")
    assert [finding.code for finding in caught.value.findings] == ["NIR025"]
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


def test_another_shape_is_refused(tmp_path: Path) -> None:
    small, large = (nir.NIRGraph.from_list(nir.Linear(np.ones((2, n)))) for n in (3, 4))
    save(module_of(small, {}), tmp_path / "w.safetensors")
    with pytest.raises(ReadError, match=r"has the shape \(2, 3\), in the module \(2, 4\)"):
        load_weights(module_of(large, {}), tmp_path / "w.safetensors")
    with pytest.raises(ReadError, match="which the module has not"):
        load_weights(torch.nn.Identity(), tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("content", "code"), [(None, "NIR001"), (b"", "NIR025"), (b"\x80\x00 no weights", "NIR025")]
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes | None, code: str) -> None:
    if content is not None:
        (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ReadError) as caught:
        load_weights(digits(), tmp_path / "w.safetensors")
    assert [finding.code for finding in caught.value.findings] == [code]


def test_weights_are_no_model(tmp_path: Path) -> None:
    save(digits(), tmp_path / "w.safetensors")
    with pytest.raises(ReadError, match="holds the weights of a module alone") as caught:
        read(tmp_path / "w.safetensors")
    assert "load_weights" in str(caught.value.findings[0].hint)


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def get_extra_state(self) -> Any:
            return {"a": 1}

        def set_extra_state(self, state: Any) -> None:
            pass

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    graph = nir.NIRGraph.from_list(nir.Scale(np.ones(2)))
    module = module_of(graph, {nir.Scale: lambda node: Odd()})
    with pytest.raises(SaveError, match="entries that are no tensors"):
        save(module, tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()
    (tmp_path / "there.safetensors").write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already"):
        save(digits(), tmp_path / "there.safetensors", clobber=False)
    assert (tmp_path / "there.safetensors").read_bytes() == b"old"
