"""Measures featvec, ONNX Runtime and OpenVINO in turns, and writes the tables of docs/performance.md and README.md.

    python3 run.py [--featvec target/release/featvec] [--module ../shared/reference/feature_vector.tar.gz]
                   [--photos FOLDER] [--rounds 7] [--seconds 1] [--print]

Makes an environment for the peers in target/peers, from PyPI, and goes on in it. All run the same weights: the peers a
model that featvec has exported to ONNX. Each peer first tries its settings and keeps the fastest for each case. Then
everybody has a turn of some seconds, round after round; a figure is the median of the rounds, a ratio the median of
the rounds' ratios. PHOTOS (JPEGs) calibrate int8 and are what start and memory are measured on; without them, noise
and examples/photos. --print leaves the files alone.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import environment  # noqa: E402
from unpack import unpacked  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SCRATCH = ROOT / "target/peers"
BEGIN, END = "<!-- make bench-peers: begin -->", "<!-- make bench-peers: end -->"

# precision, threads, batch
CASES = [("f32", 1, 1), ("f32", 1, 32), ("f32", 2, 1), ("f32", 2, 32), ("int8", 2, 1), ("int8", 2, 32)]
# Lets threads that spin after their work come to rest.
PAUSE_SECONDS = 0.05


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--featvec", type=pathlib.Path, default=ROOT / "target/release/featvec")
    parser.add_argument("--module", default=str(ROOT / "../shared/reference/feature_vector.tar.gz"))
    parser.add_argument("--photos", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--print", action="store_true")
    return parser.parse_args()


class Peer:
    """A peer in a process of its own, which sleeps between its turns."""

    def __init__(self, kind, model, pictures):
        command = [sys.executable, HERE / "peers.py", kind, model, pictures]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.kind, self.name, self.best = kind, self.process.stdout.readline().strip(), {}

    def ms(self, case, setting, seconds):
        precision, threads, batch = case
        task = dict(precision=precision, threads=threads, batch=batch, setting=setting, seconds=seconds)
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def runs(self, case):
        return self.kind == "openvino" or case[0] == "f32"

    def settings(self, case):
        """Ways to run a batch."""
        _, threads, batch = case
        for lanes in {1, min(threads, batch)}:
            for chunk in {1, min(4, batch), batch // lanes}:
                for pinned in [False, True][: 2 if self.kind == "openvino" else 1]:
                    yield {"chunk": chunk, "lanes": lanes, "pinned": pinned}

    def tune(self, case, seconds):
        """Tries all settings, twice in turns, and keeps the fastest."""
        settings = list(self.settings(case))
        times = [[self.ms(case, setting, seconds / 4) for setting in settings] for _ in range(2)]
        fastest = min(range(len(settings)), key=lambda i: min(times[0][i], times[1][i]))
        self.best[case] = settings[fastest]
        tell(f"{self.name} {case}: {settings[fastest]}")

    def turn(self, case, seconds):
        return self.ms(case, self.best[case], seconds)


class Featvec:
    def __init__(self, program, module):
        self.program, self.module, self.peak = program, module, {}
        self.name = output([program, "--version"]).strip()

    def runs(self, case):
        return True

    def turn(self, case, seconds):
        precision, threads, batch = case
        command = [self.program, "bench", "--module", self.module, "--precision", precision, "--json"]
        command += ["--threads", str(threads), "--batch", str(batch), "--seconds", str(seconds)]
        (found,) = json.loads(output(command))["cases"]
        self.peak.setdefault(case, []).append(found["peak_ratio"])
        return found["ms_per_image"]


def output(command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def tell(text):
    print(text, file=sys.stderr, flush=True)


def load_photos(folder, size):
    """Photographs `[n, h, w, 3]` in [0, 1], or noise where there is no folder."""
    import numpy as np
    from PIL import Image

    h, w = size
    if folder is None:
        return np.random.RandomState(7).uniform(size=(32, h, w, 3)).astype(np.float32)
    photos = [Image.open(path).convert("RGB").resize((w, h), Image.BILINEAR) for path in jpegs(folder)[:128]]
    return np.stack([np.asarray(photo, np.float32) / 255 for photo in photos])


def jpegs(folder):
    """The JPEGs below `folder`, spread over its subfolders."""
    paths = sorted(folder.rglob("*.jpg"), key=lambda path: (path.name, path))
    if not paths:
        sys.exit(f"{folder}: no .jpg in it")
    return paths


def first_vector(featvec, paths):
    """Milliseconds from the start of the process to the first vector on stdout, and its peak memory in MB."""
    command = [featvec.program, "embed", "-q", "--module", featvec.module, *paths]
    times = []
    for _ in range(9):
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.read(1)
        times.append(1e3 * (time.perf_counter() - start))
        process.stdout.read()
        if process.wait() != 0:
            sys.exit("featvec embed failed")
    return statistics.median(times), statistics.median(peak_memory(command) for _ in range(3))


def peak_memory(command):
    """In MB; what the system tells of ended children would count this process before it became the child."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1.024e-3
        time.sleep(1e-3)
    return peak


def measure(contenders, args):
    """Case -> name -> milliseconds a picture, round by round."""
    times = {case: {who.name: [] for who in contenders if who.runs(case)} for case in CASES}
    for number in range(args.rounds):
        for case in CASES:
            for who in contenders:
                if who.runs(case):
                    time.sleep(PAUSE_SECONDS)
                    times[case][who.name].append(who.turn(case, args.seconds))
        tell(f"round {number + 1} of {args.rounds}")
    return times


def processor():
    with open("/proc/cpuinfo") as file:
        facts = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    name = facts.get("model name", platform.machine())
    if "model" in facts:
        name += f" (family {facts['cpu family']}, model {facts['model']})"
    return f"{name}, {os.cpu_count()} cores"


def rows(times, featvec, peers):
    """Lines of the table of all cases."""
    yield "| precision | threads | batch | featvec | of the f32 peak |" + "".join(f" {peer.name} | ratio |" for peer in peers)
    yield "|---" * (5 + 2 * len(peers)) + "|"
    for case, found in times.items():
        ours = found[featvec.name]
        line = "| {} | {} | {} |".format(*case)
        line += f" {statistics.median(ours):.2f} | {100 * statistics.median(featvec.peak[case]):.0f} % |"
        for peer in peers:
            theirs = found.get(peer.name)
            line += f" {statistics.median(theirs):.2f} | {ratio(theirs, ours):.2f} |" if theirs else " | |"
        yield line


def ratio(theirs, ours):
    return statistics.median(peer / own for peer, own in zip(theirs, ours))


def short_rows(times, featvec, peers):
    """Lines of README's table: against the faster peer only."""
    yield "| | featvec | fastest peer | |"
    yield "|---|---|---|---|"
    for (precision, threads, batch), found in times.items():
        name = min((peer.name for peer in peers if peer.name in found), key=lambda name: statistics.median(found[name]))
        ours, theirs = found[featvec.name], found[name]
        what = f"{precision}, batch {batch}, {threads} thread" + "s" * (threads > 1)
        yield (f"| {what} | {statistics.median(ours):.1f} ms | {statistics.median(theirs):.1f} ms, {name} "
               f"| {ratio(theirs, ours):.2f} times as fast |")


def write_between_markers(path, lines):
    text = path.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"{path}: the lines {BEGIN} and {END} must be in it once")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    path.write_text("\n".join([before + BEGIN, *lines, END + after]))


def main():
    args = parse_args()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    environment.enter(SCRATCH / "venv", HERE / "requirements.txt")

    import importlib.metadata

    import numpy as np

    model, pictures = SCRATCH / "model.onnx", SCRATCH / "pictures.npy"
    export = [args.featvec, "export", "--module", args.module, "--format", "onnx", "--overwrite", "-o", model]
    subprocess.run(export, check=True)
    description = json.loads(output([args.featvec, "inspect", "--format", "json", args.module]))
    np.save(pictures, load_photos(args.photos, description["image_size"]))

    featvec = Featvec(args.featvec, unpacked(args.module, SCRATCH))
    peers = [Peer(kind, model, pictures) for kind in ("onnxruntime", "openvino")]
    for peer in peers:
        for case in filter(peer.runs, CASES):
            peer.tune(case, args.seconds)
    times = measure([featvec, *peers], args)

    photos = jpegs(args.photos or ROOT / "examples/photos")
    photos = (photos * 32)[:32]
    start_ms, one_mb = first_vector(featvec, photos[:1])
    _, batch_mb = first_vector(featvec, photos)

    where = (f"{datetime.date.today():%-d %B %Y}, {processor()}; {featvec.name}, "
             + ", ".join(peer.name for peer in peers)
             + f" (int8 by NNCF {importlib.metadata.version('nncf')}); {args.rounds} rounds in turns.")
    full = [where + " Milliseconds a picture, medians; ratio = peer / featvec, above 1 featvec is faster.", "",
            *rows(times, featvec, peers), "",
            "| process | |", "|---|---|",
            f"| from its start to the first vector | {start_ms:.0f} ms |",
            f"| peak memory, one picture | {one_mb:.0f} MB |",
            f"| peak memory, batch of 32 | {batch_mb:.0f} MB |"]
    short = [*short_rows(times, featvec, peers), "", "A picture, on " + where]
    if args.print:
        print("\n".join(full + [""] + short))
        return
    write_between_markers(ROOT / "docs/performance.md", full)
    write_between_markers(ROOT / "README.md", short)


if __name__ == "__main__":
    main()
