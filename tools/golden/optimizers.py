"""Prints what TensorFlow's optimisers make of four weights in three updates: the table in
crates/featvec-kernels/tests/kernels/optimizers.rs.

    pip install tensorflow-cpu==2.15.1
    python tools/golden/optimizers.py
"""

import tensorflow.compat.v1 as tf

WEIGHTS = [0.5, -1.0, 0.25, 2.0]
GRADIENTS = [[0.125, -0.5, 1.0, 0.0], [-0.25, -0.25, 0.5, 1.5], [0.75, 0.0625, -2.0, 0.25]]
RATE = 0.1

train = tf.train
OPTIMIZERS = {
    "Sgd": train.GradientDescentOptimizer(RATE),
    "Momentum { momentum: 0.9, nesterov: false }": train.MomentumOptimizer(RATE, 0.9),
    "Momentum { momentum: 0.9, nesterov: true }": train.MomentumOptimizer(RATE, 0.9, use_nesterov=True),
    "RmsProp { decay: 0.9, momentum: 0.9, epsilon: 1.0 }": train.RMSPropOptimizer(RATE, 0.9, 0.9, 1.0),
    "RmsProp { decay: 0.8, momentum: 0.5, epsilon: 1e-10 }": train.RMSPropOptimizer(RATE, 0.8, 0.5, 1e-10),
    "Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }": train.AdamOptimizer(RATE),
    "Adagrad { initial: 0.1 }": train.AdagradOptimizer(RATE),
    "Adadelta { rho: 0.95, epsilon: 1e-2 }": train.AdadeltaOptimizer(RATE, 0.95, 1e-2),
    "Ftrl { power: -0.5, initial: 0.1, l1: 0.0, l2: 0.0 }": train.FtrlOptimizer(RATE),
    "Ftrl { power: -0.75, initial: 0.1, l1: 0.5, l2: 0.25 }": train.FtrlOptimizer(
        RATE, -0.75, 0.1, l1_regularization_strength=0.5, l2_regularization_strength=0.25
    ),
}


def row(values):
    return "[" + ", ".join(repr(float(str(value))) for value in values) + "]"


for name, optimizer in OPTIMIZERS.items():
    with tf.Graph().as_default(), tf.Session() as session:
        weights = tf.Variable(WEIGHTS)
        gradient = tf.placeholder(tf.float32, [len(WEIGHTS)])
        update = optimizer.apply_gradients([(gradient, weights)])
        session.run(tf.global_variables_initializer())
        for values in GRADIENTS:
            session.run(update, {gradient: values})
        slots = [v for v in tf.global_variables() if v.shape == weights.shape and v is not weights]
        print(f"        (Optimizer::{name},")
        print(f"            {row(session.run(weights))},")
        print(f"            &[{', '.join(row(session.run(slot)) for slot in slots)}]),")
        print(f"        // {[slot.op.name for slot in slots]}")
