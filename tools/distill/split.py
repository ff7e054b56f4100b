#!/usr/bin/env python3
"""Parts the photographs of the bundled module into those to learn from and those to measure on.

    python3 tools/distill/split.py --photos ../shared/photos --more photographs -o lists

writes lists/learn.txt, for `featvec distill`, and lists/measure-{caltech,flowers,more}.txt:
Caltech-101: 15 pictures of each class are kept to measure on, drawn by the seed '0:CLASS'; 25 at most are learned from.
flowers: the folder `val` is kept. More (what photographs.py gathers): every eighth is kept.
"""

import argparse
import pathlib
import random

MEASURED_OF_A_CLASS = 15
MEASURED_OF_MORE = 8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=pathlib.Path, required=True, help="the folder of caltech/ and flowers/")
    parser.add_argument("--more", type=pathlib.Path, help="a folder of folders of other photographs")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, help="the folder for the lists")
    arguments = parser.parse_args()

    learn, measure = [], {"caltech": [], "flowers": [], "more": []}
    for folder in folders(arguments.photos / "caltech"):
        names = pictures(folder)
        random.Random(f"0:{folder.name}").shuffle(names)
        measure["caltech"] += names[:MEASURED_OF_A_CLASS]
        learn += names[MEASURED_OF_A_CLASS:]
    for part, paths in (("train", learn), ("val", measure["flowers"])):
        for folder in folders(arguments.photos / "flowers" / part):
            paths += pictures(folder)
    if arguments.more:
        for index, path in enumerate(pictures(arguments.more, "*/*.jpg")):
            (measure["more"] if index % MEASURED_OF_MORE == 0 else learn).append(path)

    arguments.output.mkdir(parents=True, exist_ok=True)
    write(arguments.output / "learn.txt", learn)
    for name, paths in measure.items():
        write(arguments.output / f"measure-{name}.txt", paths)


def folders(parent):
    found = sorted(path for path in parent.iterdir() if path.is_dir())
    if not found:
        raise SystemExit(f"{parent}: no folders of pictures in it")
    return found


def pictures(folder, pattern="*.jpg"):
    return sorted(folder.glob(pattern))


def write(path, paths):
    path.write_text("".join(f"{path}\n" for path in sorted(paths)))
    print(f"{path}: {len(paths)}")


if __name__ == "__main__":
    main()
