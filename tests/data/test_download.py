"""A file arrives whole and verified, or one sentence says why not and the next call goes on."""

from __future__ import annotations

import fcntl
import hashlib
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal.config import DatasetConfig
from dcal.data.download import MAX_FAILURES, download, verify
from dcal.data.fetching import fetch_dataset
from dcal.data.sources import cub
from dcal.write_errors import WriteError
from tests.damage import few, many
from tests.data.cub_fixture import write_cub
from tests.data.factory import make_dataset, write_tar
from tests.data.faulty_server import (
    CONTENT,
    PAGE,
    PART,
    WRONG,
    Fault,
    FaultyServer,
    answer,
    drop_after,
    fail,
    hang_up,
    healthy,
    list_names,
    make_item,
    refuse_ranges,
    send_chunks,
    send_chunks_and_drop,
    send_range_from,
    send_short_ranges,
    send_whole,
    send_without_length,
    send_wrong_bytes,
    serve,
)

pytestmark = pytest.mark.usefixtures("waits")


def test_a_download_is_verified_and_not_repeated(server: FaultyServer, tmp_path: Path) -> None:
    path = download(make_item(server), tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert download(make_item(server), tmp_path / "new") == path
    assert server.asked == [""]
    assert list_names(tmp_path / "new") == ["a.tgz"]


def test_a_file_that_is_there_needs_neither_a_server_nor_a_part(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(CONTENT)
    with open(tmp_path / PART, "wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert download(make_item(), tmp_path) == tmp_path / "a.tgz"


def test_a_file_is_verified_by_size_and_by_either_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    item = make_item()
    by_md5 = replace(item, checksum=f"md5:{hashlib.md5(CONTENT).hexdigest()}", num_bytes=None)
    assert not verify(item, path)
    path.write_bytes(CONTENT)
    assert verify(item, path) and verify(by_md5, path)
    assert not verify(replace(item, num_bytes=len(CONTENT) + 1), path)
    path.write_bytes(WRONG)
    assert not verify(item, path) and not verify(by_md5, path)
    assert not verify(item, tmp_path)


@pytest.mark.parametrize("checksum", ["", "0" * 64, "sha1:" + "0" * 40, "md5:" + "0" * 64, "md5:"])
def test_a_checksum_that_no_file_could_have_is_refused(checksum: str) -> None:
    with pytest.raises(ValueError, match="expected a checksum sha256:<64 digits> or md5:<32"):
        replace(make_item(), checksum=checksum)


@pytest.mark.parametrize("content", [WRONG, CONTENT[:-1], b""])
def test_a_wrong_file_is_kept_beside_and_fetched_again(
    server: FaultyServer, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.tgz").write_bytes(content)
    (tmp_path / "a.tgz.wrong").write_bytes(b"an older one")
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert (tmp_path / "a.tgz.wrong").read_bytes() == b"an older one"
    assert (tmp_path / "a.tgz.wrong-2").read_bytes() == content
    assert re.search(
        r"a\.tgz: not the official file \(it.*\); kept as a\.tgz\.wrong-2", caplog.text
    )


def test_a_folder_in_the_files_place_is_named(server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "a.tgz").mkdir()
    with pytest.raises(WriteError, match="a folder of that name is in the way; .* move it away"):
        download(make_item(server), tmp_path)
    assert list_names(tmp_path) == ["a.tgz"]


def test_a_connection_that_always_brings_something_ends_well(
    server: FaultyServer, tmp_path: Path, waits: list[float]
) -> None:
    # More often than an address may fail in a row, and the silent ones between do not count.
    server.script = [hang_up, drop_after(20_000), hang_up, hang_up] * (MAX_FAILURES + 1)
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert server.num_sent == len(CONTENT)
    starts = [int(asked[6:-1]) for asked in server.asked if asked]
    assert starts == sorted(starts) and starts[-1] == 6 * 20_000
    assert max(waits) == 8.0


def test_an_address_that_brings_next_to_nothing_is_given_up(
    server: FaultyServer, tmp_path: Path, waits: list[float]
) -> None:
    server.script = [drop_after(1000)] * 50
    said = fail(make_item(server), tmp_path)
    assert f"{server.url}: the connection broke (" in said
    assert f"{MAX_FAILURES}.0 kB of it stay, to go on from. Run the command again" in said
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_what_is_there_is_not_sent_again(server: FaultyServer, tmp_path: Path) -> None:
    server.script = [drop_after(150_000), *[hang_up] * MAX_FAILURES]
    fail(make_item(server), tmp_path)
    assert list_names(tmp_path) == [PART]
    server.script.clear()
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=150000-"
    assert server.num_sent == len(CONTENT)
    assert list_names(tmp_path) == ["a.tgz"]


def test_a_mirror_goes_on_where_the_first_address_stopped(
    server: FaultyServer, mirror: FaultyServer, tmp_path: Path
) -> None:
    server.script = [drop_after(150_000), answer(404), answer(404)]
    assert download(make_item(server, mirror), tmp_path).read_bytes() == CONTENT
    assert mirror.asked == ["bytes=150000-"]
    assert mirror.num_sent == 50_000


def test_all_addresses_are_told_with_what_each_said(
    server: FaultyServer, mirror: FaultyServer, tmp_path: Path
) -> None:
    server.script, mirror.script = [answer(404)], [answer(403)]
    said = fail(make_item(server, mirror), tmp_path)
    assert f"({server.url}: answers 404 (Not Found); {mirror.url}: answers 403 (Forbid" in said
    assert (len(server.asked), len(mirror.asked)) == (1, 1)
    assert list_names(tmp_path) == []


def test_no_address_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="no address is known.*set dataset.source to it"):
        download(make_item(), tmp_path)


# Each with what is said if it never stops, or None where the right bytes come all the same.
FAULTS: dict[str, tuple[Fault, str | None]] = {
    "drop": (drop_after(1000), "the connection broke"),
    "hang up": (hang_up, "no connection"),
    "404 page": (answer(404), "answers 404 (Not Found)"),
    "page": (send_whole(PAGE, Content_Type="text/html"), "a web page came in place of the file"),
    "bare page": (send_whole(PAGE), "a web page came in place of the file"),
    "text for a browser": (
        send_whole(b"Quota used up", Content_Type="Text/HTML; charset=utf-8"),
        "a web page came in place of the file",
    ),
    "text": (send_whole(b"Quota used up"), "announces 13 bytes, expected are 200000"),
    "shorter": (send_whole(CONTENT[:-1]), "announces 199999 bytes, expected are 200000"),
    "longer": (send_whole(CONTENT + b"x"), "announces 200001 bytes, expected are 200000"),
    "wrong bytes": (send_wrong_bytes, "what came is not the file (its sha256 differs from "),
    "wrong and longer": (send_chunks(WRONG + b"x"), "what came is not the file (its sha256"),
    "shorter without a length": (send_without_length(1000), "ended after 1000 of 200000 bytes"),
    "shorter in chunks": (send_chunks(CONTENT[:-9]), "ended after 199991 of 200000 bytes"),
    "wrong range": (send_range_from(+1), "sends another part of the file than asked for"),
    "range without a place": (answer(206), "sends another part of the file than asked for"),
    "416": (answer(416), "answers 416"),
    "500": (answer(500), "answers 500 (Internal Server Error)"),
    "unheard of": (answer(599), "answers 599; not asked again now"),
    "304": (answer(304), "answers 304 (Not Modified)"),
    "longer without a length": (send_chunks(CONTENT + b"x"), None),
    "ignores ranges": (send_whole(CONTENT), None),
    "chunks": (send_chunks(CONTENT), None),
    "ranges refused by 416": (refuse_ranges(answer(416)), None),
    "ranges refused by 400": (refuse_ranges(answer(400)), None),
    "other ranges": (refuse_ranges(send_range_from(+1)), None),
    "short ranges": (send_short_ranges(20_000), None),
    "archive called compressed": (send_whole(CONTENT, Content_Encoding="gzip"), None),
    "archive called a page": (send_whole(CONTENT, Content_Type="text/html"), None),
}
BEGINNINGS = {"nothing": b"", "a beginning": CONTENT[:70_000], "other bytes": WRONG[:70_000]}


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_ends_well_or_with_one_sentence_and_a_rerun_finishes(
    name: str,
    beginning: str,
    server: FaultyServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fault, words = FAULTS[name]
    if BEGINNINGS[beginning]:
        (tmp_path / PART).write_bytes(BEGINNINGS[beginning])
    server.script = [fault] * 50
    if words is None:
        assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    else:
        fail(make_item(server), tmp_path)
        assert words in caplog.text
        assert not (tmp_path / "a.tgz").exists()
    assert len(server.asked) <= 20
    server.script.clear()
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert list_names(tmp_path) == ["a.tgz"]


def test_wrong_bytes_of_several_attempts_are_fetched_once_more_from_zero(
    server: FaultyServer, tmp_path: Path
) -> None:
    (tmp_path / PART).write_bytes(WRONG[:70_000])
    assert download(make_item(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=70000-", ""]


def test_wrong_bytes_of_one_answer_are_left_for_the_mirror_and_not_mixed(
    server: FaultyServer, mirror: FaultyServer, tmp_path: Path
) -> None:
    server.content = WRONG
    assert download(make_item(server, mirror), tmp_path).read_bytes() == CONTENT
    assert (server.asked, mirror.asked) == ([""], [""])


def test_an_address_with_other_bytes_is_started_over_only_once(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.content = WRONG
    server.script = [drop_after(90_000), healthy, drop_after(90_000), healthy]
    said = fail(make_item(server), tmp_path)
    assert "what came is not the file (its sha256 differs from" in said
    assert server.asked == ["", "bytes=90000-"] * 2
    assert list_names(tmp_path) == []


def test_a_server_without_ranges_does_not_shorten_what_is_there(
    server: FaultyServer, tmp_path: Path
) -> None:
    (tmp_path / PART).write_bytes(CONTENT[:150_000])
    server.script = [send_without_length(1000), answer(404), answer(404)]
    fail(make_item(server), tmp_path)
    assert (tmp_path / PART).read_bytes() == CONTENT[:150_000]


def test_a_size_that_is_not_known_is_the_announced_one(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.script = [drop_after(150_000)]
    assert download(make_item(server, num_bytes=None), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["", "bytes=150000-"]


@pytest.mark.parametrize("num_bytes", [None, len(CONTENT)])
def test_a_part_that_is_whole_needs_no_server(num_bytes: int | None, tmp_path: Path) -> None:
    (tmp_path / PART).write_bytes(CONTENT)
    assert download(make_item(num_bytes=num_bytes), tmp_path).read_bytes() == CONTENT
    assert list_names(tmp_path) == ["a.tgz"]


def test_a_file_whose_end_was_not_announced_is_known_by_the_refusal_of_more(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.script = [send_chunks_and_drop, healthy]
    assert download(make_item(server, num_bytes=None), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["", "bytes=200000-"]
    assert server.num_sent < 1.1 * len(CONTENT)


@pytest.mark.parametrize("num_bytes", [None, len(CONTENT)])
@pytest.mark.parametrize("part", [WRONG, WRONG + b"x", CONTENT + b"x"])
def test_a_part_that_is_too_long_or_wrong_is_started_over(
    part: bytes, num_bytes: int | None, server: FaultyServer, tmp_path: Path
) -> None:
    (tmp_path / PART).write_bytes(part)
    path = download(make_item(server, num_bytes=num_bytes), tmp_path)
    assert path.read_bytes() == CONTENT
    # Of an unknown size, it might have been a beginning.
    assert server.asked == ([""] if num_bytes else [f"bytes={len(part)}-", ""])


def test_cub_is_downloaded_verified_and_unpacked(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_tar(tmp_path / "CUB_200_2011.tgz", write_cub(tmp_path / "cub"))
    server.content = archive.read_bytes()
    checksum = f"sha256:{hashlib.sha256(server.content).hexdigest()}"
    item = replace(
        cub.ARCHIVE, urls=(server.url,), checksum=checksum, num_bytes=len(server.content)
    )
    monkeypatch.setattr(cub, "CUB", replace(cub.CUB, files=(item,)))
    monkeypatch.setenv("DCAL_WORK_ROOT", str(tmp_path / "work"))
    monkeypatch.chdir(tmp_path)
    dataset: DatasetConfig = make_dataset(name="cub", source_type="cub", remote="private")
    server.script = [answer(404)]
    with pytest.raises(ConnectionError, match="CUB_200_2011.tgz could not be downloaded"):
        fetch_dataset(dataset)
    assert not (tmp_path / "data/raw/cub").exists()
    folder = fetch_dataset(dataset)
    assert (folder / "CUB_200_2011/images.txt").is_file()
    assert (tmp_path / "work/data/archives/CUB_200_2011.tgz").is_file()


DROPS = st.one_of(
    st.integers(0, len(CONTENT)).map(drop_after),
    st.integers(0, len(CONTENT)).map(send_without_length),
    st.integers(-100_000, 100_000).map(send_range_from),
    st.integers(1, 60_000).map(send_short_ranges),
)
CALLS = st.sampled_from([fault for fault, _ in FAULTS.values()])
PARTS = st.sampled_from([b"", CONTENT[:1], CONTENT[:-1], CONTENT, WRONG, CONTENT + b"x", PAGE])


DRAWN = (
    st.lists(st.one_of(DROPS, CALLS), max_size=12),
    st.lists(st.one_of(DROPS, CALLS), max_size=12),
    PARTS,
    st.sampled_from([None, len(CONTENT)]),
)


@settings(few, max_examples=30)
@given(*DRAWN)
def test_any_faults_and_then_healthy_servers_bring_the_right_bytes(
    first: list[Fault], second: list[Fault], part: bytes, num_bytes: int | None
) -> None:
    check(first, second, part, num_bytes)


@pytest.mark.slow
@settings(many, max_examples=500)
@given(*DRAWN)
def test_many_faults_and_then_healthy_servers_bring_the_right_bytes(
    first: list[Fault], second: list[Fault], part: bytes, num_bytes: int | None
) -> None:
    check(first, second, part, num_bytes)


def check(first: list[Fault], second: list[Fault], part: bytes, num_bytes: int | None) -> None:
    with serve() as server, serve() as mirror, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / PART).write_bytes(part)
        server.script, mirror.script = list(first), list(second)
        item = make_item(server, mirror, num_bytes=num_bytes)
        # Every call that fails has used up a fault of each.
        for _ in range(min(len(first), len(second))):
            try:
                download(item, folder)
                break
            except ConnectionError as error:
                assert "\n" not in str(error)
        assert download(item, folder).read_bytes() == CONTENT
        assert list_names(folder) == ["a.tgz"]
