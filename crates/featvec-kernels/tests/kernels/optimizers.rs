//! Updates of weights against those of TensorFlow 2.15, `tools/golden/optimizers.py`.

use featvec_kernels::train::{Optimizer, Update, average};

use super::support::team;

const WEIGHTS: [f32; 4] = [0.5, -1.0, 0.25, 2.0];
const GRADIENTS: [[f32; 4]; 3] =
    [[0.125, -0.5, 1.0, 0.0], [-0.25, -0.25, 0.5, 1.5], [0.75, 0.0625, -2.0, 0.25]];

/// An optimiser, the weights after three updates, and its slots.
type Golden = (Optimizer, [f32; 4], &'static [[f32; 4]]);

#[allow(clippy::excessive_precision)] // as TensorFlow prints them
#[rustfmt::skip]
const GOLDENS: [Golden; 10] = [
        (Optimizer::Sgd,
            [0.4375, -0.93125004, 0.3, 1.825],
            &[]),
        (Optimizer::Momentum { momentum: 0.9, nesterov: false },
            [0.43862504, -0.82325, 0.08400001, 1.69],
            &[[0.62625, -0.5675, -0.74, 1.5999999]]),
        (Optimizer::Momentum { momentum: 0.9, nesterov: true },
            [0.38226247, -0.77217495, 0.15060002, 1.546],
            &[[0.62625, -0.5675, -0.74, 1.5999999]]),
        (Optimizer::RmsProp { decay: 0.9, momentum: 0.9, epsilon: 1.0 },
            [0.45464247, -0.8720265, 0.12375769, 1.7822556],
            &[[0.79214054, 0.75526553, 1.2325001, 0.9377499], [0.046677712, -0.041065767, -0.044145495, 0.11259433]]),
        (Optimizer::RmsProp { decay: 0.8, momentum: 0.5, epsilon: 1e-10 },
            [0.42791837, -0.8684209, 0.15805009, 1.7579069],
            &[[0.6365, 0.55478126, 1.48, 0.8845], [0.082049415, -0.020188093, -0.11228269, 0.09841918]]),
        (Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
            [0.3866244, -0.7422764, 0.07741797, 1.8583413],
            &[[0.06262502, -0.05675001, -0.07400003, 0.16000004], [0.0006405231, 0.00031583992, 0.0052476833, 0.0023102204]]),
        (Optimizer::Adagrad { initial: 0.1 },
            [0.43532524, -0.8862451, 0.19808811, 1.8860552],
            &[[0.740625, 0.41640624, 5.35, 2.4125]]),
        (Optimizer::Adadelta { rho: 0.95, epsilon: 1e-2 },
            [0.46795157, -0.95219237, 0.23993047, 1.9471471],
            &[[0.031798836, 0.014445315, 0.25700006, 0.11000003], [0.011768023, 0.006998714, 0.02650397, 0.009224065]]),
        (Optimizer::Ftrl { power: -0.5, initial: 0.1, l1: 0.0, l2: 0.0 },
            [-0.029665302, -0.35172266, 0.12271028, -0.113944784],
            &[[0.740625, 0.41640624, 5.35, 2.4125], [0.25529832, 2.2696502, -2.838297, 1.7698159]]),
        (Optimizer::Ftrl { power: -0.75, initial: 0.1, l1: 0.5, l2: 0.25 },
            [-0.0026777685, -0.3176155, 0.08355852, -0.063923836],
            &[[0.740625, 0.41640624, 5.35, 2.4125], [0.5227171, 2.305224, -3.4811616, 1.7693709]]),
];

/// Weights and slots after an update with each of `gradients`.
fn updated(
    optimizer: Optimizer,
    mut weights: Vec<f32>,
    (gradients, weight_decay): (&[Vec<f32>], f32),
    members: usize,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let mut slots: Vec<Vec<f32>> =
        optimizer.slots().into_iter().map(|initial| vec![initial; weights.len()]).collect();
    for (count, gradient) in (1..).zip(gradients) {
        let update = Update { learning_rate: 0.1, weight_decay, count };
        optimizer.update(&team(members), &update, gradient, (&mut weights, &mut slots));
    }
    (weights, slots)
}

#[test]
fn three_updates_are_those_of_tensorflow() {
    for (optimizer, weights, slots) in GOLDENS {
        // More than members take at a time, and no whole number of that.
        let times = 10_001;
        let gradients = GRADIENTS.map(|gradient| gradient.repeat(times));
        let run = |members| updated(optimizer, WEIGHTS.repeat(times), (&gradients, 0.0), members);
        let got = run(1);
        let close = |got: &[f32], expected: &[f32; 4]| {
            got.chunks_exact(4).flatten().zip(expected.iter().cycle()).all(|(got, expected)| {
                // TensorFlow multiplies by reciprocals of roots, of 1e5 where the mean of squares is small.
                (got - expected).abs() <= 1e-6 * expected.abs().max(1.0)
            })
        };
        assert!(close(&got.0, &weights), "{optimizer:?}: {:?}", &got.0[..4]);
        assert_eq!(got.1.len(), slots.len(), "{optimizer:?}");
        for (got, slot) in got.1.iter().zip(slots) {
            assert!(close(got, slot), "{optimizer:?}: {:?}", &got[..4]);
        }
        assert!(run(2) == got && run(3) == got, "{optimizer:?}");
    }
}

#[test]
fn weights_decay_by_a_part_of_the_gradient() {
    for (optimizer, ..) in GOLDENS {
        let gradient = vec![GRADIENTS[0].to_vec()];
        let decayed = GRADIENTS[0].iter().zip(WEIGHTS).map(|(g, w)| g + 0.25 * w).collect();
        let got = updated(optimizer, WEIGHTS.to_vec(), (&gradient, 0.25), 1);
        assert_eq!(got, updated(optimizer, WEIGHTS.to_vec(), (&[decayed], 0.0), 1), "{optimizer:?}");
    }
}

#[test]
fn averages_move_towards_values() {
    let mut averages = vec![1.0, -2.0, 0.5];
    average(&team(2), 0.75, &[3.0, -2.0, 0.0], &mut averages);
    assert_eq!(averages, [1.5, -2.0, 0.375]);
}

#[test]
#[should_panic(expected = "slots of another optimiser")]
fn slots_belong_to_an_optimiser() {
    let update = Update { learning_rate: 0.1, weight_decay: 0.0, count: 1 };
    Optimizer::Sgd.update(&team(1), &update, &[0.0], (&mut [0.0], &mut [vec![0.0]]));
}
