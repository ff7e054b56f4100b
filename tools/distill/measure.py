#!/usr/bin/env python3
"""Measures a student against its teacher, for docs/model-card.md.

    python3 tools/distill/measure.py --teacher bvlc_googlenet.caffemodel --student builtin --photos ../shared/photos lists

`lists` is the folder that split.py wrote. Needs numpy, scikit-learn, and the program featvec (--featvec).
Prints, on pictures the student was not made from: how often it agrees with the teacher and with the labels, the mean cosine
of its features to the teacher's (each feature brought to the teacher's scale by the two networks' weights for the classes),
and the accuracy of logistic regression on both networks' features.
"""

import argparse
import json
import pathlib
import struct
import subprocess
import tempfile

import numpy
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LEARNED_OF_A_CLASS = 25


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--student", required=True)
    parser.add_argument("--photos", type=pathlib.Path, required=True, help="the folder of caltech/ and flowers/")
    parser.add_argument("--featvec", default="target/release/featvec")
    parser.add_argument("lists", type=pathlib.Path)
    arguments = parser.parse_args()

    lists = {path.stem: path.read_text().split("\n")[:-1] for path in arguments.lists.glob("*.txt")}
    networks = [Network(arguments.featvec, module) for module in (arguments.teacher, arguments.student)]
    scales = relative_scales(*networks)
    index = {}
    for line in (arguments.photos / "caltech" / "classes.tsv").read_text().splitlines()[1:]:
        name, _, number, _ = line.split("\t")
        index[name] = int(number)

    for name in ("measure-caltech", "measure-flowers", "measure-more"):
        paths = lists[name]
        logits = [network.logits(paths) for network in networks]
        features = [network.features(paths) for network in networks]
        best = logits[0].argmax(axis=1)
        print(f"{name}: {len(paths)} pictures")
        print(f"  the teacher's class first {share(hits(logits[1], best, 1))}, among five {share(hits(logits[1], best, 5))}")
        print(f"  cosine {cosine(features[0], features[1] * scales).mean():.4f}, divergence {divergence(*logits):.3f} nats")
        if name == "measure-caltech":
            truth = numpy.array([index[pathlib.Path(path).parent.name] for path in paths])
            for who, rows in zip(("teacher", "student"), logits):
                print(f"  labels: {who} top-1 {share(hits(rows, truth, 1))}, top-5 {share(hits(rows, truth, 5))}")

    probe("probe on Caltech-101", networks, *caltech(lists))
    flowers = [path for path in lists["learn"] if "/flowers/" in path]
    probe("probe on flowers", networks, flowers, lists["measure-flowers"])


class Network:
    """A module that the program runs; what it gives is kept."""

    def __init__(self, program, module):
        self.program, self.module, self.kept = program, module, {}

    def features(self, paths):
        return self.run(paths, "image_feature_vector")

    def logits(self, paths):
        """Those of the 1000 classes, without a background class."""
        return self.run(paths, "image_classification")[:, -1000:]

    def run(self, paths, signature):
        key = (signature, tuple(paths))
        if key not in self.kept:
            with tempfile.TemporaryDirectory() as folder:
                output = f"{folder}/rows.npy"
                command = [self.program, "embed", "--quiet", "--module", self.module, "--preset", "keras-pil"]
                command += ["--signature", signature, "-o", output, "-"]
                subprocess.run(command, input="\n".join(paths), text=True, check=True)
                self.kept[key] = numpy.load(output).astype(numpy.float64)
        return self.kept[key]


def relative_scales(teacher, student):
    """What each feature of the student is to be multiplied by: the ratio of the two networks' weights for the
    classes."""
    return numpy.linalg.norm(weights(student), axis=1) / numpy.linalg.norm(weights(teacher), axis=1)


def weights(network):
    """Those for the classes, [1024, 1000]."""
    with tempfile.TemporaryDirectory() as folder:
        output = f"{folder}/module.safetensors"
        command = [network.program, "export", "--quiet", "--module", network.module, "--format", "safetensors"]
        subprocess.run([*command, "-o", output], check=True)
        data = pathlib.Path(output).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    (entry,) = [entry for entry in header.values() if len(entry["shape"]) > 1 and entry["shape"][-1] in (1000, 1001)]
    start, end = (8 + size + offset for offset in entry["data_offsets"])
    matrix = numpy.frombuffer(data[start:end], numpy.float32).reshape(entry["shape"])
    return matrix.reshape(-1, matrix.shape[-1])[:, -1000:].astype(numpy.float64)


def hits(logits, truth, count):
    better = (logits > logits[numpy.arange(len(truth)), truth][:, None]).sum(axis=1)
    return better < count


def share(found):
    return f"{100 * found.mean():.1f} %"


def cosine(a, b):
    return (a * b).sum(axis=1) / numpy.linalg.norm(a, axis=1) / numpy.linalg.norm(b, axis=1)


def divergence(teacher, student):
    def log_softmax(rows):
        rows = rows - rows.max(axis=1, keepdims=True)
        return rows - numpy.log(numpy.exp(rows).sum(axis=1, keepdims=True))

    p, q = log_softmax(teacher), log_softmax(student)
    return (numpy.exp(p) * (p - q)).sum(axis=1).mean()


def caltech(lists):
    """25 pictures of each class to learn from, and those kept out."""
    count, learned = {}, []
    for path in lists["learn"]:
        name = pathlib.Path(path).parent.name
        if "/caltech/" in path and count.setdefault(name, 0) < LEARNED_OF_A_CLASS:
            count[name] += 1
            learned.append(path)
    return learned, lists["measure-caltech"]


def probe(what, networks, learned, measured):
    labels = [[pathlib.Path(path).parent.name for path in paths] for paths in (learned, measured)]
    print(f"{what}: {len(learned)} to learn from, {len(measured)} to measure on, {len(set(labels[0]))} classes")
    for who, network in zip(("teacher", "student"), networks):
        regression = LogisticRegression(C=0.01, max_iter=2000)
        model = make_pipeline(StandardScaler(), regression).fit(network.features(learned), labels[0])
        print(f"  {who} {100 * model.score(network.features(measured), labels[1]):.1f} %")


if __name__ == "__main__":
    main()
