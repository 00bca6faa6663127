"""The tree behind params.yaml: what is refused, and in which words."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from dcal.config import BranchValues, Config, ConfigError, load_config, parse_config, read_yaml

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    return path


def test_the_committed_params_load_and_are_frozen() -> None:
    config = load_config(ROOT / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        config.model.top_r = 0.5  # type: ignore[misc]


def test_overrides_change_single_values_of_any_type(params: Path) -> None:
    config = load_config(
        params, ["model.top_r=0.25", "model.image_size=[64, 32]", "train.clip_norm=null", "seed=0"]
    )
    assert config.model.top_r == 0.25
    assert config.model.image_size == (64, 32)
    assert config.train.clip_norm is None
    assert config.seed == 0


@pytest.mark.parametrize("name", ["../mine", "a/b", "..", "", "/tmp/x"])
def test_a_dataset_name_that_is_no_folder_name_is_refused(name: str, params: Path) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.name: expected letters, digits"):
        load_config(params, [f"dataset.name='{name}'"])


@pytest.mark.parametrize("text", ["1e-5", "1.0e-05", "0.00001"])
def test_small_numbers_are_numbers_however_they_are_written(text: str, params: Path) -> None:
    assert load_config(params, [f"train.lr={text}"]).train.lr == 1e-5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.topr=0.3", r"model\.topr: unknown key; did you mean top_r\?"),
        ("top_r=0.3", r"top_r: unknown key; did you mean model\.top_r\?"),
        ("modle.top_r=0.3", r"modle: unknown key; did you mean model\?"),
        ("model.zzz=1", r"model\.zzz: unknown key; valid keys here: backbone, .*"),
        ("model.top_r=0", r"model\.top_r: should be greater than 0; got 0"),
        ("model.top_r=1.5", r"model\.top_r: should be less than or equal to 1; got 1\.5"),
        ("model.top_r='0.3'", r"model\.top_r: should be a valid number; got '0\.3'"),
        ("seed=-1", r"seed: should be greater than or equal to 0; got -1"),
        ("seed=4294967296", r"seed: should be less than 4294967296; got 4294967296"),
        ("seed=1.0", r"seed: should be a valid integer; got 1\.0"),
        ("seed=true", r"seed: should be a valid integer; got True"),
        ("train.compile=yes", r"train\.compile: should be a valid boolean; got 'yes'"),
        ("train.lr=.nan", r"train\.lr: should be .*; got nan"),
        ("train.lr=null", r"train\.lr: should be a valid number; got None"),
        ("train.optimizer=lion", r"train\.optimizer: should be 'adamw', 'adam' or 'sgd'; got .*"),
        ("model.image_size=64", r"model\.image_size: .*; got 64"),
        ("model.image_size=[64]", r"model\.image_size\.1: .*"),
        ("loss.triplet=soft", r"loss\.triplet: expected none for an fgvc dataset; .*"),
        (
            "train.warmup_epochs=50",
            r"train\.warmup_epochs: expected at most train\.epochs, which is 13; got 50\. .*",
        ),
        ("train.batch_size=1", r"train\.batch_size: expected at least 2 .*; got 1\. .*"),
    ],
)
def test_a_wrong_value_is_one_line_with_its_key(override: str, message: str, params: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(params, [override])
    assert "\n" not in str(caught.value)
    caught.match(rf"^.*params\.yaml: {message}$")


def test_a_batch_of_one_is_fine_without_pwca(params: Path) -> None:
    config = load_config(params, ["train.batch_size=1", "model.pwca_blocks=0"])
    assert config.train.batch_size == 1


def test_the_bounds_themselves_are_accepted(params: Path) -> None:
    config = load_config(params, ["seed=4294967295", "train.epochs=2", "train.warmup_epochs=2.0"])
    assert (config.seed, config.train.warmup_epochs) == (2**32 - 1, 2.0)


def test_every_mistake_has_its_own_line(params: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(params, ["model.topr=1", "seed=x"])
    assert len(str(caught.value).splitlines()) == 2


def test_a_key_that_is_not_there_is_missing_and_has_no_default(params: Path) -> None:
    tree = read_yaml(params)
    del tree["model"]["top_r"]
    with pytest.raises(ConfigError, match=r"^params\.yaml: model\.top_r: missing$"):
        parse_config(tree)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping with the keys seed, dataset, .*; got nothing"),
        ("- 1\n", "expected a mapping .*; got a list"),
        ("seed: [1\n", "not a valid YAML file: "),
        ("seed: 1\nseed: 2\n", "not a valid YAML file: .*duplicate key"),
        ("a:\n\t- 1\n", "not a valid YAML file: "),
    ],
)
def test_a_file_that_is_no_mapping_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make it with: python -m pipelines.compose"):
        load_config(tmp_path / "params.yaml")


@pytest.mark.parametrize("override", ["seed", "=1", "seed.x=1"])
def test_a_malformed_override_is_refused(override: str, params: Path) -> None:
    with pytest.raises(ConfigError, match="override"):
        load_config(params, [override])


def test_every_key_is_read_by_some_code() -> None:
    read = set()
    for folder in ("dcal", "pipelines"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "config.py":
                read |= {
                    node.attr
                    for node in ast.walk(ast.parse(path.read_text()))
                    if isinstance(node, ast.Attribute)
                }
    # The Re-ID keys wait for their losses, heads and data sets.
    waiting = {"loss.triplet", "loss.triplet_margin"}
    unread = {key for key in list_keys(Config) if key.rpartition(".")[2] not in read}
    assert unread - waiting == set()


def list_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Return the dotted names of all leaves."""
    for name, field in section.model_fields.items():
        is_section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        # The values of the branches are read by a branch's name.
        if is_section and field.annotation is not BranchValues:
            yield from list_keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name
