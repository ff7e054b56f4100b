//! Losses, each with its gradient.

use crate::tensor::Tensor;
use crate::{Error, ErrorKind, Result};

/// A loss, and its gradient with respect to the values that it was computed from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The loss: where it is of rows, their mean.
    pub value: f64,
    /// In the shape of the values.
    pub gradient: Tensor,
}

/// The cross-entropy of `labels` and the softmax of `logits` `[n, classes]`, in nats.
///
/// With `smoothing` `s`, the target is `1 - s` at the label, and `s / classes` more at every class.
///
/// # Errors
/// Logits of another shape; another number of labels than rows; a label that is no class; `smoothing` outside [0, 1].
pub fn softmax_cross_entropy(logits: &Tensor, labels: &[usize], smoothing: f32) -> Result<Loss> {
    let classes = check_labels(logits, labels)?;
    if !(0.0..=1.0).contains(&smoothing) {
        return Err(argument(format!("a label smoothing of {smoothing}; 0 to 1 expected")));
    }
    let (smoothing, n) = (f64::from(smoothing), labels.len() as f64);
    let mut loss = Loss { value: 0.0, gradient: Tensor::zeros(logits.shape().to_vec()) };
    let gradients = loss.gradient.data_mut().chunks_exact_mut(classes);
    for ((row, &label), gradient) in logits.iter_rows().zip(labels).zip(gradients) {
        let log_softmax = log_softmax(row, 1.0);
        for (class, (log_p, gradient)) in log_softmax.iter().zip(gradient).enumerate() {
            let hot = if class == label { 1.0 - smoothing } else { 0.0 };
            let target = hot + smoothing / classes as f64;
            loss.value -= target * log_p / n;
            *gradient = ((log_p.exp() - target) / n) as f32;
        }
    }
    Ok(loss)
}

/// How far the softmax of `logits` `[n, classes]` is from that of `teacher`, both divided by `temperature` first:
/// the Kullback-Leibler divergence, in nats, times the squared temperature, which keeps the size of the gradients
/// (Hinton et al., *Distilling the Knowledge in a Neural Network*, 2015).
///
/// # Errors
/// Logits of another shape; a temperature that is not above zero.
pub fn soft_targets(logits: &Tensor, teacher: &Tensor, temperature: f32) -> Result<Loss> {
    let [n, classes] = check_logits(logits)?;
    if logits.shape() != teacher.shape() {
        let message =
            format!("the teacher's logits are {:?}, the student's {:?}", teacher.shape(), logits.shape());
        return Err(Error::new(ErrorKind::Mismatch, "", message).with_hint("both need the same classes"));
    }
    if !(temperature > 0.0 && temperature.is_finite()) {
        return Err(argument(format!("a temperature of {temperature}; a number above 0 expected")));
    }
    let (temperature, n) = (f64::from(temperature), n as f64);
    let mut loss = Loss { value: 0.0, gradient: Tensor::zeros(logits.shape().to_vec()) };
    let gradients = loss.gradient.data_mut().chunks_exact_mut(classes);
    for ((row, teacher), gradient) in logits.iter_rows().zip(teacher.iter_rows()).zip(gradients) {
        let (student, teacher) = (log_softmax(row, temperature), log_softmax(teacher, temperature));
        for ((log_p, log_q), gradient) in student.iter().zip(&teacher).zip(gradient) {
            let q = log_q.exp();
            loss.value += temperature * temperature * q * (log_q - log_p) / n;
            *gradient = (temperature * (log_p.exp() - q) / n) as f32;
        }
    }
    Ok(loss)
}

/// The squared distance of `values` from `targets`, in units of the squared length of `targets`: 0 where they are
/// equal, 1 for values of zero.
///
/// # Errors
/// Targets of another shape, or all zero.
pub fn feature_matching(values: &Tensor, targets: &Tensor) -> Result<Loss> {
    if values.shape() != targets.shape() {
        let message = format!("targets of shape {:?} for values of {:?}", targets.shape(), values.shape());
        return Err(Error::new(ErrorKind::Mismatch, "", message));
    }
    let unit: f64 = targets.data().iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    if unit == 0.0 {
        return Err(argument("targets that are all zero have no length to measure by".to_string()));
    }
    let mut loss = Loss { value: 0.0, gradient: Tensor::zeros(values.shape().to_vec()) };
    for ((x, target), gradient) in values.data().iter().zip(targets.data()).zip(loss.gradient.data_mut()) {
        let difference = f64::from(*x) - f64::from(*target);
        loss.value += difference * difference / unit;
        *gradient = (2.0 * difference / unit) as f32;
    }
    Ok(loss)
}

/// How many rows of `logits` `[n, classes]` have their largest element at the label.
///
/// # Errors
/// As [`softmax_cross_entropy`].
pub fn count_correct(logits: &Tensor, labels: &[usize]) -> Result<usize> {
    check_labels(logits, labels)?;
    // Of equals, the first.
    let largest = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)));
    Ok(logits.iter_rows().zip(labels).filter(|(row, label)| largest(row) == Some(**label)).count())
}

/// The logarithm of the softmax of `row / temperature`.
fn log_softmax(row: &[f32], temperature: f64) -> Vec<f64> {
    let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let scaled = row.iter().map(|x| (f64::from(*x) - largest) / temperature);
    let log_sum = scaled.clone().map(f64::exp).sum::<f64>().ln();
    scaled.map(|x| x - log_sum).collect()
}

fn check_logits(logits: &Tensor) -> Result<[usize; 2]> {
    match *logits.shape() {
        [n, classes] if n > 0 && classes > 0 => Ok([n, classes]),
        ref shape => {
            let message = format!("logits are [n, classes], not {shape:?}");
            Err(Error::new(ErrorKind::Mismatch, "", message))
        }
    }
}

fn check_labels(logits: &Tensor, labels: &[usize]) -> Result<usize> {
    let [n, classes] = check_logits(logits)?;
    if n != labels.len() {
        let message = format!("{} labels for {n} pictures", labels.len());
        return Err(Error::new(ErrorKind::Mismatch, "", message));
    }
    if let Some((index, label)) = labels.iter().enumerate().find(|(_, label)| **label >= classes) {
        let message = format!("label {label} of picture {index} is not below {classes}");
        return Err(argument(message).with_hint("labels count from 0; check their offset and the classes"));
    }
    Ok(classes)
}

fn argument(message: String) -> Error {
    Error::new(ErrorKind::Argument, "", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: [usize; 2], values: &[f32]) -> Tensor {
        Tensor::new(shape, values.to_vec()).unwrap()
    }

    /// Compares the gradient of `loss` at `at` with differences of the loss.
    fn check_gradient(at: &Tensor, loss: impl Fn(&Tensor) -> Result<Loss>) {
        let gradient = loss(at).unwrap().gradient;
        for index in 0..at.data().len() {
            let moved = |by: f32| {
                let mut moved = at.clone();
                moved.data_mut()[index] += by;
                loss(&moved).unwrap().value
            };
            const STEP: f32 = 1.0 / 256.0; // exact in what it is added to
            let expected = (moved(STEP) - moved(-STEP)) / (2.0 * f64::from(STEP));
            let found = f64::from(gradient.data()[index]);
            assert!((found - expected).abs() < 1e-5, "element {index}: {found}, not {expected}");
        }
    }

    #[test]
    fn losses_are_what_they_say() {
        let logits = tensor([2, 3], &[0.0, 0.0, 0.0, 1000.0, 0.0, 0.0]);
        let loss = softmax_cross_entropy(&logits, &[1, 0], 0.0).unwrap();
        assert!((loss.value - 3f64.ln() / 2.0).abs() < 1e-12, "{}", loss.value);
        // Two thirds of the smoothing are at classes whose probability is exp(-1000).
        let smooth = softmax_cross_entropy(&logits, &[1, 0], 0.3).unwrap();
        assert!((smooth.value - (3f64.ln() + 200.0) / 2.0).abs() < 1e-4, "{}", smooth.value);
        assert_eq!(count_correct(&logits, &[0, 0]).unwrap(), 2);
        assert_eq!(count_correct(&logits, &[1, 2]).unwrap(), 0); // of equals, the first

        assert_eq!(soft_targets(&logits, &logits, 3.0).unwrap().value, 0.0);
        let values = tensor([1, 2], &[3.0, 4.0]);
        assert_eq!(feature_matching(&tensor([1, 2], &[0.0, 0.0]), &values).unwrap().value, 1.0);
        assert_eq!(feature_matching(&values, &values).unwrap().value, 0.0);
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let logits = tensor([2, 3], &[0.5, -1.0, 2.0, 0.25, 1.5, -0.75]);
        let teacher = tensor([2, 3], &[1.5, 0.25, -1.0, 0.5, -2.0, 1.0]);
        check_gradient(&logits, |x| softmax_cross_entropy(x, &[2, 0], 0.0));
        check_gradient(&logits, |x| softmax_cross_entropy(x, &[2, 0], 0.1));
        check_gradient(&logits, |x| soft_targets(x, &teacher, 4.0));
        check_gradient(&logits, |x| feature_matching(x, &teacher));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let logits = tensor([2, 3], &[0.0; 6]);
        let message = |result: Result<Loss>| result.unwrap_err().to_string();
        assert!(message(softmax_cross_entropy(&logits, &[1], 0.0)).contains("1 labels for 2 pictures"));
        assert!(message(softmax_cross_entropy(&logits, &[0, 3], 0.0)).contains("label 3 of picture 1"));
        assert!(message(softmax_cross_entropy(&logits, &[0, 1], 1.5)).contains("0 to 1"));
        assert!(message(softmax_cross_entropy(&tensor([0, 3], &[]), &[], 0.0)).contains("[n, classes]"));
        assert!(message(soft_targets(&logits, &tensor([3, 2], &[0.0; 6]), 1.0)).contains("[3, 2]"));
        assert!(message(soft_targets(&logits, &logits, 0.0)).contains("above 0"));
        assert!(message(feature_matching(&logits, &logits)).contains("all zero"));
    }
}
