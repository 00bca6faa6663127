"""From experiments/ to params.yaml."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dcal.config import ConfigError, load_config, parse_config, read_yaml
from pipelines.compose import (
    GRIDS,
    PLANS,
    check_params,
    compose_tree,
    main,
    render_params,
    write_params,
)

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = ROOT / "experiments"
FOLDERS = sorted(path for path in EXPERIMENTS.iterdir() if path.is_dir())
GROUPS = [path for path in FOLDERS if path.name not in (PLANS, GRIDS)]
# Options that the default data set, which is of classes, refuses.
FOR_REID = [("loss", "reid"), ("train", "reid"), ("train", "vehicles")]
OPTIONS = [(group.name, file.stem) for group in GROUPS for file in sorted(group.glob("*.yaml"))]
STUDIES = [
    (folder, file.stem)
    for folder in (PLANS, GRIDS)
    for file in sorted((EXPERIMENTS / folder).glob("*.yaml"))
]


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_every_option_composes_and_passes_all_checks(group: str, name: str) -> None:
    base = ["preset=reid"] if (group, name) in FOR_REID else []
    tree = compose_tree([*base, f"{group}={name}"], EXPERIMENTS)
    assert list(tree) == list(parse_config(tree).model_dump())


@pytest.mark.parametrize(("group", "name"), [*OPTIONS, *STUDIES])
def test_every_option_opens_with_what_it_is_what_it_costs_and_what_to_expect(
    group: str, name: str
) -> None:
    text = (EXPERIMENTS / group / f"{name}.yaml").read_text()
    head = "".join(line for line in text.splitlines(True) if line.startswith("#"))
    assert any(f"# {word}:" in head for word in ("Question", "What"))
    for word in ("Command", "Cost", "Expected"):
        assert f"# {word}:" in head


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_the_command_in_an_options_head_composes(group: str, name: str) -> None:
    text = (EXPERIMENTS / group / f"{name}.yaml").read_text()
    (line,) = [entry for entry in text.splitlines() if entry.startswith("# Command:")]
    arguments = line.partition("python -m pipelines.compose")[2].split("(")[0].split()
    compose_tree(arguments, EXPERIMENTS)


def test_the_committed_params_yaml_is_what_its_first_line_says() -> None:
    check_params(ROOT / "params.yaml", EXPERIMENTS)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["preset=smoke", "model.top_r=0.25"],
        ["dataset=folder", "dataset.source=/a b/c: d", "dataset.name=2024"],
        ["model.image_size=[64, 32]", "train.lr=1e-5", "model.stride=null"],
    ],
)
def test_the_same_arguments_write_the_same_bytes_and_pass_the_check(
    arguments: list[str], tmp_path: Path
) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    for path in (first, second):
        write_params(arguments, path, EXPERIMENTS)
    assert first.read_bytes() == second.read_bytes()
    check_params(first, EXPERIMENTS)


def test_what_is_written_reads_back_as_it_was_composed(tmp_path: Path) -> None:
    arguments = ["train.lr=1e-5", "dataset.source=null", "model.image_size=[64, 32]"]
    path = tmp_path / "params.yaml"
    write_params(arguments, path, EXPERIMENTS)
    assert read_yaml(path) == compose_tree(arguments, EXPERIMENTS)
    assert load_config(path).train.lr == 1e-5


def test_small_numbers_are_numbers_to_yaml_1_1_readers_too() -> None:
    import yaml

    arguments = ["train.lr=1e-5", "train.weight_decay=2.5e-07"]
    text = render_params(compose_tree(arguments, EXPERIMENTS), arguments)
    train = yaml.safe_load(text)["train"]
    assert (train["lr"], train["weight_decay"]) == (1e-5, 2.5e-7)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["dataset=folder", "dataset.source=2024"], "2024"),
        (["dataset=folder", "dataset.source=/a: b"], "/a: b"),
        (["dataset=folder", "dataset.source=[x"], "[x"),
        (["dataset=folder", "dataset.source=null"], None),
    ],
)
def test_a_text_stays_a_text_whatever_yaml_makes_of_it(
    arguments: list[str], expected: str | None
) -> None:
    assert compose_tree(arguments, EXPERIMENTS)["dataset"]["source"] == expected


def test_the_command_line_wins_over_a_preset_and_an_ablation_over_both() -> None:
    tree = compose_tree(["preset=smoke", "dataset=folder", "ablation=sa_only"], EXPERIMENTS)
    assert tree["dataset"]["source_type"] == "folder"
    assert tree["train"]["epochs"] == 2
    assert (tree["model"]["glca_blocks"], tree["model"]["pwca_blocks"]) == (0, 0)
    tree = compose_tree(["ablation=sa_only", "model.pwca_blocks=3"], EXPERIMENTS)
    assert (tree["model"]["glca_blocks"], tree["model"]["pwca_blocks"]) == (0, 3)


@pytest.mark.parametrize(
    "name", ["cub_deit_tiny", "cub_deit_small", "cub_deit_base", "cub_vit_base", "cub_r50_vit_base"]
)
def test_paper_settings_follow_the_papers_protocol(name: str) -> None:
    config = parse_config(compose_tree([f"paper={name}"], EXPERIMENTS))
    assert config.model.readout == "class"
    assert config.model.image_size == (448, 448)
    assert (config.model.top_r, config.model.glca_blocks, config.model.pwca_blocks) == (0.1, 1, 12)
    assert (config.transforms.resize, config.transforms.train_crop) == ((550, 550), "random")
    assert (config.train.selection, config.dataset.val_ratio) == ("last", 0.0)
    assert (config.train.epochs, config.train.batch_size) == (100, 16)
    assert config.train.lr * config.train.batch_size / 512 == pytest.approx(1.5625e-5)


def test_every_backbone_is_pinned_to_a_tag_that_timm_knows() -> None:
    import timm

    for group, name in OPTIONS:
        if group == "model" and name != "dcal_pico":
            backbone = compose_tree([f"model={name}"], EXPERIMENTS)["model"]["backbone"]
            assert "." in backbone
            assert timm.get_pretrained_cfg(backbone) is not None


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("modle=deit_tiny", r"modle: no such group or section, did you mean model\?.*"),
        ("model=deit_tny", r"model=deit_tny: no such option, did you mean deit_tiny\?; it has .*"),
        ("preset=smok", r"preset=smok: no such option, did you mean smoke\?; it has .*"),
        ("preset=sa_only", r"preset=sa_only: no such option, did you mean ablation=sa_only\?.*"),
        ("model.topr=0.3", r".*model\.topr: unknown key; did you mean top_r\?"),
        ("top_r=0.3", r"top_r: no such group or section, did you mean model\.top_r\?.*"),
        ("sede=1", r"sede: no such group or section, did you mean seed\?.*"),
        ("model.top_r=most", r".*model\.top_r: should be a valid number; got 'most'"),
        ("model.top_r=2", r".*model\.top_r: should be less than or equal to 1; got 2"),
        ("train.compile=maybe", r".*train\.compile: should be 'auto', True or False; got 'maybe'"),
        ("model.top_r.x=1", r"model\.top_r\.x: model\.top_r is not a section"),
        ("dataset.options.feathers=1", r"dataset\.options: feathers: unknown key.*"),
        ("dataset.source_type=brids", r"dataset\.source_type: expected one of .*brids.*birds.*"),
        ("smoke", r"expected GROUP=NAME or key=value, .*; got 'smoke'"),
        ("~model", r"expected GROUP=NAME or key=value, .*; got '~model'"),
        ("tune=architecture", r"tune=architecture: no such option; it has best"),
        ("+extra=1", r"expected GROUP=NAME or key=value, .*; got '\+extra=1'"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_place(argument: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_tree([argument], EXPERIMENTS)
    assert "\n" not in str(caught.value)
    caught.match(f"^{message}$")


@pytest.mark.parametrize(
    ("arguments", "num_lines"),
    [
        (["ablation=readout_class", "model.top_r=0.2"], 1),
        (["model.readout=class", "model.top_r=0.2"], 1),
        (["model.top_r=0.2"], 0),
        (["ablation=readout_class"], 0),
    ],
)
def test_a_share_of_patches_that_the_read_out_ignores_is_one_line_of_warning(
    arguments: list[str],
    num_lines: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(EXPERIMENTS, tmp_path / "experiments")
    monkeypatch.chdir(tmp_path)
    main(arguments)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == num_lines
    assert all(line.startswith("compose: warning: model.top_r has no effect") for line in lines)


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed is given twice"):
        compose_tree(["seed=1", "seed=2"], EXPERIMENTS)


def test_a_refused_argument_leaves_params_yaml_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    write_params([], path, EXPERIMENTS)
    before = path.read_bytes()
    with pytest.raises(ConfigError):
        write_params(["model.top_r=-1"], path, EXPERIMENTS)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["params.yaml"]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a folder with experiments/ and a params.yaml composed from it."""
    shutil.copytree(EXPERIMENTS, tmp_path / "experiments")
    write_params(["preset=smoke"], tmp_path / "params.yaml", tmp_path / "experiments")
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("name", ["params.yaml", "experiments/model/dcal_pico.yaml"])
def test_the_check_names_the_key_that_disagrees_and_both_ways_out(name: str, copied: Path) -> None:
    replace(copied / name, "top_r: 0.3", "top_r: 0.2")
    with pytest.raises(ConfigError, match=r"disagree: model\.top_r: ") as caught:
        check_params(copied / "params.yaml", copied / "experiments")
    assert "python -m pipelines.compose preset=smoke model.top_r=" in str(caught.value)
    assert str(caught.value).endswith("to go back: python -m pipelines.compose preset=smoke")


def test_the_check_sees_a_key_that_only_one_side_has(copied: Path) -> None:
    replace(copied / "params.yaml", "  top_r: 0.3\n", "")
    with pytest.raises(ConfigError, match=r"model\.top_r: None, composed 0\.3"):
        check_params(copied / "params.yaml", copied / "experiments")


def test_a_params_yaml_of_unknown_origin_is_told_how_to_be_written(copied: Path) -> None:
    replace(copied / "params.yaml", "# compose:", "# mine:")
    with pytest.raises(ConfigError, match="write the file with: python -m pipelines.compose"):
        check_params(copied / "params.yaml", copied / "experiments")


def test_a_broken_file_under_experiments_is_one_sentence(copied: Path) -> None:
    (copied / "experiments" / "model" / "mine.yaml").write_text("backbone: [x\n")
    with pytest.raises(ConfigError, match=r"experiments: cannot be composed: .*mine\.yaml"):
        compose_tree(["model=mine"], copied / "experiments")


def test_outside_the_project_the_sentence_says_where_to_go(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run this in the folder of dvc.yaml"):
        compose_tree([], tmp_path / "experiments")


def test_every_value_of_a_section_reaches_params_yaml() -> None:
    tree: dict[str, Any] = compose_tree([], EXPERIMENTS)
    assert parse_config(tree).model_dump(mode="json") == tree
