"""Write params.yaml from experiments/: groups by Hydra's compose API, then single keys (ours).

Not a stage: it is run by hand, so that a bare `dvc repro` reads nothing but params.yaml. The first
line of params.yaml holds the arguments; the same arguments write the same bytes.
"""

from __future__ import annotations

import difflib
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import typer
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from yaml import YAMLError as LegacyYAMLError  # Hydra reads with PyYAML

from dcal.config import Config, ConfigError, load_config, parse_config, parse_value, read_yaml
from dcal.data.sources import check_options
from dcal.paths import write_atomically
from dcal.write_errors import WriteError

EXPERIMENTS = Path("experiments")
PARAMS = Path("params.yaml")
# Plans of studies and grids of ablations lie beside the groups; they are run, not composed.
PLANS, GRIDS = "tune", "grid"
# The settings that won the last study, which stage tune writes.
BEST = Path("results/tune/best.yaml")
FIRST_LINE = "# compose:"
SECOND_LINE = (
    "# Written by python -m pipelines.compose [GROUP=NAME ...] [key=value ...]; "
    "`dvc exp run -S key=value` changes single values."
)


class _Representer(RoundTripRepresenter):
    """Null is written out, and 1e-05 as 1.0e-05, which YAML 1.1 readers take for a number too."""


def _represent_none(representer: _Representer, value: None) -> ScalarNode:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _represent_float(representer: _Representer, value: float) -> ScalarNode:
    mantissa, letter, exponent = repr(value).partition("e")
    if letter and "." not in mantissa:
        mantissa += ".0"
    return representer.represent_scalar("tag:yaml.org,2002:float", f"{mantissa}{letter}{exponent}")


_Representer.add_representer(type(None), _represent_none)
_Representer.add_representer(float, _represent_float)


def main(
    arguments: Annotated[
        list[str] | None, typer.Argument(help="GROUP=NAME and key=value; none = the default")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="compare params.yaml with experiments/, write nothing")
    ] = False,
) -> None:
    """Compose params.yaml from experiments/."""
    try:
        if check:
            check_params(PARAMS, EXPERIMENTS)
        else:
            write_params(arguments or [], PARAMS, EXPERIMENTS)
            for warning in list_idle_arguments(arguments or [], load_config(PARAMS)):
                typer.echo(f"compose: warning: {warning}", err=True)
    except (ConfigError, WriteError) as error:
        sys.exit(f"compose: {error}")


def write_params(arguments: Sequence[str], path: Path, experiments: Path) -> None:
    """Compose the arguments and put the checked tree in place of `path`.

    Raises:
        ConfigError: An unknown group, option or key, or a value that cannot be used.
    """
    text = render_params(compose_tree(arguments, experiments), arguments)
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def list_idle_arguments(arguments: Sequence[str], config: Config) -> list[str]:
    """Return a sentence for each argument that cannot change the composed run."""
    is_given = any(argument.startswith("model.top_r=") for argument in arguments)
    if is_given and config.model.readout == "class":
        return [
            "model.top_r has no effect, because model.readout=class reads the class token alone; "
            "to choose patches, set model.readout=class_local"
        ]
    return []


def check_params(path: Path, experiments: Path) -> None:
    """Compose the arguments on the first line of `path` again and compare all values.

    Raises:
        ConfigError: They differ; the message names the keys and the two ways out.
    """
    actual = read_yaml(path)
    arguments = read_arguments(path)
    expected = compose_tree(arguments, experiments)
    found, wanted = dict(_flatten(actual)), dict(_flatten(expected))
    keys = [key for key in wanted | found if found.get(key, "-") != wanted.get(key, "-")]
    if not keys:
        return
    lines = [f"{key}: {found.get(key)!r}, composed {wanted.get(key)!r}" for key in keys]
    again = ["python", "-m", "pipelines.compose", *arguments]
    kept = [argument for argument in again if argument.partition("=")[0] not in keys]
    keep = [*kept, *(f"{key}={found[key]}" for key in keys if key in found)]
    raise ConfigError(
        f"{path} and {experiments} disagree: {'; '.join(lines)}. To keep what the file says: "
        f"{shlex.join(keep)}; to go back: {shlex.join(again)}"
    )


def read_arguments(path: Path) -> list[str]:
    """Return the arguments that the first line of a composed file holds."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    if not first.startswith(FIRST_LINE):
        raise ConfigError(
            f"{path}: expected a first line that starts with {FIRST_LINE!r}; write the file with: "
            "python -m pipelines.compose"
        )
    return shlex.split(first.removeprefix(FIRST_LINE))


def compose_tree(arguments: Sequence[str], experiments: Path) -> dict[str, Any]:
    """Return the checked tree of the arguments, sections in the order of `Config`."""
    groups = _list_groups(experiments)
    choices, values = _split_arguments(arguments, groups)
    is_best = f"{PLANS}={BEST.stem}" in choices
    tree = _compose_groups([c for c in choices if not c.startswith(f"{PLANS}=")], experiments)
    if is_best:
        _merge(tree, _read_best(experiments.parent / BEST))
    for key, text in values.items():
        _set_value(tree, key, text)
    check_options(parse_config(tree, origin="params.yaml would be refused").dataset)
    return {name: tree[name] for name in Config.model_fields}


def render_params(tree: Mapping[str, Any], arguments: Sequence[str]) -> str:
    """Return the text of params.yaml: YAML 1.2 as DVC reads it, short lists on one line."""
    stream = StringIO()
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.width = 100
    yaml.dump(_with_short_lists(tree), stream)
    first = " ".join([FIRST_LINE, *map(shlex.quote, arguments)])
    return f"{first}\n{SECOND_LINE}\n{stream.getvalue()}"


def _split_arguments(
    arguments: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> tuple[list[str], dict[str, str]]:
    choices: dict[str, str] = {}
    values: dict[str, str] = {}
    for argument in arguments:
        match = re.fullmatch(r"(\w+(?:\.\w+)*)=(.*)", argument)
        if not match:
            raise ConfigError(
                f"expected GROUP=NAME or key=value, such as preset=smoke or model.top_r=0.3; "
                f"got {argument!r}"
            )
        key, value = match.groups()
        if key in choices or key in values:
            raise ConfigError(f"{key} is given twice")
        if key in groups:
            _check_choice(key, value, groups)
            choices[key] = value
        else:
            _check_top_name(key, groups)
            values[key] = value
    return [f"{group}={name}" for group, name in choices.items()], values


def _check_choice(group: str, name: str, groups: Mapping[str, Sequence[str]]) -> None:
    options = groups[group]
    if name not in options:
        homes = [other for other, names in groups.items() if name in names]
        hint = f", did you mean {homes[0]}={name}?" if homes else _nearest(name, options)
        raise ConfigError(f"{group}={name}: no such option{hint}; it has {', '.join(options)}")


def _check_top_name(key: str, groups: Mapping[str, Sequence[str]]) -> None:
    top = key.partition(".")[0]
    names = sorted({*groups, *Config.model_fields})
    if top not in Config.model_fields:
        homes = [name for name, section in _sections() if key in section.model_fields]
        hint = f", did you mean {homes[0]}.{key}?" if homes else _nearest(top, names)
        raise ConfigError(f"{key}: no such group or section{hint}; there are {', '.join(names)}")


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f", did you mean {near[0]}?" if near else ""


def _list_groups(experiments: Path) -> dict[str, list[str]]:
    if not (experiments / "config.yaml").is_file():
        raise ConfigError(
            f"{experiments / 'config.yaml'}: no such file; run this in the folder of dvc.yaml"
        )
    folders = sorted(
        p for p in experiments.iterdir() if p.is_dir() and p.name not in (PLANS, GRIDS)
    )
    groups = {f.name: sorted(file.stem for file in f.glob("*.yaml")) for f in folders}
    return groups | {PLANS: [BEST.stem]}


def _compose_groups(choices: list[str], experiments: Path) -> dict[str, Any]:
    try:
        with initialize_config_dir(str(experiments.resolve()), version_base="1.3"):
            composed = compose("config", overrides=choices)
        tree = OmegaConf.to_container(composed, resolve=True)
    # ValueError is Hydra's own word on a list of defaults that is none.
    except (HydraException, OmegaConfBaseException, LegacyYAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{experiments}: cannot be composed: {reason}") from None
    assert isinstance(tree, dict)
    return {str(name): section for name, section in tree.items()}


def _read_best(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(
            f"{PLANS}={BEST.stem}: {BEST} is not there, because no study has ended here; run: "
            "make tune"
        )
    return read_yaml(path)


def _merge(tree: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _set_value(tree: dict[str, Any], key: str, text: str) -> None:
    *parents, last = key.split(".")
    section: Any = tree
    for depth, parent in enumerate(parents, start=1):
        section = section.get(parent)
        if not isinstance(section, dict):
            raise ConfigError(f"{key}: {'.'.join(parents[:depth])} is not a section")
    section[last] = parse_value(key, text)


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation


def _with_short_lists(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _with_short_lists(value) for key, value in node.items()}
    if isinstance(node, list):
        sequence = CommentedSeq(node)
        sequence.fa.set_flow_style()
        return sequence
    return node


def _flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), value


if __name__ == "__main__":
    typer.run(main)
