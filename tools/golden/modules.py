#!/usr/bin/env python3
"""Makes TF1 Hub modules of the Inception V1 family, Slim checkpoints, and what TensorFlow computes with them.

The weights are random but well behaved: He-like filters, batch-norm statistics measured over photographs and then
perturbed, so that activations stay of order one and every variable leaves its mark on the result. Beside the honest
modules stand impostors: almost Inception V1, yet different. A loader must refuse those, or compute what they compute.

Needs Python 3.11 with tensorflow-cpu 2.15.1, tf_keras 2.15.1, tensorflow_hub 0.15,
tf_slim 1.1 and numpy < 2.

    python modules.py --photos DIR --out DIR                 everything
    python modules.py --photos DIR --out DIR --only fv3 cls1  some of it
    python modules.py --list
"""

import argparse
import dataclasses
import hashlib
import importlib
import json
import os
import pathlib
import shutil
import sys
import tarfile
from typing import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf2
import tensorflow_hub as hub

# TensorFlow 2.15.1 looks for the classic layers under a name that tf_keras 2.15 does not have.
for layers in ["base", "convolutional", "core", "normalization", "pooling"]:
    module = importlib.import_module(f"tf_keras.src.legacy_tf_layers.{layers}")
    sys.modules[f"tf_keras.legacy_tf_layers.{layers}"] = module

import tf_slim as slim

tf = tf2.compat.v1
tf.disable_eager_execution()
tf.logging.set_verbosity(tf.logging.ERROR)

SIZE = 224
CLASSES = 1001
FREE_SIZES = [(160, 96), (299, 299), (33, 64), (32, 32)]

# Rows in network order. Convolutions: (name, kernel, stride, channels); pools: (name, window);
# inception blocks: (name, 1x1, (1x1, 3x3), (1x1, 3x3), 1x1 after the pool).
NETWORK = [
    ("Conv2d_1a_7x7", 7, 2, 64),
    ("MaxPool_2a_3x3", 3),
    ("Conv2d_2b_1x1", 1, 1, 64),
    ("Conv2d_2c_3x3", 3, 1, 192),
    ("MaxPool_3a_3x3", 3),
    ("Mixed_3b", 64, (96, 128), (16, 32), 32),
    ("Mixed_3c", 128, (128, 192), (32, 96), 64),
    ("MaxPool_4a_3x3", 3),
    ("Mixed_4b", 192, (96, 208), (16, 48), 64),
    ("Mixed_4c", 160, (112, 224), (24, 64), 64),
    ("Mixed_4d", 128, (128, 256), (24, 64), 64),
    ("Mixed_4e", 112, (144, 288), (32, 64), 64),
    ("Mixed_4f", 256, (160, 320), (32, 128), 128),
    ("MaxPool_5a_2x2", 2),
    ("Mixed_5b", 256, (160, 320), (32, 128), 128),
    ("Mixed_5c", 384, (192, 384), (48, 128), 128),
]


@dataclasses.dataclass(frozen=True)
class Form:
    """What a module looks like. The defaults are version /1 of the feature vector module."""

    expect: str = "accept"
    """`accept`, `refuse` (it must not run), or `refuse or equal` (never other numbers than the golden ones)."""
    why: str = "Inception V1"
    seed: int = 123
    size: int | None = SIZE
    attached_size: int | None = SIZE
    classes: int = 0
    pool: str = "mean"
    decay: float = 0.9997
    momentum_input: bool = False
    partitions: int = 1
    affine: tuple[float, float] | None = (2.0, 1.0)
    epsilon: float = 0.001
    gamma: bool = False
    activation: Callable = tf.nn.relu
    order: tuple[int, ...] = (0, 1, 2, 3)
    branch_pool: Callable = slim.max_pool2d
    last_pool_window: int = 2
    first_padding: str = "SAME"
    branch2_kernel: int = 3
    odd_layer: tuple[str, dict] | None = None
    """One convolution (its variable scope) that gets other arguments than the rest."""
    tail: Callable | None = None
    """What happens to the pooled features before they leave as `default`."""
    scope: str = "InceptionV1"
    fused: bool = True


def network(images, form: Form, training: bool, decay):
    """The convolutional part. Returns the end points by name, in network order."""
    normalizer = dict(is_training=training, decay=decay, epsilon=form.epsilon, scale=form.gamma, fused=form.fused)
    points = {}
    with slim.arg_scope([slim.conv2d, slim.max_pool2d, slim.avg_pool2d], stride=1, padding="SAME"), slim.arg_scope(
        [slim.conv2d],
        activation_fn=form.activation,
        normalizer_fn=slim.batch_norm,
        normalizer_params=normalizer,
        weights_regularizer=slim.l2_regularizer(4e-5),
        weights_initializer=tf.truncated_normal_initializer(stddev=0.01),
    ):

        def conv(net, channels, kernel, scope, layer, **options):
            if form.odd_layer and form.odd_layer[0] == layer:
                odd = dict(form.odd_layer[1])
                options["normalizer_params"] = {**normalizer, **odd.pop("normalizer_params", {})}
                options |= odd
            return slim.conv2d(net, channels, [kernel, kernel], scope=scope, **options)

        def inception(net, name, direct, three, five, projection):
            with tf.variable_scope(name):
                with tf.variable_scope("Branch_0"):
                    branch0 = conv(net, direct, 1, "Conv2d_0a_1x1", f"{name}/Branch_0/Conv2d_0a_1x1")
                with tf.variable_scope("Branch_1"):
                    branch1 = conv(net, three[0], 1, "Conv2d_0a_1x1", f"{name}/Branch_1/Conv2d_0a_1x1")
                    branch1 = conv(branch1, three[1], 3, "Conv2d_0b_3x3", f"{name}/Branch_1/Conv2d_0b_3x3")
                with tf.variable_scope("Branch_2"):
                    # The published checkpoint misnames this one convolution of Mixed_5b.
                    second = "Conv2d_0a_3x3" if name == "Mixed_5b" else "Conv2d_0b_3x3"
                    branch2 = conv(net, five[0], 1, "Conv2d_0a_1x1", f"{name}/Branch_2/Conv2d_0a_1x1")
                    branch2 = conv(branch2, five[1], form.branch2_kernel, second, f"{name}/Branch_2/{second}")
                with tf.variable_scope("Branch_3"):
                    branch3 = form.branch_pool(net, [3, 3], scope="MaxPool_0a_3x3")
                    branch3 = conv(branch3, projection, 1, "Conv2d_0b_1x1", f"{name}/Branch_3/Conv2d_0b_1x1")
                branches = [branch0, branch1, branch2, branch3]
                return tf.concat([branches[i] for i in form.order], axis=3)

        net = images
        for name, *row in NETWORK:
            if name.startswith("Conv"):
                kernel, stride, channels = row
                padding = form.first_padding if name == "Conv2d_1a_7x7" else "SAME"
                net = conv(net, channels, kernel, name, name, stride=stride, padding=padding)
            elif name.startswith("MaxPool"):
                window = form.last_pool_window if name == "MaxPool_5a_2x2" else row[0]
                net = slim.max_pool2d(net, [window, window], stride=2, scope=name)
            else:
                net = inception(net, name, *row)
            points[name] = net
    return points


def partitioner(form: Form):
    """Splits filters larger than 1x1 by their rows, long vectors in halves: Hub allows the first dimension only."""
    if form.partitions == 1:
        return None

    def parts(shape, dtype):
        split = shape[0] >= (3 if shape.rank == 4 else 256)
        return [form.partitions if split else 1] + [1] * (shape.rank - 1)

    return parts


def body(images, form: Form, training: bool, decay):
    """From scaled images to (feature vector, logits or None, end points under their public names)."""
    # The scope is entered twice, as Slim does: variables get one prefix, operations two.
    with tf.variable_scope(form.scope, partitioner=partitioner(form)) as outer:
        with tf.variable_scope(outer):
            points = network(images, form, training, decay)
        net = list(points.values())[-1]
        with tf.variable_scope("Logits"):
            if form.pool == "mean":
                pooled = tf.reduce_mean(net, [1, 2], keepdims=True, name="global_pool")
                points["global_pool"] = pooled
            else:
                pooled = slim.avg_pool2d(net, [7, 7], stride=1, padding="VALID", scope="AvgPool_0a_7x7")
                points["AvgPool_0a_7x7"] = pooled
            logits = None
            if form.classes:
                net = slim.dropout(pooled, 0.8, is_training=training, scope="Dropout_0b")
                net = slim.conv2d(
                    net, form.classes, [1, 1], activation_fn=None, scope="Conv2d_0c_1x1",
                    weights_regularizer=slim.l2_regularizer(4e-5),
                )
                logits = tf.squeeze(net, [1, 2], name="SpatialSqueeze")
                points["Logits"] = logits
                points["Predictions"] = tf.nn.softmax(logits, name="Predictions")
    with tf.name_scope("hub_output/feature_vector/"):
        features = tf.squeeze(pooled, [1, 2], name="SpatialSqueeze")
        if form.tail:
            features = form.tail(features)
    return features, logits, {f"{form.scope}/{name}": tensor for name, tensor in points.items()}


def scaled(images, form: Form):
    """[0,1] to what the network was trained on."""
    if form.affine is None:
        return images
    factor, shift = form.affine
    return tf.subtract(tf.multiply(images, factor), shift)


def module_spec(form: Form):
    """The Hub module: one graph for inference (no tags) and one for training (tag `train`)."""

    def module_fn(is_training):
        with tf.name_scope("hub_input"):
            images = tf.placeholder(tf.float32, [None, form.size, form.size, 3], name="images")
            decay = form.decay
            if form.momentum_input:
                decay = tf.placeholder_with_default(np.float32(0.99), [], name="batch_norm_momentum")
            inputs = scaled(images, form)
        features, logits, points = body(inputs, form, is_training, decay)

        def signature(name, outputs):
            hub.add_signature(name, {"images": images}, outputs)
            if form.momentum_input and name:
                hub.add_signature(
                    f"{name}_with_bn_hparams", {"images": images, "batch_norm_momentum": decay}, outputs
                )

        signature("image_feature_vector", {"default": features, **points})
        if form.classes:
            signature("image_classification", {"default": logits, **points})
        hub.add_signature(None, {"images": images}, {"default": logits if form.classes else features})
        if form.attached_size:
            info = hub.image_util.ImageModuleInfo()
            info.default_image_size.height = info.default_image_size.width = form.attached_size
            hub.attach_message("image_module_info", info)

    return hub.create_module_spec(
        module_fn, tags_and_args=[(set(), {"is_training": False}), ({"train"}, {"is_training": True})]
    )


def values(form: Form, photos) -> dict[str, np.ndarray]:
    """Random variables for a form, its batch-norm statistics measured over `photos` and perturbed."""
    random = np.random.RandomState(form.seed)
    with tf.Graph().as_default(), tf.Session() as session:
        # decay 0 makes the update leave the statistics of this very batch.
        whole = dataclasses.replace(form, partitions=1, tail=None)
        body(tf.constant(photos) * 2.0 - 1.0, whole, True, 0.0)
        variables = sorted(tf.global_variables(), key=lambda variable: variable.op.name)
        drawn = {}
        for variable in variables:
            name, shape = variable.op.name, variable.shape.as_list()
            if name.endswith("/weights"):
                scale = np.exp(random.normal(0, 0.4)) * np.sqrt(2.0 / np.prod(shape[:-1]))
                drawn[name] = random.normal(0, scale, shape).astype(np.float32)
            elif name.endswith("moving_mean"):
                drawn[name] = np.zeros(shape, np.float32)
            elif name.endswith("moving_variance"):
                drawn[name] = np.ones(shape, np.float32)
            elif name.endswith("gamma"):
                drawn[name] = random.uniform(0.5, 1.5, shape).astype(np.float32)
            else:
                drawn[name] = random.normal(0.1, 0.3, shape).astype(np.float32)
        for variable in variables:
            variable.load(drawn[variable.op.name], session)
        session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        result = dict(zip(drawn, session.run(variables)))
    for name, value in result.items():
        if name.endswith("moving_mean"):
            result[name] = (value + random.normal(0, 0.1, value.shape)).astype(np.float32)
        elif name.endswith("moving_variance"):
            result[name] = (value * np.exp(random.normal(0, 0.2, value.shape))).astype(np.float32)
    return result


def assign(session, variable_map, drawn):
    """Loads the values; a partitioned variable takes its pieces in the order of their offsets."""
    for name, variable in variable_map.items():
        if isinstance(variable, list):
            ends = np.cumsum([part.shape[0] for part in variable])
            for part, value in zip(variable, np.split(drawn[name], ends[:-1])):
                part.load(value, session)
        else:
            variable.load(drawn[name], session)


def pictures(folder: pathlib.Path, height: int, width: int, numbers) -> np.ndarray:
    """Evenly spaced photographs of a folder as [n, height, width, 3] in [0,1]."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    with tf.Graph().as_default(), tf.Session() as session:
        name = tf.placeholder(tf.string, [])
        image = tf.image.decode_image(tf.io.read_file(name), channels=3, expand_animations=False)
        resized = tf2.image.resize(tf.image.convert_image_dtype(image, tf.float32), [height, width], antialias=True)
        chosen = [paths[int(number * len(paths))] for number in numbers]
        return np.stack([session.run(resized, {name: str(path)}) for path in chosen]).clip(0, 1).astype(np.float32)


def inputs(folder: pathlib.Path, form: Form) -> dict[str, np.ndarray]:
    """The golden inputs of a form, by file name."""
    random = np.random.RandomState(form.seed + 1)
    if form.size:
        photos = pictures(folder, SIZE, SIZE, [0.05, 0.23, 0.41, 0.67, 0.91])
        ramp = np.linspace(0, 1, SIZE, dtype=np.float32)
        gradient = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], 1 - ramp[None, :]), axis=-1)
        noise = random.uniform(size=(SIZE, SIZE, 3)).astype(np.float32)
        return {"": np.concatenate([photos, np.stack([gradient, noise, np.ones_like(noise)])]).astype(np.float32)}
    return {f"_{h}x{w}": pictures(folder, h, w, random.uniform(size=2)) for h, w in FREE_SIZES}


def save_outputs(path: pathlib.Path, outputs: dict[str, np.ndarray]):
    np.savez(path, **{name.replace("/", "__"): value for name, value in outputs.items()})


def golden(module_dir: pathlib.Path, form: Form, folder: pathlib.Path):
    """Runs the module through hub.Module and writes what it gives beside it, in `golden/NAME`."""
    out = module_dir.parent / "golden" / module_dir.name
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for suffix, batch in inputs(folder, form).items():
        np.save(out / f"inputs{suffix}.npy", batch)
        for tags in [None, {"train"}] if form.expect == "accept" else [None]:
            with tf.Graph().as_default(), tf.Session() as session:
                module = hub.Module(str(module_dir), tags=tags)
                images = tf.placeholder(tf.float32, batch.shape)
                vector = module(images, signature="image_feature_vector", as_dict=True)
                first = module(images)
                session.run([tf.global_variables_initializer(), tf.tables_initializer()])
                if tags:
                    # Dropout would make the classification output random: only the features are golden.
                    np.save(out / f"train_features{suffix}.npy", session.run(vector["default"], {images: batch}))
                    continue
                features, default = session.run([vector["default"], first], {images: batch})
                np.save(out / f"features{suffix}.npy", features)
                np.save(out / f"default{suffix}.npy", default)
                if form.expect == "accept":
                    single = module(tf.constant(batch[:1]), signature="image_feature_vector", as_dict=True)
                    save_outputs(out / f"outputs_image0{suffix}.npz", session.run(single))
                if form.momentum_input:
                    explicit = module(
                        {"images": images, "batch_norm_momentum": 0.5},
                        signature="image_feature_vector_with_bn_hparams",
                    )
                    assert np.array_equal(session.run(explicit, {images: batch}), features)


def golden_f64(values_of_form, form: Form, folder: pathlib.Path, out: pathlib.Path):
    """The same features in float64: the truth against which float32 errors are measured."""
    exact = dataclasses.replace(form, fused=False, partitions=1)
    for suffix, batch in inputs(folder, form).items():
        with tf.Graph().as_default(), tf.Session() as session:
            images = tf.constant(batch.astype(np.float64))
            features, logits, _ = body(scaled(images, exact), exact, False, 0.9997)
            for variable in tf.global_variables():
                variable.load(values_of_form[variable.op.name].astype(np.float64), session)
            np.save(out / f"features_f64{suffix}.npy", session.run(features))
            if logits is not None:
                np.save(out / f"logits_f64{suffix}.npy", session.run(logits))


def export(spec, path: pathlib.Path, drawn=None):
    """Writes a module; without values its own initialisers give them."""
    shutil.rmtree(path, ignore_errors=True)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(7)
        module = hub.Module(spec)
        session.run(tf.global_variables_initializer())
        if drawn is not None:
            assign(session, module.variable_map, drawn)
        module.export(str(path), session)


def slim_checkpoint(prefix: pathlib.Path, drawn, kind: str):
    """A Saver's checkpoint: `v1` bare, `rmsprop` and `momentum` with everything that a training run leaves in it."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    devices = ["/cpu:0", "/cpu:1"] if kind == "momentum" else ["/cpu:0"]
    placed = iter(range(1 << 30))
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(device_count={"CPU": len(devices)})) as session:
        tf.set_random_seed(99)
        place = lambda op: devices[next(placed) % len(devices)] if op.type.startswith("Variable") else devices[0]
        with tf.device(place), tf.variable_scope("", use_resource=False):
            step = tf.train.get_or_create_global_step()
            images = tf.constant(np.random.RandomState(5).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32))
            _, logits, _ = body(images, Form(classes=CLASSES), kind != "v1", 0.9997)
            model = tf.model_variables()
            if kind != "v1":
                loss = tf.reduce_mean(tf.square(logits))
                optimizer = (
                    tf.train.RMSPropOptimizer(0.01, decay=0.9, momentum=0.9, epsilon=1.0)
                    if kind == "rmsprop"
                    else tf.train.MomentumOptimizer(0.01, 0.9)
                )
                train = optimizer.minimize(loss, global_step=step)
                if kind == "rmsprop":
                    averages = tf.train.ExponentialMovingAverage(0.9999, step)
                    train = tf.group(train, averages.apply(model))
        # The averages start from the variables' values, so these come first.
        session.run(tf.variables_initializer(model))
        session.run(tf.global_variables_initializer())
        if kind != "v1":
            session.run(train)
        # After the step: slots and averages then differ from the weights, as they do in life.
        for variable in model:
            variable.load(drawn[variable.op.name], session)
        step.load(100_000, session)
        version = tf.train.SaverDef.V1 if kind == "v1" else tf.train.SaverDef.V2
        saver = tf.train.Saver(write_version=version, sharded=len(devices) > 1)
        saver.save(session, str(prefix), write_meta_graph=False, write_state=kind != "v1")


def toy_spec(kind: str):
    """Small modules that are no Inception V1 at all."""

    def module_fn(is_training):
        with tf.name_scope("hub_input"):
            if kind == "text":
                words = tf.placeholder(tf.string, [None], name="text")
            else:
                images = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], name="images")
                net = scaled(images, Form())
        if kind == "text":
            table = tf.get_variable("embeddings", [1000, 16])
            vectors = tf.nn.embedding_lookup(table, tf.strings.to_hash_bucket_fast(words, 1000))
            hub.add_signature(None, {"default": words}, {"default": vectors})
            return
        normalizer = dict(is_training=is_training, epsilon=0.001)
        arguments = dict(normalizer_fn=slim.batch_norm, normalizer_params=normalizer)
        if kind == "mlp":
            net = slim.fully_connected(slim.flatten(net[:, ::16, ::16]), 64, scope="mlp/hidden")
            net = slim.fully_connected(net, 1024, scope="mlp/features")
        elif kind == "mobilenet":
            with tf.variable_scope("MobilenetV1"), slim.arg_scope(
                [slim.conv2d, slim.separable_conv2d], activation_fn=tf.nn.relu6, **arguments
            ):
                net = slim.conv2d(net, 32, [3, 3], stride=2, scope="Conv2d_0")
                for i, channels in enumerate([64, 128, 1024], 1):
                    net = slim.separable_conv2d(net, None, [3, 3], 1, stride=2, scope=f"Conv2d_{i}_depthwise")
                    net = slim.conv2d(net, channels, [1, 1], scope=f"Conv2d_{i}_pointwise")
                net = tf.reduce_mean(net, [1, 2])
        else:
            with tf.variable_scope("InceptionV3"), slim.arg_scope([slim.conv2d], **arguments):
                net = slim.conv2d(net, 32, [3, 3], stride=2, padding="VALID", scope="Conv2d_1a_3x3")
                net = slim.conv2d(net, 32, [3, 3], padding="VALID", scope="Conv2d_2a_3x3")
                net = slim.conv2d(net, 64, [3, 3], scope="Conv2d_2b_3x3")
                net = slim.max_pool2d(net, [3, 3], stride=2, scope="MaxPool_3a_3x3")
                net = slim.conv2d(net, 80, [1, 1], padding="VALID", scope="Conv2d_3b_1x1")
                net = slim.conv2d(net, 192, [3, 3], padding="VALID", scope="Conv2d_4a_3x3")
                net = slim.max_pool2d(net, [3, 3], stride=2, scope="MaxPool_5a_3x3")
                with tf.variable_scope("Mixed_5b"):
                    with tf.variable_scope("Branch_0"):
                        one = slim.conv2d(net, 64, [1, 1], scope="Conv2d_0a_1x1")
                    with tf.variable_scope("Branch_1"):
                        two = slim.conv2d(net, 48, [1, 1], scope="Conv2d_0a_1x1")
                        two = slim.conv2d(two, 64, [5, 5], scope="Conv_1_0c_5x5")
                    net = tf.concat([one, two], axis=3)
                net = tf.reduce_mean(net, [1, 2])
        hub.add_signature(None, {"images": images}, {"default": net})
        hub.add_signature("image_feature_vector", {"images": images}, {"default": net})

    return hub.create_module_spec(
        module_fn, tags_and_args=[(set(), {"is_training": False}), ({"train"}, {"is_training": True})]
    )


def gelu(x):
    return tf2.nn.gelu(x)


def impostor(why: str, **changes) -> Form:
    return Form(expect="refuse or equal", why=why, attached_size=SIZE, **changes)


FORMS = {
    "fv1": Form(why="feature vector, version /1"),
    "cls1": Form(why="its classification sibling", seed=321, classes=CLASSES),
    "fv3": Form(why="version /3: any size, momentum input", seed=77, size=None, decay=0.99, momentum_input=True),
    "cls3": Form(
        why="classification, version /3", seed=78, size=None, decay=0.99, momentum_input=True, classes=CLASSES
    ),
    "fixed7x7": Form(why="average pool of a fixed 7x7 window", pool="window"),
    "partitioned": Form(why="filters and long vectors stored in two slices", partitions=2),
    "unattached": Form(why="no image_module_info: the size comes from the input's shape", attached_size=None),
    "odd_affine": impostor("takes [0,1] as it is: no Mul, no Sub", affine=None),
    "odd_affine_one": impostor("Mul by 1, Sub 0", affine=(1.0, 0.0)),
    "odd_affine_caffe": impostor("Mul by 255, Sub 117", affine=(255.0, 117.0)),
    "odd_epsilon": impostor("batch-norm epsilon 0.01", epsilon=0.01),
    "odd_epsilon_one": impostor(
        "epsilon 0.1 in one layer",
        odd_layer=("Mixed_4d/Branch_1/Conv2d_0b_3x3", {"normalizer_params": {"epsilon": 0.1}}),
    ),
    "odd_gamma": impostor("batch norm with a gamma variable", gamma=True),
    "odd_gelu": impostor("GELU for ReLU", activation=gelu),
    "odd_leaky": impostor("leaky ReLU for ReLU", activation=tf.nn.leaky_relu),
    "odd_relu6": impostor("ReLU6 for ReLU", activation=tf.nn.relu6),
    "odd_no_relu": impostor(
        "one layer without ReLU", odd_layer=("Mixed_5c/Branch_0/Conv2d_0a_1x1", {"activation_fn": None})
    ),
    "odd_order": impostor("branches 1 and 2 change places in the concatenations", order=(0, 2, 1, 3)),
    "odd_branch_pool": impostor("average pool in Branch_3", branch_pool=slim.avg_pool2d),
    "odd_last_pool": impostor("MaxPool_5a with a 3x3 window", last_pool_window=3),
    "odd_kernel": impostor("5x5 filters in Branch_2", branch2_kernel=5),
    "odd_rate": impostor("a dilated convolution", odd_layer=("Mixed_5b/Branch_1/Conv2d_0b_3x3", {"rate": 2})),
    "odd_padding": impostor("VALID padding in the first convolution", first_padding="VALID"),
    "odd_l2": impostor("features normalised to length 1 in the graph", tail=lambda x: tf.nn.l2_normalize(x, axis=1)),
    "odd_double": impostor("features doubled in the graph", tail=lambda x: x * 2.0),
    "odd_scope": impostor("another prefix than InceptionV1", scope="Backbone"),
}
TOYS = ["mlp", "mobilenet", "inception_v3", "text"]
CHECKPOINTS = ["v1", "rmsprop", "momentum"]


def share_equal_files(root: pathlib.Path):
    """Hard-links equal files: most impostors have the weights of fv1, and all of them its inputs."""
    seen = {}
    for path in sorted([*root.rglob("variables.data-*"), *root.rglob("inputs*.npy")]):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest in seen:
            path.unlink()
            os.link(seen[digest], path)
        else:
            seen[digest] = path


def main():
    names = [*FORMS, *(f"toy_{toy}" for toy in TOYS), *(f"checkpoint_{kind}" for kind in CHECKPOINTS)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=pathlib.Path, help="folder of photographs, searched recursively")
    parser.add_argument("--out", type=pathlib.Path, help="folder to write to")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help="see --list")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    arguments = parser.parse_args()
    if arguments.list:
        print(*names, sep="\n")
        return
    if not (arguments.photos and arguments.out):
        parser.error("--photos and --out are needed")
    arguments.out.mkdir(parents=True, exist_ok=True)
    measured = pictures(arguments.photos, SIZE, SIZE, np.linspace(0.01, 0.99, 12))
    drawn: dict[tuple, dict] = {}

    def values_for(form: Form):
        key = (form.seed, form.classes, form.gamma, form.branch2_kernel, form.scope)
        if key not in drawn:
            usual = Form(**{
                field: getattr(form, field) for field in ["seed", "classes", "gamma", "branch2_kernel", "scope"]
            })
            drawn[key] = values(usual, measured)
        return drawn[key]

    for name in arguments.only:
        print(name, flush=True)
        path = arguments.out / name
        if name in FORMS:
            form = FORMS[name]
            export(module_spec(form), path, values_for(form))
            golden(path, form, arguments.photos)
            if form.expect == "accept":
                golden_f64(values_for(form), form, arguments.photos, arguments.out / "golden" / name)
        elif name.startswith("toy_"):
            export(toy_spec(name.removeprefix("toy_")), path)
        else:
            kind = name.removeprefix("checkpoint_")
            form = Form(classes=CLASSES)
            prefix = path / ("inception_v1.ckpt" if kind == "v1" else "model.ckpt-100000")
            slim_checkpoint(prefix, values_for(form), kind)
            if kind == "v1":
                with tarfile.open(path / "inception_v1_2016_08_28.tar.gz", "w:gz") as archive:
                    archive.add(prefix, "inception_v1.ckpt")
                out = arguments.out / "golden" / "checkpoints"
                out.mkdir(parents=True, exist_ok=True)
                batch = inputs(arguments.photos, form)[""]
                np.save(out / "inputs.npy", batch)
                golden_f64(values_for(form), form, arguments.photos, out)
                with tf.Graph().as_default(), tf.Session() as session:
                    features, logits, _ = body(scaled(tf.constant(batch), form), form, False, 0.9997)
                    tf.train.Saver().restore(session, str(prefix))
                    for file, tensor in [("features", features), ("logits", logits)]:
                        np.save(out / f"{file}.npy", session.run(tensor))
        share_equal_files(arguments.out)
    expectations = {name: {"expect": form.expect, "what": form.why} for name, form in FORMS.items()}
    (arguments.out / "expectations.json").write_text(json.dumps(expectations, indent=1) + "\n")


if __name__ == "__main__":
    main()
