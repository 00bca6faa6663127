"""What a kill left broken of DVC's own files is mended, and nothing else is touched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from dvc.lock import make_lock

from pipelines import mend

RWLOCK = Path(".dvc/tmp/rwlock")
WHOLE = '{"write": {}, "read": {"data": [{"pid": 1, "cmd": "dvc repro"}]}}'


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    RWLOCK.parent.mkdir(parents=True)


@pytest.mark.parametrize("broken", ["", "{", WHOLE[:20], "[]"])
def test_a_broken_list_of_readers_is_removed(broken: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    RWLOCK.write_text(broken)
    mend.main()
    assert not RWLOCK.exists()
    assert caplog.messages == [f"{RWLOCK} was damaged, as a kill leaves it: it is removed"]


def test_a_whole_one_stays() -> None:
    RWLOCK.write_text(WHOLE)
    mend.main()
    assert RWLOCK.read_text() == WHOLE


def test_one_that_another_dvc_is_writing_stays() -> None:
    RWLOCK.write_text("")
    with make_lock(str(RWLOCK.with_name("rwlock.lock"))):
        mend.main()
    assert RWLOCK.exists()


def test_nothing_is_made_where_there_is_nothing() -> None:
    mend.main()
    assert not any(RWLOCK.parent.iterdir())


@pytest.mark.slow
def test_dvc_refuses_a_broken_list_and_runs_again_once_it_is_mended() -> None:
    """Or all of this could go."""

    def freeze() -> subprocess.CompletedProcess[str]:
        command = ["dvc", "add", "picture.png"]
        return subprocess.run(command, capture_output=True, text=True)

    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["dvc", "init", "-q", "--force"], check=True)
    Path("picture.png").write_bytes(b"picture")
    RWLOCK.parent.mkdir(parents=True, exist_ok=True)
    RWLOCK.write_text("")
    refused = freeze()
    assert refused.returncode != 0 and "corrupted" in refused.stderr + refused.stdout
    mend.main()
    assert freeze().returncode == 0
