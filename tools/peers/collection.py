"""Measures featvec embed and TensorFlow's tf.data pipeline in turns, on JPEGs of 12 megapixels, and prints a table.

    python3 collection.py --photos FOLDER [--featvec target/release/featvec]
                          [--module ../shared/reference/feature_vector.tar.gz] [--pictures 64] [--rounds 5]

Makes an environment in target/peers-collection, from PyPI, and goes on in it. The pictures are photographs below FOLDER,
enlarged to 4000x3000, with a sensor's noise and 4:2:0 chroma: 2 MB each, as a camera's are.

* featvec: `featvec embed -o`, exact and with `--decode fast`; the rate that it prints, which counts from the first
  picture to the last, without loading the module.
* TensorFlow: tf.data with all that it tunes by itself: read, decode, resize as TF 1 does, batch, prefetch, and the module
  through hub.Module; exact, and decoding at 1/8 of the size. The session is warm: loading and tracing do not count.

All use all cores that the process may use, in processes of their own that sleep while others work. Rates are medians of
the rounds, ratios medians of the rounds' ratios. The vectors of the exact runs are compared, and those of the fast ones
with the exact ones.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import environment  # noqa: E402
from unpack import unpacked  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SCRATCH = ROOT / "target/peers-collection"
REQUIREMENTS = HERE / "collection-requirements.txt"
PAUSE_SECONDS = 0.5
SIZE = (4000, 3000)
BATCH = 32
# Of a sensor: without, enlarged photographs would be smoother, and their files shorter, than those of a camera.
NOISE = 3


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--featvec", type=pathlib.Path, default=ROOT / "target/release/featvec")
    parser.add_argument("--module", default=str(ROOT / "../shared/reference/feature_vector.tar.gz"))
    parser.add_argument("--photos", type=pathlib.Path, required=True)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def large_photos(folder, count):
    """`count` JPEGs of 12 megapixels, made of the photographs below `folder`."""
    made = SCRATCH / "photos"
    made.mkdir(exist_ok=True)
    sources = sorted(folder.rglob("*.jpg"), key=lambda path: (path.name, path))[:count]
    if len(sources) < count:
        sys.exit(f"{folder}: {len(sources)} .jpg in it, {count} expected")
    for number, source in enumerate(sources):
        path = made / f"{number:04}.jpg"
        if not path.exists():
            import numpy as np
            from PIL import Image

            photo = Image.open(source).convert("RGB").resize(SIZE, Image.LANCZOS)
            noise = np.random.RandomState(number).normal(0, NOISE, (*photo.size[::-1], 1))
            noisy = np.clip(np.asarray(photo) + noise.round(), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(path, quality=90, subsampling="4:2:0")
    return sorted(made.glob("*.jpg"))[:count]


def serve(args):
    """Answers each line with a ratio of sizes by the seconds that tf.data and the module take, and writes the vectors."""
    answers, sys.stdout = sys.stdout, sys.stderr
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import numpy as np
    import tensorflow as tf
    import tensorflow_hub as hub

    tf1 = tf.compat.v1
    tf1.disable_eager_execution()
    paths = [str(path) for path in large_photos(args.photos, args.pictures)]

    def pipeline(ratio):
        def load(path):
            image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, ratio=ratio)
            image = tf.image.convert_image_dtype(image, tf.float32)
            return tf1.image.resize_bilinear(image[tf.newaxis], [224, 224])[0]

        data = tf.data.Dataset.from_tensor_slices(paths)
        data = data.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)
        iterator = tf1.data.make_initializable_iterator(data)
        return iterator.initializer, module(iterator.get_next())

    module = hub.Module(args.module)
    pipelines = {ratio: pipeline(ratio) for ratio in (1, 8)}
    session = tf1.Session()
    session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])

    def run(ratio):
        start, vectors = time.perf_counter(), []
        begin, features = pipelines[ratio]
        session.run(begin)
        try:
            while True:
                vectors.append(session.run(features))
        except tf.errors.OutOfRangeError:
            pass
        return time.perf_counter() - start, np.concatenate(vectors)

    for ratio in pipelines:
        np.save(SCRATCH / f"tensorflow-{ratio}.npy", run(ratio)[1])
    print(f"TensorFlow {tf.__version__} (tf.data)", file=answers, flush=True)
    for line in sys.stdin:
        print(run(int(line))[0], file=answers, flush=True)


class TensorFlow:
    def __init__(self, args):
        command = [sys.executable, __file__, "--serve", *sys.argv[1:]]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pictures, self.name = args.pictures, self.process.stdout.readline().strip()

    def rate(self, ratio):
        self.process.stdin.write(f"{ratio}\n")
        self.process.stdin.flush()
        return self.pictures / float(self.process.stdout.readline())


class Featvec:
    def __init__(self, args):
        self.program, self.module = args.featvec, args.module
        self.name = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def rate(self, decode):
        output = SCRATCH / f"featvec-{decode}.npy"
        command = [self.program, "embed", "--module", self.module, "--decode", decode, "-o", output, "--restart"]
        ended = subprocess.run([*command, SCRATCH / "photos"], capture_output=True, text=True)
        found = re.search(r"([0-9.]+) pictures/s", ended.stderr)
        if ended.returncode or not found:
            sys.exit(f"featvec embed failed: {ended.stderr}")
        return float(found[1])


def main():
    args = parse_args()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    environment.enter(SCRATCH / "venv", REQUIREMENTS)
    args.module = unpacked(args.module, SCRATCH)
    if args.serve:
        return serve(args)
    import numpy as np

    large_photos(args.photos, args.pictures)
    featvec, tensorflow = Featvec(args), TensorFlow(args)
    cases = {"exact": 1, "fast": 8}
    rates = {case: ([], []) for case in cases}
    for number in range(args.rounds):
        for case, ratio in cases.items():
            for found, measure in zip(rates[case], (lambda: featvec.rate(case), lambda: tensorflow.rate(ratio))):
                time.sleep(PAUSE_SECONDS)
                found.append(measure())
        print(f"round {number + 1} of {args.rounds}: {json.dumps(rates)}", file=sys.stderr, flush=True)

    print(f"{args.pictures} JPEGs of 12 megapixels, {len(os.sched_getaffinity(0))} cores; pictures a second, "
          f"{featvec.name} and {tensorflow.name}")
    print("| decoding | featvec | tf.data | ratio |\n|---|---|---|---|")
    for case, (ours, theirs) in rates.items():
        ratio = statistics.median(own / peer for own, peer in zip(ours, theirs))
        print(f"| {case} | {statistics.median(ours):.1f} | {statistics.median(theirs):.1f} | {ratio:.2f} |")
    exact, fast = (np.load(SCRATCH / f"featvec-{case}.npy") for case in cases)
    golden, scaled = (np.load(SCRATCH / f"tensorflow-{ratio}.npy") for ratio in cases.values())
    cosines = lambda a, b: (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    print(f"exact: at most {abs(exact - golden).max() / abs(golden).max():.1e} of the largest feature from TensorFlow's")
    print(f"fast: cosine to exact {cosines(fast, exact).min():.4f} at worst, {cosines(fast, exact).mean():.4f} on average; "
          f"tf.data's scaled ones {cosines(scaled, golden).min():.4f}, {cosines(scaled, golden).mean():.4f}")


if __name__ == "__main__":
    main()
