#!/usr/bin/env python3
"""Opens what `featvec export` writes in TensorFlow and tensorflow_hub, and compares what they compute.

It installs tensorflow-cpu 2.15.1, tf_keras 2.15.1, tensorflow_hub 0.15, numpy < 2 and safetensors in an environment that
is thrown away afterwards (or in the one that --env names, to be used again). Needs Python 3.11, the program featvec, and
the folder of reference data (modules and what TensorFlow computed with them):

    python exports.py --featvec target/release/featvec --shared ../shared

or, for the module that comes with featvec, the sample photographs alone:

    python exports.py --featvec target/release/featvec --builtin
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import venv

PACKAGES = [
    "tensorflow-cpu==2.15.1",
    "tf_keras==2.15.1",
    "tensorflow_hub==0.15.0",
    "numpy<2",
    "setuptools<70",
    "safetensors",
]


def install_and_run(args):
    """Runs this script again, where the packages are."""
    with tempfile.TemporaryDirectory() as folder:
        env = pathlib.Path(args.env or folder)
        python = env / ("Scripts" if os.name == "nt" else "bin") / "python"
        if not python.exists():
            venv.create(env, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
        return subprocess.run([python, __file__, *sys.argv[1:], "--installed"], env=environment).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--featvec", required=True, help="the program")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--shared", type=pathlib.Path, help="the folder of reference data")
    what.add_argument("--builtin", action="store_true", help="compare the module that comes with featvec instead")
    parser.add_argument("--env", help="an environment to make or to use again")
    parser.add_argument("--installed", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.installed:
        return install_and_run(args)
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(args.featvec, args.shared, pathlib.Path(folder))
        comparison.builtin() if args.builtin else comparison.reference()
        print("all within bounds" if not comparison.failures else f"{comparison.failures} FAILURES")
        return int(comparison.failures > 0)


class Comparison:
    def __init__(self, featvec, shared, folder):
        self.featvec, self.shared, self.folder = featvec, shared, folder
        self.failures = 0

    def builtin(self):
        photos = sorted((pathlib.Path(__file__).parents[2] / "examples/photos").glob("*.jpg"))
        pictures = [tf.io.decode_jpeg(photo.read_bytes(), channels=3) for photo in photos]
        images = np.stack([tf1.image.resize_bilinear(picture[None], [224, 224])[0] / 255 for picture in pictures])
        signatures = {"features": "image_feature_vector", "logits": "image_classification"}
        # What featvec computes without any export is the golden data here.
        wanted = {key: self.own("builtin", images, signature) for key, signature in signatures.items()}
        self.hub(self.export("builtin", "hub"), images, wanted, "builtin")
        self.classifier_training(self.export("builtin", "hub"), images)
        self.others("builtin", images, wanted, "builtin")

    def reference(self):
        golden = self.shared / "reference/golden"
        slim = self.shared / "reference/classification.tar.gz"
        features = self.shared / "reference/feature_vector.tar.gz"
        caffe = self.shared / "googlenet/bvlc_googlenet.caffemodel"
        images = np.load(golden / "inputs.npy")
        wanted = {"features": np.load(golden / "features.npy"), "logits": np.load(golden / "logits.npy")}
        self.hub(self.export(features, "hub"), images, {"features": wanted["features"]}, "feature vector module")
        self.hub(self.export(slim, "hub"), images, wanted, "classification module")
        self.hub(
            self.export(slim, "hub", "--features-only"),
            images,
            {"features": wanted["features"]},
            "feature vector module from a classification module",
        )
        self.training(self.export(features, "hub"), images[:4], golden)
        self.classifier_training(self.export(slim, "hub"), images[:4])
        self.others(slim, images, wanted, "TF-Slim")

        images, wanted = self.caffe_goldens()
        self.hub(self.export(caffe, "hub"), images, wanted, "GoogLeNet's module")
        self.paper_training(self.export(caffe, "hub"), images)
        self.others(caffe, images, wanted, "GoogLeNet")

    def export(self, module, form, *options):
        path = pathlib.Path(tempfile.mkdtemp(dir=self.folder)) / "exported"
        command = [self.featvec, "export", "-q", "--module", module, "--format", form, "-o", path, *options]
        subprocess.run(command, check=True)
        return str(path)

    def own(self, module, images, signature):
        """What featvec itself computes."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        np.save(folder / "images.npy", images)
        command = [self.featvec, "embed", "-q", "--module", module, "--signature", signature]
        subprocess.run([*command, "-o", folder / "rows.npy", folder / "images.npy"], check=True)
        return np.load(folder / "rows.npy")

    def compare(self, what, found, wanted, bound):
        """Largest error / largest value."""
        found, wanted = np.asarray(found), np.asarray(wanted)
        error = np.abs(found - wanted).max() / np.abs(wanted).max()
        good = found.shape == wanted.shape and error <= bound
        self.failures += not good
        print(f"  {'ok ' if good else 'BAD'} {what}: {error:.2e} (bound {bound:.0e})")

    def equal(self, what, found, wanted):
        self.failures += found != wanted
        print(f"  {'ok ' if found == wanted else 'BAD'} {what}: {found}" + ("" if found == wanted else f", not {wanted}"))

    def caffe_goldens(self):
        folder = self.shared / "googlenet/golden"
        names = ["cat", "dog", "parrot"]
        mean = np.array([104, 117, 123], np.float32).reshape(1, 3, 1, 1)
        inputs = np.concatenate([np.load(folder / f"{name}_input_bgr_chw.npy").reshape(1, 3, 224, 224) for name in names])
        images = ((inputs + mean)[:, ::-1] / 255).transpose(0, 2, 3, 1).astype(np.float32)
        rows = lambda what: np.stack([np.load(folder / f"{name}_{what}.npy").reshape(-1) for name in names])
        return images, {"features": rows("pool5_1024"), "logits": rows("logits_1000")}

    def hub(self, path, images, wanted, what):
        print(f"{what}: hub.Module, hub.load")
        own = {"features": self.own(path, images, "image_feature_vector")}
        if "logits" in wanted:
            own["logits"] = self.own(path, images, "image_classification")
        signatures = {"features": "image_feature_vector", "logits": "image_classification"}
        with tf1.Graph().as_default(), tf1.Session() as session:
            module = hub.Module(path)
            self.equal("expected size", hub.get_expected_image_size(module), [224, 224])
            self.equal("channels", hub.get_num_image_channels(module), 3)
            self.equal("signatures", sorted(module.get_signature_names()), sorted({"default", *(signatures[key] for key in wanted)}))
            results = {key: module(images, signature=signatures[key], as_dict=True) for key in wanted}
            default = module(images)
            session.run(tf1.global_variables_initializer())
            for key, outputs in results.items():
                values = session.run(outputs)
                self.compare(f"{key} against the golden ones", values["default"], wanted[key], 1e-5)
                self.compare(f"{key} against featvec's", values["default"], own[key], 1e-5)
                self.endpoints(path, images, values, signatures[key])
            self.equal("the default signature", bool((session.run(default) == values["default"]).all()), True)
        loaded = hub.load(path)
        for key in wanted:
            outputs = loaded.signatures[signatures[key]](images=tf.constant(images))
            self.compare(f"{key} by hub.load", outputs["default"], wanted[key], 1e-5)

    def endpoints(self, path, images, values, signature):
        """Every output of a signature against featvec's, for one picture."""
        errors = []
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        np.save(folder / "images.npy", images[:1])
        for name, value in values.items():
            command = [self.featvec, "embed", "-q", "--module", path, "--signature", signature, "--endpoint", name]
            subprocess.run([*command, "-o", folder / "rows.npy", folder / "images.npy"], check=True)
            wanted = np.load(folder / "rows.npy").reshape(value[:1].shape)
            errors.append((np.abs(value[:1] - wanted).max() / np.abs(wanted).max(), name))
        error, name = max(errors)
        self.compare(f"{len(values)} outputs of {signature}, the worst, {name}", 1 + error, 1.0, 3e-5)

    def training(self, path, images, golden):
        print('feature vector module: hub.Module(tags={"train"}, trainable=True)')
        loss_weights = np.load(golden / "train_R.npy")
        summary = json.loads((golden / "summary.json").read_text())
        with tf1.Graph().as_default(), tf1.Session() as session:
            module = hub.Module(path, trainable=True, tags={"train"})
            features = module(images)
            losses = tf1.get_collection(tf1.GraphKeys.REGULARIZATION_LOSSES)
            updates = tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)
            variables = tf1.trainable_variables()
            self.equal("losses, updates, trainable variables", [len(losses), len(updates), len(variables)], [57, 114, 114])
            loss = tf1.reduce_mean(features * loss_weights) + tf1.add_n(losses)
            session.run(tf1.global_variables_initializer())
            values = session.run(features)
            self.compare("features", values, np.load(golden / "train_features.npy"), 2e-5)
            before = session.run(loss)
            self.compare("loss", before, summary["train_loss"]["total"], 1e-5)
            session.run(updates)
            wanted = np.load(golden / "train_moving_after_update.npz")
            worst = 0.0
            for name in wanted.files:
                variable = module.variable_map[name.replace("__", "/")]
                worst = max(worst, float(np.abs(session.run(variable) - wanted[name]).max() / np.abs(wanted[name]).max()))
            self.compare("moving averages after the updates, the worst", 1 + worst, 1.0, 1e-6)

        with tf1.Graph().as_default(), tf1.Session() as session:
            module = hub.Module(path, trainable=True, tags={"train"})
            losses = tf1.get_collection(tf1.GraphKeys.REGULARIZATION_LOSSES)
            loss = tf1.reduce_mean(module(images) * loss_weights) + tf1.add_n(losses)
            with tf1.control_dependencies(tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)):
                step = tf1.train.GradientDescentOptimizer(0.01).minimize(loss)
            session.run(tf1.global_variables_initializer())
            session.run(step)
            wanted = np.load(golden / "train_after1_lr0.01.npz")
            worst = 0.0
            for name in wanted.files:
                variable = module.variable_map[name.replace("__", "/")]
                found = session.run(variable)
                worst = max(worst, float(np.linalg.norm(found - wanted[name]) / np.linalg.norm(wanted[name])))
            self.compare("variables after one step, relative L2, the worst", 1 + worst, 1.0, 1e-3)
            self.equal("the loss falls", bool(session.run(loss) < before), True)

    def classifier_training(self, path, images):
        print('classification module: hub.Module(tags={"train"}, trainable=True)')
        with tf1.Graph().as_default(), tf1.Session() as session:
            module = hub.Module(path, trainable=True, tags={"train"})
            logits = module(images)
            losses = tf1.get_collection(tf1.GraphKeys.REGULARIZATION_LOSSES)
            updates = tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)
            sizes = [len(losses), len(updates), len(tf1.trainable_variables())]
            self.equal("losses, updates, trainable variables", sizes, [58, 114, 116])
            loss = tf1.losses.sparse_softmax_cross_entropy([1, 2, 3, 4], logits) + tf1.add_n(losses)
            with tf1.control_dependencies(updates):
                step = tf1.train.GradientDescentOptimizer(0.001).minimize(loss)
            session.run(tf1.global_variables_initializer())
            before = np.mean([session.run(loss) for _ in range(5)])
            self.equal("dropout differs from run to run", bool((session.run(logits) != session.run(logits)).any()), True)
            for _ in range(5):
                session.run(step)
            self.equal("the loss falls", bool(np.mean([session.run(loss) for _ in range(5)]) < before), True)

    def paper_training(self, path, images):
        print('GoogLeNet\'s module: hub.Module(tags={"train"}, trainable=True)')
        with tf1.Graph().as_default(), tf1.Session() as session:
            module = hub.Module(path, trainable=True, tags={"train"})
            features = module(images, signature="image_feature_vector")
            losses = tf1.get_collection(tf1.GraphKeys.REGULARIZATION_LOSSES)
            updates = tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)
            self.equal("losses, updates, trainable variables", [len(losses), len(updates), len(tf1.trainable_variables())], [58, 0, 116])
            loss = tf1.reduce_mean(tf1.square(features - 1))
            step = tf1.train.GradientDescentOptimizer(0.01).minimize(loss)
            session.run(tf1.global_variables_initializer())
            before = session.run(loss)
            session.run(step)
            self.equal("the loss falls", bool(session.run(loss) < before), True)

    def others(self, module, images, wanted, what):
        print(f"{what}: SavedModel, frozen graph, checkpoints, safetensors")
        loaded = tf.saved_model.load(self.export(module, "saved-model"))
        outputs = loaded.signatures["serving_default"](images=tf.constant(images))
        self.equal("outputs of serving_default", sorted(outputs), ["default", "probabilities"])
        self.compare("logits by tf.saved_model.load", outputs["default"], wanted["logits"], 1e-5)
        self.compare("probabilities", outputs["probabilities"], tf.nn.softmax(wanted["logits"]), 1e-4)

        with tf1.Graph().as_default(), tf1.Session() as session:
            tf1.saved_model.load(session, ["serve"], self.export(module, "saved-model"))
            graph = tf1.get_default_graph()
            saved = session.run("save/control_dependency:0", {"save/filename:0": str(self.folder / "again")})
            again = tf.train.load_checkpoint(saved.decode())
            self.equal("variables that its own operations save", len(again.get_variable_to_shape_map()), len(graph.get_collection("variables")))

        definition = tf1.GraphDef.FromString(pathlib.Path(self.export(module, "frozen-graph")).read_bytes())
        with tf1.Graph().as_default(), tf1.Session() as session:
            tf1.import_graph_def(definition, name="")
            values = session.run(["feature_vector:0", "logits:0"], {"images:0": images})
            self.compare("features by the frozen graph", values[0], wanted["features"], 1e-5)
            self.compare("logits by the frozen graph", values[1], wanted["logits"], 1e-5)

        reference = tf.train.load_checkpoint(self.export(module, "hub") + "/variables/variables")
        names = sorted(reference.get_variable_to_shape_map())
        second = self.export(module, "checkpoint-v2")
        self.equal("tf.train.latest_checkpoint", tf.train.latest_checkpoint(os.path.dirname(second)), second)
        archive = self.export(module, "safetensors")
        tensors = safetensors.numpy.load_file(archive)
        for form, read in [
            ("V1 checkpoint", tf.train.load_checkpoint(self.export(module, "checkpoint-v1"))),
            ("V2 checkpoint", tf.train.load_checkpoint(second)),
        ]:
            self.equal(f"{form}: names", sorted(read.get_variable_to_shape_map()) == names, True)
            same = all(read.get_tensor(name).tobytes() == reference.get_tensor(name).tobytes() for name in names)
            self.equal(f"{form}: {len(names)} variables bit for bit", same, True)
        same = sorted(tensors) == names and all(
            tensors[name].tobytes() == reference.get_tensor(name).tobytes() for name in names
        )
        self.equal(f"safetensors: {len(names)} variables bit for bit", same, True)


if __name__ == "__main__":
    if "--installed" in sys.argv:
        import numpy as np
        import safetensors.numpy
        import tensorflow as tf
        import tensorflow_hub as hub

        tf1 = tf.compat.v1
        tf1.logging.set_verbosity(tf1.logging.ERROR)
    sys.exit(main())
