"""Measures a step of training of featvec, TensorFlow and PyTorch in turns, and prints a table.

    python3 train.py [--featvec target/release/featvec] [--module ../shared/reference/feature_vector.tar.gz]
                     [--batch 32] [--threads 2] [--rounds 7] [--seconds 4]

Makes an environment in target/peers-train, from PyPI, and goes on in it. A step is forward with the statistics of the
batch, back to every variable, and plain gradient descent with moving averages; pictures are ready in memory.

* featvec: `featvec bench --train`.
* TensorFlow: the module itself, through hub.Module with tags {"train"}, trainable, its regularisation losses and its
  update operations.
* PyTorch: the same network as TF-Slim defines it, written out below, channels last; weight decay in the optimiser.

Each has a process of its own and sleeps while others work. Figures are medians of the rounds, ratios medians of the
rounds' ratios. Memory is the most that the process has held, its libraries included.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import environment  # noqa: E402
from unpack import unpacked  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SCRATCH = ROOT / "target/peers-train"
REQUIREMENTS = HERE / "train-requirements.txt"
PAUSE_SECONDS = 0.2


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--featvec", type=pathlib.Path, default=ROOT / "target/release/featvec")
    parser.add_argument("--module", default=str(ROOT / "../shared/reference/feature_vector.tar.gz"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--peers", default="tensorflow,pytorch")
    parser.add_argument("--serve", choices=["tensorflow", "pytorch"], help=argparse.SUPPRESS)
    return parser.parse_args()


def random_images(batch):
    import numpy as np

    return np.random.RandomState(7).uniform(size=(batch, 224, 224, 3)).astype(np.float32)


def tensorflow_step(args):
    """A function that makes one step with the module itself, and the library's name."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf
    import tensorflow_hub as hub

    tf1 = tf.compat.v1
    tf1.disable_eager_execution()
    images = tf1.get_variable("images", initializer=random_images(args.batch), trainable=False)
    module = hub.Module(args.module, trainable=True, tags={"train"})
    features = module(tf.convert_to_tensor(images))
    loss = tf.reduce_mean(features) + tf.add_n(tf1.get_collection(tf1.GraphKeys.REGULARIZATION_LOSSES))
    with tf.control_dependencies(tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)):
        train = tf1.train.GradientDescentOptimizer(1e-9).minimize(loss, var_list=tf1.trainable_variables())
    session = tf1.Session(config=tf1.ConfigProto(
        intra_op_parallelism_threads=args.threads, inter_op_parallelism_threads=args.threads))
    session.run(tf1.global_variables_initializer())
    return lambda: session.run(train), f"TensorFlow {tf.__version__}"


# Channels of the inception modules: 1x1; reduce, 3x3; reduce, 3x3; pool projection. "max" is a 3x3 pool of stride 2.
MODULES = [
    (64, (96, 128), (16, 32), 32), (128, (128, 192), (32, 96), 64), "max",
    (192, (96, 208), (16, 48), 64), (160, (112, 224), (24, 64), 64), (128, (128, 256), (24, 64), 64),
    (112, (144, 288), (32, 64), 64), (256, (160, 320), (32, 128), 128), "max 2x2",
    (256, (160, 320), (32, 128), 128), (384, (192, 384), (48, 128), 128),
]


def pytorch_step(args):
    """A function that makes one step with TF-Slim's network, and the library's name."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(args.threads)

    class Conv(nn.Sequential):
        def __init__(self, ic, oc, size=1):
            norm = nn.BatchNorm2d(oc, eps=0.001, momentum=1 - 0.9997)
            norm.weight.requires_grad_(False)  # no scale
            super().__init__(nn.Conv2d(ic, oc, size, padding=size // 2, bias=False), norm, nn.ReLU(inplace=True))

    class Stem(nn.Sequential):
        """The first convolution: SAME padding of an even picture, two pixels before and three after."""

        def __init__(self):
            conv = Conv(3, 64, 7)
            conv[0].stride, conv[0].padding = (2, 2), (0, 0)
            super().__init__(nn.ZeroPad2d((2, 3, 2, 3)), conv)

    class Inception(nn.Module):
        def __init__(self, ic, channels):
            super().__init__()
            b0, (b10, b11), (b20, b21), b3 = channels
            self.branches = nn.ModuleList([
                Conv(ic, b0),
                nn.Sequential(Conv(ic, b10), Conv(b10, b11, 3)),
                nn.Sequential(Conv(ic, b20), Conv(b20, b21, 3)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), Conv(ic, b3)),
            ])

        def forward(self, x):
            return torch.cat([branch(x) for branch in self.branches], 1)

    def max_pool(size=3):
        return nn.MaxPool2d(size, 2, ceil_mode=True)

    layers, ic = [Stem(), max_pool(), Conv(64, 64), Conv(64, 192, 3), max_pool()], 192
    for channels in MODULES:
        if isinstance(channels, str):
            layers.append(max_pool(2 if channels == "max 2x2" else 3))
        else:
            layers.append(Inception(ic, channels))
            ic = channels[0] + channels[1][1] + channels[2][1] + channels[3]
    network = nn.Sequential(*layers).to(memory_format=torch.channels_last).train()
    images = torch.from_numpy(random_images(args.batch)).permute(0, 3, 1, 2)  # channels last already
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=1e-9, weight_decay=4e-5)

    def step():
        optimizer.zero_grad(set_to_none=True)
        functional.adaptive_avg_pool2d(network(images * 2 - 1), 1).mean().backward()
        optimizer.step()

    return step, f"PyTorch {torch.__version__.split('+')[0]}"


def serve(args):
    """Makes steps for as long as each line on stdin says; answers with the median in seconds, and the memory in MB."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    step, name = {"tensorflow": tensorflow_step, "pytorch": pytorch_step}[args.serve](args)
    for _ in range(2):
        step()
    print(name, file=answers, flush=True)
    for line in sys.stdin:
        times, end = [], time.perf_counter() + float(line)
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        status = pathlib.Path("/proc/self/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
        print(json.dumps([statistics.median(times), peak * 1.024e-3]), file=answers, flush=True)


class Peer:
    """A peer in a process of its own."""

    def __init__(self, kind, args):
        command = [sys.executable, __file__, "--serve", kind, "--module", args.module]
        command += ["--batch", str(args.batch), "--threads", str(args.threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name = self.process.stdout.readline().strip()
        if not self.name:
            sys.exit(f"{kind} did not start")

    def turn(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        seconds, memory = json.loads(self.process.stdout.readline())
        return seconds, memory, None


class Featvec:
    def __init__(self, args):
        self.command = [args.featvec, "bench", "--train", "--json", "--module", args.module]
        self.command += ["--batch", str(args.batch), "--threads", str(args.threads)]
        version = subprocess.run([args.featvec, "--version"], stdout=subprocess.PIPE, text=True, check=True)
        self.name = version.stdout.strip()

    def turn(self, seconds):
        command = [*self.command, "--seconds", str(seconds)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        (case,) = json.loads(answer.stdout)["training"]
        return case["ms_per_step"] / 1e3, case["peak_memory_bytes"] / 1e6, case["peak_ratio"]


def main():
    args = parse_args()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    environment.enter(SCRATCH / "venv", REQUIREMENTS)
    if args.serve:
        return serve(args)
    args.module = unpacked(args.module, SCRATCH)
    contenders = [Featvec(args), *(Peer(kind, args) for kind in args.peers.split(","))]
    turns = {who.name: [] for who in contenders}
    for number in range(args.rounds):
        for who in contenders:
            time.sleep(PAUSE_SECONDS)
            turns[who.name].append(who.turn(args.seconds))
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
    ours = turns[contenders[0].name]
    print(f"Batch {args.batch}, {args.threads} threads, {args.rounds} rounds in turns; ratio = peer / featvec.\n")
    print("| | seconds a step | ratio | memory MB | of the f32 peak |")
    print("|---|---|---|---|---|")
    for name, found in turns.items():
        seconds = statistics.median(turn[0] for turn in found)
        ratio = statistics.median(theirs[0] / own[0] for theirs, own in zip(found, ours))
        memory = max(turn[1] for turn in found)
        peak = f"{100 * statistics.median(turn[2] for turn in found):.0f} %" if found is ours else ""
        print(f"| {name} | {seconds:.3f} | {ratio:.2f} | {memory:.0f} | {peak} |")


if __name__ == "__main__":
    main()
