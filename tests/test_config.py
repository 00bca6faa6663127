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


def test_options_of_a_source_can_be_given_as_a_mapping(params: Path) -> None:
    assert load_config(params, ["dataset.options={num_classes: 3}"]).dataset.options == {
        "num_classes": 3
    }


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
        ("train.compile=yes", r"train\.compile: should be 'auto', True or False; got 'yes'"),
        ("train.lr=.nan", r"train\.lr: should be .*; got nan"),
        ("train.lr=null", r"train\.lr: should be a valid number; got None"),
        ("train.optimizer=lion", r"train\.optimizer: should be 'adamw', 'adam' or 'sgd'; got .*"),
        ("model.image_size=64", r"model\.image_size: .*; got 64"),
        ("model.image_size=[64]", r"model\.image_size\.1: .*"),
        ("loss.triplet=soft", r"loss\.triplet: expected none for an fgvc dataset, .*; got soft"),
        (
            "train.images_per_identity=4",
            r"train\.images_per_identity: expected null for an fgvc dataset, .*; got 4",
        ),
        (
            "dataset.cache={resize: [64, 32], interpolation: bicubic}",
            r"dataset\.cache\.resize: expected \[64, 64\], .*training pictures .*; got \[64, 32\]",
        ),
        (
            "dataset.cache={resize: [64, 64], interpolation: bilinear}",
            r"dataset\.cache\.interpolation: expected bicubic, that of transforms; got bilinear",
        ),
        (
            "dataset.cache={resize: [64, 0], interpolation: bicubic}",
            r"dataset\.cache\.resize: expected a height and a width of .* 1 pixel; got \[64, 0\]",
        ),
        (
            "dataset.cache={resize: [64, 64], interpolation: bicubic, interpolate: 1}",
            r"dataset\.cache\.interpolate: unknown key; did you mean interpolation\?",
        ),
        (
            "transforms.decode=half",
            r"transforms\.decode: should be 'exact' or 'reduced'; got 'half'",
        ),
        ("model.neck=bnneck", r"model\.neck: expected none for an fgvc dataset, .*; got bnneck"),
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


def test_a_pad_that_could_hide_the_whole_picture_is_refused_where_it_is_used(params: Path) -> None:
    size = "model.image_size=[128, 64]"
    with pytest.raises(
        ConfigError, match=r"transforms\.pad: expected less than .*, which is 64, .*; got 64$"
    ) as caught:
        load_config(params, [size, "transforms.train_crop=pad", "transforms.pad=64"])
    assert "\n" not in str(caught.value)
    config = load_config(params, [size, "transforms.train_crop=pad", "transforms.pad=63"])
    assert config.transforms.pad == 63
    assert load_config(params, ["transforms.pad=100"]).transforms.train_crop != "pad"


def test_the_bounds_themselves_are_accepted(params: Path) -> None:
    config = load_config(params, ["seed=4294967295", "train.epochs=2", "train.warmup_epochs=2.0"])
    assert (config.seed, config.train.warmup_epochs) == (2**32 - 1, 2.0)


def test_every_mistake_has_its_own_line(params: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(params, ["model.topr=1", "seed=x"])
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2024", "2024"), ("2024-13-45", "2024-13-45"), ("'2024'", "2024"), ("1e3", "1e3")],
)
def test_a_name_stays_a_text_whatever_yaml_makes_of_it(
    text: str, expected: str, params: Path
) -> None:
    assert load_config(params, [f"dataset.name={text}"]).dataset.name == expected
    assert load_config(params, [f"evaluate.weights={text}"]).evaluate.weights == expected
    assert load_config(params, ["evaluate.weights=null"]).evaluate.weights is None


@pytest.mark.parametrize("text", ["[", "{a", "'", "!!int x", "2024-13-45", "\t"])
def test_an_override_that_is_no_yaml_is_refused_with_its_key(text: str, params: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.top_r: should be a valid number"):
        load_config(params, [f"model.top_r={text}"])


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


@pytest.mark.parametrize(
    "value",
    ["!!bool x", "!!int x", "!!float x", "!!timestamp x", "0b", "2024-13-45", "9" * 5000, "&a 1"],
)
def test_a_scalar_that_yaml_cannot_read_is_one_sentence(value: str, params: Path) -> None:
    params.write_text(params.read_text().replace("seed: 0", f"seed: {value}", 1))
    with pytest.raises(ConfigError, match=r"params\.yaml: ") as caught:
        load_config(params)
    assert "\n" not in str(caught.value)


def test_a_number_too_long_to_be_shown_is_refused_by_its_key(params: Path) -> None:
    params.write_text(params.read_text().replace("seed: 0", f"seed: 0x{'f' * 5000}", 1))
    with pytest.raises(ConfigError, match=r"seed: .*; got a number too long to be shown$"):
        load_config(params)


def test_of_many_mistakes_the_first_twenty_are_told(params: Path) -> None:
    params.write_text(params.read_text() + "".join(f"k{number}: 1\n" for number in range(30)))
    with pytest.raises(ConfigError) as caught:
        load_config(params)
    lines = str(caught.value).splitlines()
    assert len(lines) == 21 and lines[-1] == f"{params}: and 10 more"


def test_a_key_with_a_line_end_does_not_break_the_line(params: Path) -> None:
    params.write_text(params.read_text() + '"a\\nb": 1\n')
    with pytest.raises(ConfigError, match=r"params\.yaml: a b: unknown key"):
        load_config(params)


def test_a_missing_file_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make it with: python -m pipelines.compose"):
        load_config(tmp_path / "params.yaml")


@pytest.mark.parametrize("override", ["seed", "=1", "seed.x=1"])
def test_a_malformed_override_is_refused(override: str, params: Path) -> None:
    with pytest.raises(ConfigError, match="override"):
        load_config(params, [override])


# A key that code takes otherwise than from its section or a variable of that type, and why.
EXEMPT: dict[str, str] = {
    "dataset.remote": "by its property redistributable, and by DVC",
}


def test_every_key_is_read_from_its_own_section_by_some_code() -> None:
    read: set[str] = set()
    for folder in ("dcal", "pipelines"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name != "config.py":
                read |= find_reads(path.read_text())
    assert set(list_keys(Config)) - read == set(EXEMPT)


def test_a_read_is_of_the_right_section_and_in_the_right_scope() -> None:
    code = """
class Work:
    rollout: RolloutConfig

    def __init__(self, given: LossConfig | None, config: Config, other: Any) -> None:
        self.given = given
        chosen = config.train
        chosen.compile, config.seed, other.lr, other.model.stride

    def run(self, chosen: Any, model: VisionTransformer, options: dcal.config.EvaluateConfig):
        self.given.weighting, self.rollout.num_images, options.batch_size
        chosen.momentum, model.top_r, unknown.workers
"""
    assert find_reads(code) & set(list_keys(Config)) == {
        "evaluate.batch_size",
        "loss.weighting",
        "model.stride",
        "rollout.num_images",
        "seed",
        "train.compile",
    }


def find_reads(code: str) -> set[str]:
    """Return the dotted keys that a module takes from a section or a variable of its type."""
    visitor = _Reads()
    visitor.visit(ast.parse(code))
    return visitor.read


class _Reads(ast.NodeVisitor):
    """A variable is known by its annotation, or by an assignment such as `train = config.train`."""

    sections = {
        field.annotation.__name__: name
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    } | {"Config": ""}

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.known: dict[str, str] = {}  # from a variable to the section that it holds

    def visit_ClassDef(self, node: ast.ClassDef) -> None:  # noqa: N802
        before = dict(self.known)
        for line in node.body:
            if isinstance(line, ast.AnnAssign):
                self._learn(f"self.{ast.unparse(line.target)}", self._named(line.annotation))
        self.generic_visit(node)
        self.known = before

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:  # noqa: N802
        before = dict(self.known)
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            self._learn(argument.arg, self._named(argument.annotation))
        self.generic_visit(node)
        own = {name: section for name, section in self.known.items() if name.startswith("self.")}
        self.known = before | own

    def visit_Assign(self, node: ast.Assign) -> None:  # noqa: N802
        self.generic_visit(node)
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            for name, value in pairs:
                self._learn(ast.unparse(name), self._held(value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:  # noqa: N802
        self.generic_visit(node)
        self._learn(ast.unparse(node.target), self._named(node.annotation))

    def visit_Attribute(self, node: ast.Attribute) -> None:  # noqa: N802
        section = self._held(node.value)
        if section is not None:
            self.read.add(f"{section}.{node.attr}".removeprefix("."))
        self.generic_visit(node)

    def _learn(self, name: str, section: str | None) -> None:
        self.known.pop(name, None)
        if section is not None:
            self.known[name] = section

    def _named(self, annotation: ast.expr | None) -> str | None:
        for node in ast.walk(annotation) if annotation is not None else ():
            name = getattr(node, "attr", getattr(node, "id", None))
            if name in self.sections:
                return self.sections[name]
        return None

    def _held(self, node: ast.expr) -> str | None:
        """Return the section of a known variable, or of `<anything>.<section>`."""
        if (name := ast.unparse(node)) in self.known:
            return self.known[name]
        if isinstance(node, ast.Attribute) and node.attr in self.sections.values():
            return node.attr
        return None


def list_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Return the dotted names of all leaves."""
    for name, field in section.model_fields.items():
        is_section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        # The values of the branches are read by a branch's name.
        if is_section and field.annotation is not BranchValues:
            yield from list_keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


CACHE = "dataset.cache={resize: [72, 80], interpolation: bicubic}"


def test_cached_pictures_are_of_the_size_that_training_resizes_to(params: Path) -> None:
    keys = ["transforms.resize=[72, 80]", "transforms.train_crop=random"]
    cache = load_config(params, [CACHE, *keys]).dataset.cache
    assert cache is not None and cache.resize == (72, 80)
    with pytest.raises(ConfigError, match=r"dataset\.cache\.resize: expected \[64, 64\], "):
        load_config(params, [CACHE, *keys[:1]])


def test_cached_pictures_are_decoded_exactly(params: Path) -> None:
    keys = ["transforms.resize=[72, 80]", "transforms.train_crop=random"]
    match = r"transforms\.decode: expected exact while dataset\.cache is on, .*; got reduced"
    with pytest.raises(ConfigError, match=match):
        load_config(params, [CACHE, *keys, "transforms.decode=reduced"])
