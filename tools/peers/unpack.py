"""A module as a folder, which TensorFlow Hub opens without unpacking it again."""

import pathlib
import subprocess


def unpacked(module, scratch):
    """A module's folder below `scratch` where an archive is given: unpacking is not what is measured."""
    if not module.endswith(".tar.gz"):
        return module
    folder = pathlib.Path(scratch) / "module"
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "-xzf", module, "-C", folder], check=True)
    return str(folder)
