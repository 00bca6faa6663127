"""Which file of experiments/ an opt-in pipeline runs (ours).

DVC takes no argument for a command, so the choice is a parameter in a file that git keeps.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dcal.config import read_yaml
from dcal.paths import write_atomically


class ChoiceError(ValueError):
    """A name that is none of the files to choose from."""


class Choice(NamedTuple):
    """A parameter of a pipeline that names a file."""

    key: str  # of the parameter
    path: Path  # of the file that holds it
    folder: Path  # of the files to choose from
    check: Callable[[Path], object]  # reads one, and raises where it is wrong

    def write(self, name: str) -> None:
        """Choose a file.

        Raises:
            ChoiceError: No such name.
            ValueError: What `check` raises.
        """
        self.check(self.find(name))
        text = self.path.read_text(encoding="utf-8")
        with write_atomically(self.path) as temporary:
            line = f"{self.key}: {name}"
            temporary.write_text(re.sub(rf"^{self.key}:.*$", line, text, flags=re.M), "utf-8")

    def find(self, name: str | None = None) -> Path:
        """Return the file of a name; None = the chosen one.

        Raises:
            ChoiceError: What is no file's name.
        """
        if name is None:
            name = str(read_yaml(self.path).get(self.key))
        if not re.fullmatch(r"\w+", name):
            raise ChoiceError(
                f"{self.key.upper()}={name}: expected the name of a file in {self.folder}, "
                "without .yaml"
            )
        return self.folder / f"{name}.yaml"
