"""The one tree behind params.yaml: every key, its type, its range and its meaning (ours).

Nothing here reads files other than params.yaml, and nothing has a hidden default: a key that
params.yaml lacks is an error, so the file always says everything that a run was given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from dcal.batch_rules import check_identities, check_shares
from dcal.config_errors import describe_errors, find_section, name_keys
from dcal.yaml_text import YAMLTextError, parse_yaml

Ratio = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
NaturalNumber = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # Lightning seeds NumPy, which takes 32 bits
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
# YAML gives a list; strict mode would insist on a tuple, so only the outer type is lax.
ImageSize = Annotated[tuple[StrictInt, StrictInt], Field(strict=False)]


class ConfigError(ValueError):
    """A params.yaml that cannot be used; the message names the key and says what to do."""


class Section(BaseModel):
    """Base of every section: frozen, strictly typed, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Interpolation = Literal["bicubic", "bilinear"]


class CacheConfig(Section):
    """Pictures that `prepare` decodes and resizes once, for loaders to read instead."""

    resize: ImageSize  # (height, width), that of the transforms' first step
    interpolation: Interpolation

    @field_validator("resize")
    @classmethod
    def _has_pixels(cls, resize: tuple[int, int]) -> tuple[int, int]:
        if min(resize) < 1:
            raise ValueError("expected a height and a width of at least 1 pixel")
        return resize


class DatasetConfig(Section):
    """Where pictures come from and how they are split."""

    name: str  # names the folders data/raw/<name> and data/index/<name>
    kind: Literal["fgvc", "reid"]
    source_type: str  # module of dcal/data/sources that reads this layout: birds, folder, cub
    source: str | None  # a folder or archive that the user already has; null = fetch it
    val_ratio: Annotated[float, Field(ge=0, lt=1)]  # share of train held out where no val exists
    split_seed: NaturalNumber  # the held-out share is a function of this, never of `seed`
    # private: its pictures stay on this machine and out of reports and MLflow; null: they may go
    # wherever `dvc push` goes. The word is that of a DVC remote, so DVC obeys it without us.
    remote: Literal["private"] | None
    # What prepare reads of each picture: pixels decodes it; headers is quicker where decoding takes
    # long, and leaves what is damaged behind the header for training to stumble on
    verify: Literal["pixels", "headers"]
    # true: pictures that cannot be decoded, and counts other than a set's official ones, are
    # left out and counted in a warning; false: they stop prepare
    allow_partial: bool
    # null: pictures are decoded whenever they are read. Batches are the same bit for bit
    cache: CacheConfig | None
    options: dict[str, Any]  # keys of the source's own, checked by the source

    @property
    def redistributable(self) -> bool:
        """Say whether its pictures may appear in reports and leave this machine."""
        return self.remote is None

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str) -> str:
        # fetch replaces data/raw/<name>, so the name must not lead anywhere else.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise ValueError(
                "expected letters, digits, dots, dashes and underscores, because it names a folder"
            )
        return name


class TransformsConfig(Section):
    """From a decoded picture to a model input of `model.image_size`."""

    resize: ImageSize  # (height, width) before the crop
    train_crop: Literal["random", "pad", "none"]  # pad: resized to the model's size, see `pad`
    pad: NaturalNumber  # black pixels on each side before the random crop, with train_crop=pad
    test_crop: Literal["center", "none"]  # none = resize straight to the model's size
    flip_ratio: Ratio
    color_jitter: Ratio  # brightness, contrast, saturation; 0 = off. The paper uses none
    erase_ratio: Ratio  # chance of random erasing; 0 = off
    interpolation: Interpolation
    # reduced: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, where that leaves both sides
    # twice as long as what it is resized to; quicker, and other pixels
    decode: Literal["exact", "reduced"]

    def compute_train_resize(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) that a training picture is first resized to."""
        return self.resize if self.train_crop == "random" else image_size

    def compute_test_resize(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) that a test picture is first resized to."""
        return self.resize if self.test_crop == "center" else image_size


class ModelConfig(Section):
    """The backbone and the three branches (symbols are the paper's)."""

    backbone: str  # dcal_pico, or a timm name such as deit_tiny_patch16_224
    weights: str  # embedded | hub | none | a path to a .safetensors file ("start from")
    image_size: ImageSize  # (height, width) in pixels
    stride: Count | None  # patch stride; null = the patch size (no overlap)
    drop_path: Annotated[float, Field(ge=0, lt=1)]
    top_r: Annotated[float, Field(gt=0, le=1)]  # share of patches GLCA keeps (paper: R)
    # random: an ablation; other patches in each training step, the same ones at evaluation
    patch_selection: Literal["rollout", "random"]
    readout: Literal["class", "local", "class_local"]
    glca_blocks: NaturalNumber  # M; 0 = no GLCA branch
    pwca_blocks: NaturalNumber  # T; 0 = no PWCA branch
    distractor: Literal["any", "other", "same", "mixed", "noise"]
    stream: Literal["clean", "mutual"]  # what the distractor's keys and values come from
    neck: Literal["none", "bnneck"]  # bnneck: the Re-ID head
    # A learned vector of the picture's camera or view, added to every token (TransReID's SIE);
    # a camera that is not known, or was not in training, adds none. The paper uses none
    side_information: Literal["none", "camera", "view", "camera_view"]
    side_scale: NonNegativeFloat  # what those vectors are multiplied by


class BranchValues(Section):
    """One number for each branch; those of branches that are off are not used."""

    sa: FiniteFloat
    glca: FiniteFloat
    pwca: FiniteFloat


class LossConfig(Section):
    """How the losses of the branches are combined (paper: uncertainty weighting)."""

    weighting: Literal["uncertainty", "fixed"]
    initial_log_variances: BranchValues  # w_i; the paper gives no value, FairMOT starts below 0
    log_variance_lr: NonNegativeFloat  # of their own: at FGVC's 1.6e-5 they would hardly move
    fixed_weights: BranchValues  # lambda_i, used by `fixed`
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    triplet: Literal["none", "soft", "margin"]  # Re-ID only
    triplet_margin: NonNegativeFloat


class TrainConfig(Section):
    """Optimiser, schedule, and how the run is executed."""

    epochs: Count
    processes: Count  # of the whole job, on one machine or many; each takes its share of a batch
    batch_size: Count  # pictures per step, of all processes together
    # Re-ID: batches of batch_size / this many identities; null = pictures in random order
    images_per_identity: Count | None
    accumulate_steps: Count  # steps whose gradients are added before the optimiser moves
    optimizer: Literal["adamw", "adam", "sgd"]
    lr: PositiveFloat
    lr_scaling: Literal["none", "deit"]  # deit: lr * global batch / 512 (the paper's rule)
    momentum: Ratio  # sgd only
    weight_decay: NonNegativeFloat
    schedule: Literal["cosine", "constant"]
    warmup_epochs: NonNegativeFloat
    warmup_lr_ratio: Ratio  # learning rate at the first step, as a share of lr
    min_lr_ratio: Ratio  # learning rate at the last step, as a share of lr
    clip_norm: PositiveFloat | None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None  # null = raw weights
    precision: Literal["auto", "fp32", "bf16"]  # auto: bf16 on a GPU, fp32 on a CPU
    compile: Literal["auto", True, False]  # auto: on a GPU; on a CPU it rarely pays
    gradient_checkpointing: bool
    devices: Literal["auto", "cpu"]
    workers: NaturalNumber  # loader processes; 0 = load in the training process
    selection: Literal["last", "val", "test"]  # which checkpoint is the model
    log_every: Count  # steps between two logged points
    # At most so much work is lost to a kill; 0 = after every step and epoch. Longer where writing
    # one would cost more than a hundredth of the time.
    checkpoint_minutes: NonNegativeFloat


class EvaluateConfig(Section):
    """Scores on the test split."""

    batch_size: Count
    weights: str | None  # a model file to score; null = what the train stage made
    # The rest is of Re-ID.
    flip: bool  # features are the mean over a picture and its mirror image
    average_precision: Literal["rectangle", "trapezoid"]  # trapezoid: Market's and VeRi's own code
    rerank: bool  # k-reciprocal re-ranking too, beside the plain scores
    memory_mb: Count  # that ranking may take beside the features


class RolloutConfig(Section):
    """Pictures and scores of where the model looks."""

    num_images: NaturalNumber  # overlays to draw
    num_blocks: Count | None  # depth of the rollout; null = all blocks
    score_images: NaturalNumber | None  # pictures scored by the pointing game; null = all


class Config(Section):
    """Everything a run is given: the whole of params.yaml."""

    seed: Seed
    dataset: DatasetConfig
    transforms: TransformsConfig
    model: ModelConfig
    loss: LossConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    rollout: RolloutConfig

    @model_validator(mode="after")
    def _sections_agree(self) -> Config:
        check_shares(
            self.train.batch_size,
            self.train.processes,
            has_distractors=self.model.pwca_blocks > 0,
        )
        if self.train.warmup_epochs > self.train.epochs:
            raise ValueError(
                f"train.warmup_epochs: expected at most train.epochs, which is "
                f"{self.train.epochs}; got {self.train.warmup_epochs:g}. Lower it, or train longer"
            )
        side = min(self.model.image_size)
        if self.transforms.train_crop == "pad" and self.transforms.pad >= side:
            raise ValueError(
                f"transforms.pad: expected less than the smaller side of model.image_size, which "
                f"is {side}, because a crop could be all padding; got {self.transforms.pad}"
            )
        if self.dataset.cache is not None:
            self._check_cache(self.dataset.cache)
        if self.dataset.kind == "fgvc":
            self._refuse_reid_keys()
        train = self.train
        check_identities(
            train.batch_size,
            train.processes,
            train.images_per_identity,
            has_triplets=self.loss.triplet != "none",
        )
        return self

    def _check_cache(self, cache: CacheConfig) -> None:
        resize = self.transforms.compute_train_resize(self.model.image_size)
        if cache.resize != resize:
            raise ValueError(
                f"dataset.cache.resize: expected {list(resize)}, the (height, width) that training "
                f"pictures are first resized to; got {list(cache.resize)}"
            )
        if cache.interpolation != self.transforms.interpolation:
            raise ValueError(
                f"dataset.cache.interpolation: expected {self.transforms.interpolation}, that of "
                f"transforms; got {cache.interpolation}"
            )
        if self.transforms.decode != "exact":
            raise ValueError(
                "transforms.decode: expected exact while dataset.cache is on, because cached "
                f"pictures are decoded so; got {self.transforms.decode}. Change it, or set "
                "dataset.cache to null"
            )

    def _refuse_reid_keys(self) -> None:
        for key, value, expected in (
            ("loss.triplet", self.loss.triplet, "none"),
            ("model.neck", self.model.neck, "none"),
            ("model.side_information", self.model.side_information, "none"),
            ("train.images_per_identity", self.train.images_per_identity, None),
        ):
            if value != expected:
                raise ValueError(
                    f"{key}: expected {expected or 'null'} for an fgvc dataset, because it is for "
                    f"reid; got {value}"
                )


def load_config(path: str | Path = "params.yaml", overrides: Sequence[str] = ()) -> Config:
    """Read params.yaml, apply `key=value` overrides, and check the whole tree.

    Args:
        path: The YAML file (YAML 1.2, so 1e-3 is a number).
        overrides: Dotted keys, such as `"model.top_r=0.3"`; see `parse_value`.

    Raises:
        ConfigError: Unknown or mistyped key (with the nearest valid name), bad YAML, no file.
    """
    tree = read_yaml(path)
    for override in overrides:
        _apply_override(tree, override)
    return parse_config(tree, origin=str(path))


def parse_config(tree: Mapping[str, Any], *, origin: str = "params.yaml") -> Config:
    """Check a plain mapping against the tree; `origin` names it in error messages."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(describe_errors(error, Config, origin=origin)) from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML 1.2 mapping; duplicate keys, tabs and other tops are refused in one sentence."""
    path = Path(path)
    if path.is_dir():
        raise ConfigError(
            f"{path}: expected a file, got a folder; move it away and make the file with: "
            "python -m pipelines.compose"
        )
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; make it with: python -m pipelines.compose")
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"))
    except YAMLTextError as error:
        raise ConfigError(f"{path}: {error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected text in UTF-8, got other bytes at byte {error.start}; save it as "
            "UTF-8, or make it anew with: python -m pipelines.compose"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else f"a {type(tree).__name__}"
        raise ConfigError(
            f"{path}: expected a mapping with the keys {name_keys(Config)}; got {found}; make it "
            "anew with: python -m pipelines.compose"
        )
    return tree


def parse_value(key: str, text: str) -> Any:
    """Read a value given as `key=text`: YAML, or the text itself where the key holds a text."""
    try:
        value = parse_yaml(text)
    except YAMLTextError:
        value = text
    *parents, last = key.split(".")
    section = find_section(Config, parents)
    field = section.model_fields.get(last) if section else None
    # The arguments of a mapping are not what the key holds.
    is_text = (
        field is not None
        and get_origin(field.annotation) is not dict
        and str in (field.annotation, *get_args(field.annotation))
    )
    is_quoted = isinstance(value, str) and text[0] in "'\""
    # A folder called 2024 or "a: b" is a name, not a number or a mapping.
    return text if is_text and value is not None and not is_quoted else value


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {override!r}: expected key=value, such as model.top_r=0.3")
    *parents, last = key.split(".")
    node: Any = tree
    for parent in parents:
        node = node.setdefault(parent, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise ConfigError(f"override {override!r}: {parent} is not a section")
    node[last] = parse_value(key, text)
