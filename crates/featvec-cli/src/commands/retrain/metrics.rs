//! `metrics.json`: all figures, for programs.

use std::path::{Path, PathBuf};

use featvec::evaluate::{Evaluation, Share};
use serde_json::{Value, json};

use super::judged::Judged;

/// What the classifier makes of the pictures that judge it.
pub fn evaluation(judged: &Judged<'_>, labels: &[String]) -> Value {
    let Evaluation { accuracy, top_5, loss, confusion, calibration, calibration_error, mistakes } =
        &judged.evaluation;
    let classes: Vec<Value> = labels
        .iter()
        .zip(judged.evaluation.classes())
        .map(|(label, score)| json!({ "label": label, "recall": share(score.recall), "precision": share(score.precision) }))
        .collect();
    let calibration: Vec<Value> = calibration
        .iter()
        .map(|bin| json!({ "confidence": bin.confidence, "right": bin.right.count, "pictures": bin.right.total }))
        .collect();
    let mistakes: Vec<Value> = mistakes
        .iter()
        .map(|mistake| {
            json!({
                "path": judged.pictures[mistake.row].to_string_lossy(),
                "label": labels[mistake.class],
                "probability": mistake.probability,
                "taken_for": labels[mistake.taken_for],
                "confidence": mistake.confidence,
            })
        })
        .collect();
    json!({
        "pictures": judged.name(),
        "accuracy": share(*accuracy),
        "top_5": share(*top_5),
        "cross_entropy": loss,
        "calibration_error": calibration_error,
        "calibration": calibration,
        "classes": classes,
        "confusion": confusion,
        "mistakes": mistakes,
    })
}

/// Files that gave nothing, and why.
pub fn failures(failures: &[(PathBuf, String)]) -> Value {
    let failure = |(path, reason): &(PathBuf, String)| json!({ "path": lossy(path), "reason": reason });
    failures.iter().map(failure).collect()
}

fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A share of pictures, with its 95 % interval.
pub fn share(share: Share) -> Value {
    let value = (share.total > 0).then(|| share.value());
    json!({ "value": value, "count": share.count, "of": share.total, "interval_95": share.interval() })
}
