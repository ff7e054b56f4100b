"""A Python environment for a script of this folder, with packages from PyPI."""

import os
import pathlib
import subprocess
import sys
import venv


def enter(folder, requirements, also=None):
    """Goes on in the environment in `folder`, which is made where there is none of these requirements; `also` is then called,
    too."""
    python, installed = folder / "bin/python", folder / "requirements.txt"
    if pathlib.Path(sys.prefix) == folder:
        return
    if not installed.exists() or installed.read_text() != requirements.read_text():
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
        if also:
            also()
        installed.write_text(requirements.read_text())
    os.execv(python, [python, *sys.argv])
