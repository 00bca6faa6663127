"""The compiler takes a training step in one piece, once, and what it makes of it is that step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from dcal.training.runtime import has_compiler
from tests.models.compiled_steps import CASES


def compile_steps(repository, cache, *arguments):
    found = subprocess.run(
        [sys.executable, "-m", "tests.models.compiled_steps", *arguments],
        cwd=repository,
        env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    return json.loads(found.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Return what the first of all workers found."""
    base = tmp_path_factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled_steps.json"
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            repository = Path(__file__).resolve().parents[2]
            # The interpreter runs what this backend makes: it needs no C++ compiler.
            found = compile_steps(repository, tmp_path_factory.mktemp("cache"), "aot_eager")
            path.write_text(json.dumps(found))
    return json.loads(path.read_text())


def assert_same_values(found):
    """Compare the differences, each a share of the largest value."""
    # Sums in another order: a rounding may fall otherwise, in bf16 by 2^-8.
    tolerance = 2**-6 if found["precision"] == "bfloat16" else 1e-12
    assert found["differences"]["patches"] == 0
    assert max(found["differences"].values()) <= tolerance


@pytest.mark.parametrize("case", CASES)
def test_a_step_is_one_graph_with_its_backward(report, case):
    found = report[case]
    assert found["breaks"] == 0
    assert found["backward"] == "CompiledFunctionBackward"
    assert found["precision"] == ("bfloat16" if CASES[case].autocast else "float64")


@pytest.mark.parametrize("case", CASES)
def test_other_pictures_and_another_pairing_are_not_compiled_again(report, case):
    assert report[case]["graphs"] == 1


@pytest.mark.parametrize("case", CASES)
def test_a_compiled_step_gives_the_eager_outputs_and_gradients(report, case):
    assert_same_values(report[case])


def test_a_break_and_a_second_compilation_would_be_counted(report):
    assert report["a read"] == {"breaks": 1, "graphs": 2}
    assert report["two shapes"] == {"breaks": 0, "graphs": 2}


@pytest.mark.slow
def test_a_step_in_machine_code_gives_the_eager_outputs_and_gradients(repository, tmp_path):
    if not has_compiler(on_gpu=False):
        pytest.skip("torch.compile on a CPU needs a C++ compiler")
    case = "class_local, clean, batch, checkpointing"
    found = compile_steps(repository, tmp_path, "inductor", case)[case]
    assert found["breaks"] == 0 and found["graphs"] == 1
    assert_same_values(found)
