"""ONNX Runtime and OpenVINO at their fastest: what run.py has measured in turns, each in a process of its own.

    python peers.py onnxruntime|openvino MODEL PICTURES

reads one JSON object a line, {"precision", "threads", "batch", "setting", "seconds"}, and answers each with a line: the
median milliseconds a picture of as many runs of the batch as fit the seconds. The first line that it writes names what
it is. A setting is how a batch is run: in requests of `chunk` pictures, over `lanes` of threads / lanes threads each,
`pinned` to cores or not (OpenVINO only, which pins by default, and suffers where others use the cores too). PICTURES is
a .npy, [n, h, w, 3] in [0, 1], which int8 is calibrated on.
"""

import functools
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np


class OnnxRuntime:
    """Static batch, all optimisations, spinning threads; a lane is a session of its own."""

    def __init__(self, model, _):
        import onnxruntime

        self.library, self.model = onnxruntime, model
        self.name = f"ONNX Runtime {onnxruntime.__version__}"

    def runner(self, _, threads, setting):
        """What runs chunks `[k, chunk, h, w, 3]`."""
        chunk, lanes = setting["chunk"], setting["lanes"]
        options = self.library.SessionOptions()
        options.intra_op_num_threads = threads // lanes
        options.inter_op_num_threads = 1
        options.graph_optimization_level = self.library.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_free_dimension_override_by_name("n", chunk)
        sessions = [
            self.library.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
            for _ in range(lanes)
        ]

        def lane(session, chunks):
            for images in chunks:
                session.run(None, {"images": images})

        if lanes == 1:
            return functools.partial(lane, sessions[0])
        pool = ThreadPoolExecutor(lanes)

        def run(chunks):
            list(pool.map(lane, sessions, [chunks[i::lanes] for i in range(lanes)]))

        return run


class OpenVino:
    """Static batch, latency hint; a lane is a stream."""

    def __init__(self, model, pictures):
        import openvino

        self.library, self.core, self.pictures = openvino, openvino.Core(), np.load(pictures)
        self.f32 = self.core.read_model(model)
        self.name = f"OpenVINO {openvino.__version__.split('-')[0]}"

    @functools.cached_property
    def int8(self):
        """Quantised after training, by NNCF's defaults."""
        import nncf

        dataset = nncf.Dataset([images[np.newaxis] for images in self.pictures])
        return nncf.quantize(self.f32, dataset, subset_size=len(self.pictures))

    def runner(self, precision, threads, setting):
        model = (self.f32 if precision == "f32" else self.int8).clone()
        shape = model.inputs[0].partial_shape
        shape[0] = setting["chunk"]
        model.reshape({"images": shape})
        compiled = self.core.compile_model(model, "CPU", {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": setting["lanes"],
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": setting["pinned"],
            "INFERENCE_PRECISION_HINT": "f32",  # elsewhere than in int8's layers; by default bfloat16 where there is AMX
        })
        if setting["lanes"] == 1:
            request = compiled.create_infer_request()

            def run(chunks):
                for images in chunks:
                    request.infer({"images": images}, share_inputs=True, share_outputs=True)
        else:
            queue = self.library.AsyncInferQueue(compiled, setting["lanes"])

            def run(chunks):
                for images in chunks:
                    queue.start_async({"images": images}, share_inputs=True)
                queue.wait_all()

        return run


def median_ms(run, chunks, seconds):
    """Median milliseconds of `run`, after a first one that is not counted."""
    run(chunks)
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        run(chunks)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def main():
    kind, model, pictures = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    peer = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}[kind](model, pictures)
    images, runners = np.load(pictures), {}
    print(peer.name, file=answers, flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        precision, threads, batch, setting = (task[key] for key in ("precision", "threads", "batch", "setting"))
        key = (precision, threads, *setting.values())
        if key not in runners:
            runners[key] = peer.runner(precision, threads, setting)
        chunks = np.resize(images, (batch, *images.shape[1:]))
        chunks = chunks.reshape(-1, setting["chunk"], *images.shape[1:])
        print(median_ms(runners[key], chunks, task["seconds"]) / batch, file=answers, flush=True)


if __name__ == "__main__":
    main()
