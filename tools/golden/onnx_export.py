"""Runs exported models in ONNX Runtime and compares them with the goldens and with featvec.

    python onnx_export.py FEATVEC SHARED

FEATVEC is the program, SHARED the folder of reference data. Needs onnx, onnxruntime, numpy. Run by hand: it says how
far each output is from the golden and from featvec's own (largest difference / largest value), and fails beyond the
bars of docs/numerics.md. Sizes at which SAME padding is odd and Caffe's last pooling window is cut are tried too.
"""

import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

FEATVEC, SHARED = sys.argv[1:]
FEATURES, ENDPOINTS = 1e-5, 3e-5
SLIM = "reference/feature_vector.tar.gz"
CLASSIFIER = "reference/classification.tar.gz"
GOOGLENET = "googlenet/bvlc_googlenet.caffemodel"
FAILED = []


def shared(name):
    return os.path.join(SHARED, name)


def run(folder, module, images, signature="default", endpoints=("default",), size=None):
    """The outputs of the exported module, by name."""
    path = os.path.join(folder, "model.onnx")
    command = [FEATVEC, "export", "-q", "--overwrite", "--module", shared(module), "--format", "onnx", "-o", path]
    command += ["--signature", signature] + [arg for name in endpoints for arg in ("--endpoint", name)]
    command += ["--size", size] if size else []
    subprocess.run(command, check=True)
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images})))


def featvec(folder, module, images, signature, endpoint, size):
    """The same output of featvec itself."""
    batch, vectors = os.path.join(folder, "images.npy"), os.path.join(folder, "vectors.npy")
    np.save(batch, images)
    command = [FEATVEC, "embed", "-q", "--module", shared(module), "-o", vectors, "--size", size]
    subprocess.run(command + ["--signature", signature, "--endpoint", endpoint, batch], check=True)
    return np.load(vectors)


def compare(what, got, expected, allowed):
    assert got.shape == expected.shape, (what, got.shape, expected.shape)
    error = np.abs(got.astype(np.float64) - expected).max() / np.abs(expected).max()
    print(f"{what:58} {error:.2e}  (allowed {allowed:.0e})")
    if not error <= allowed:
        FAILED.append(what)


def main():
    inputs = np.load(shared("reference/golden/inputs.npy"))
    with tempfile.TemporaryDirectory() as folder:
        features = run(folder, SLIM, inputs)["default"]
        compare("feature_vector, TensorFlow", features, np.load(shared("reference/golden/features.npy")), FEATURES)

        goldens = np.load(shared("reference/golden/endpoints_image0.npz"))
        names = [key.replace("__", "/") for key in goldens.files]
        outputs = run(folder, SLIM, inputs[:1], "image_feature_vector", names)
        for key, name in zip(goldens.files, names):
            tight = name == "default" or name.endswith("global_pool")
            compare(f"{name}, TensorFlow", outputs[name][0], goldens[key], FEATURES if tight else ENDPOINTS)

        outputs = run(folder, CLASSIFIER, inputs, "image_classification", ["default", "InceptionV1/Predictions"])
        compare("logits, TensorFlow", outputs["default"], np.load(shared("reference/golden/logits.npy")), FEATURES)
        # exp magnifies the logits' error.
        golden = np.load(shared("reference/golden/softmax.npy"))
        compare("probabilities, TensorFlow", outputs["InceptionV1/Predictions"], golden, 1e-4)

        # Blue, green, red minus the mean colour, channels first -> red, green, blue in [0, 1], channels last.
        photos = ["cat", "dog", "parrot"]
        bgr = np.stack([np.load(shared(f"googlenet/golden/{name}_input_bgr_chw.npy")) for name in photos])
        rgb = ((bgr + np.float32([104, 117, 123]).reshape(3, 1, 1)) / 255)[:, ::-1].transpose(0, 2, 3, 1)
        rgb = np.ascontiguousarray(rgb, np.float32)
        for signature, golden in [("default", "pool5_1024"), ("image_classification", "logits_1000")]:
            got = run(folder, GOOGLENET, rgb, signature)["default"]
            expected = np.stack([np.load(shared(f"googlenet/golden/{name}_{golden}.npy")) for name in photos])
            compare(f"GoogLeNet, {golden}, Caffe", got, expected.reshape(got.shape), FEATURES)

        for module in [SLIM, GOOGLENET]:
            for size in ["224x224", "225x231", "33x65", "32x32", "113x320"]:
                h, w = map(int, size.split("x"))
                images = np.random.RandomState(h).uniform(size=(3, h, w, 3)).astype(np.float32)
                for endpoint in ["default", "MaxPool_2a_3x3", "MaxPool_5a_2x2"]:
                    got = list(run(folder, module, images, "default", [endpoint], size).values())[0]
                    expected = featvec(folder, module, images, "default", endpoint, size)
                    compare(f"{os.path.basename(module)[:14]} {endpoint} {size}, featvec", got, expected, ENDPOINTS)
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}: {len(FAILED)} failed")
    sys.exit(bool(FAILED))


main()
