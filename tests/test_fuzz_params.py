"""Any text as params.yaml gives a valid tree or one error that names the file and the key."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from dcal.config import Config, ConfigError, load_config, parse_config, read_yaml
from dcal.config_errors import MAX_LISTED
from tests.damage import damaged, few, many
from tests.project import ROOT

PARAMS = (ROOT / "params.yaml").read_bytes()
TREE = read_yaml(ROOT / "params.yaml")
# What YAML makes of some texts is stranger than it looks.
STRANGE = st.sampled_from(
    [
        *("!!timestamp x", "!!int x", "!!float x", "!!bool x", "!!binary x", "!!omap x", "!!set x"),
        *("!!python/object:os.system x", "!x y", "!!str", "2024-13-45", "0x", "1_0", "1e999"),
        *("&a [*a]", "*a", "&a 1", "<<: 1", "{<<: {a: 1}}", "? [a]", "? {a: 1}", "- - -", "[]"),
        *("'\\ud800'", '"\\ud800"', '"\\0"', "\t", "\x85", "\u2028", "\ufeff", "%YAML 1.1", "---"),
        *("...", "9" * 5000, "0x" + "f" * 5000, "[" * 100, "{a: " * 100, "|", ">", "@", "`", "#"),
        *("0o9", ".nan", "-.inf", "~", "12:30:45", "=", "yes", "null", "''", "!!null x", "!!"),
    ]
)
VALUES = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates()),
        st.integers(min_value=10**5000, max_value=10**5001),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.one_of(st.text(max_size=8), st.integers(), st.none(), st.sampled_from(["top_r", "lr"]))


def list_places(tree: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Return the path of keys to every value of a tree."""
    for key, value in tree.items():
        yield (*place, key)
        if isinstance(value, dict):
            yield from list_places(value, (*place, key))


PLACES = st.sampled_from(list(list_places(TREE)))


def load(content: bytes) -> tuple[Config | None, str]:
    """Read bytes as params.yaml: the tree, or the one error that there may be, soon."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "params.yaml")
        path.write_bytes(content)
        started = time.monotonic()
        try:
            config, message = load_config(path), ""
        except ConfigError as error:
            config, message = None, str(error)
            for line in message.splitlines():
                assert line.startswith(f"{path}: ") and len(line) < 1000
        assert time.monotonic() - started < 5
    return config, message


@few
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_any_bytes_are_one_error(content: bytes) -> None:
    config, message = load(content)
    assert config is None and message


@few
@given(damaged(st.just(PARAMS)))
def test_a_damaged_file_is_a_valid_tree_or_one_error(content: bytes) -> None:
    load(content)


@st.composite
def strange_files(draw: st.DrawFn) -> bytes:
    """Draw params.yaml with strange texts in the place of values, keys or lines."""
    lines = PARAMS.decode().splitlines()
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(lines) - 1))
        key, colon, value = lines[number].partition(": ")
        strange = draw(STRANGE)
        lines[number] = draw(
            st.sampled_from(
                [f"{key}{colon}{strange}", f"{strange}{colon}{value}", strange, f"{key}: {strange}"]
            )
        )
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@few
@given(strange_files())
def test_strange_values_are_a_valid_tree_or_one_error(content: bytes) -> None:
    load(content)


def change(tree: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(tree)
    node = changed
    for key in place[:-1]:
        node = node[key]
    if value is DROP:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    return changed


DROP = object()


@few
@given(PLACES, st.one_of(VALUES, st.just(DROP)))
def test_a_wrong_value_or_a_missing_one_is_named_by_its_key(
    place: tuple[str, ...], value: Any
) -> None:
    try:
        parse_config(change(TREE, place, value))
    except ConfigError as error:
        # A value that is fine by itself may contradict another one, whose key is then named.
        named = [line.split(": ")[1] for line in str(error).splitlines()[:MAX_LISTED]]
        dotted = ".".join(place)
        contradicts = {"train.batch_size", "train.warmup_epochs", "dataset.kind"}
        contradicts |= {"loss.triplet", "model.neck", "model.side_information"}
        contradicts |= {"train.images_per_identity"}
        assert all(name.startswith(dotted) or name in contradicts for name in named), str(error)
    else:
        # Options are the source's own business, and checked by it.
        assert value is not DROP or place[:2] == ("dataset", "options")


@few
@given(PLACES, KEYS, VALUES)
def test_a_key_too_many_is_named_wherever_it_stands(
    place: tuple[str, ...], key: Any, value: Any
) -> None:
    tree = copy.deepcopy(TREE)
    node = tree
    for part in place[:-1]:
        node = node[part]
    is_known = key in node or place[:2] == ("dataset", "options")
    node[key] = value
    try:
        parse_config(tree)
    except ConfigError as error:
        assert is_known or ".".join(place[:-1]) in str(error)
    else:
        assert is_known


@pytest.mark.slow
@many
@given(st.one_of(damaged(st.just(PARAMS)), strange_files(), damaged(strange_files())))
def test_many_files_are_a_valid_tree_or_one_error(content: bytes) -> None:
    load(content)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 60_000,
        "{a: " * 15_000,
        "- " * 30_000,
        "? " * 30_000,
        "a: " + "[" * 1000 + "]" * 1000,
        "\n".join(" " * depth + "a:" for depth in range(300)),
        "a: &a [x]\n" + "\n".join(f"a{i}: &a{i} [{', '.join(['*a'] * 9)}]" for i in range(30)),
        "a: &a [*a]",
        "a: &a {<<: *a}",
        "x" * 10_000_000,
        "'" * 60_000,
        "a: b\n" * 10_000,
        "!" * 60_000,
        "a" * 60_000 + ": 1",
    ],
    ids=lambda text: text[:8].encode("unicode_escape").decode(),
)
def test_bombs_of_depth_and_aliases_are_one_error_and_soon(text: str) -> None:
    config, message = load(text.encode())
    assert config is None and message


def test_anchors_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("seed: &s 0\nmodel: *s\n")
    with pytest.raises(ConfigError, match=r"anchors and aliases are not read, got 's'; write"):
        read_yaml(path)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    with path.open("w") as stream:
        YAML(typ="safe", pure=True).dump(TREE, stream)
    assert load_config(path) == load_config(ROOT / "params.yaml")
