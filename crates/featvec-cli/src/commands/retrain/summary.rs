//! What is printed in the end.

use std::io::{self, Write};

use featvec::evaluate::Share;

use super::judged::Judged;
use crate::line;

/// So many classes are listed; the report has all.
const CLASSES: usize = 40;

/// Prints how well pictures are recognised, class by class and altogether.
pub fn print(stream: &mut impl Write, judged: &Judged<'_>, labels: &[String]) -> io::Result<()> {
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).clamp(5, 40);
    writeln!(stream, "{:width$}  pictures   recall  precision", "class")?;
    let scores = judged.evaluation.classes();
    for (label, score) in labels.iter().zip(&scores).take(CLASSES) {
        let (recall, precision) = (percent(score.recall), percent(score.precision));
        writeln!(
            stream,
            "{:width$}  {:8}  {recall:>7}    {precision:>7}",
            line::shown(label),
            score.recall.total
        )?;
    }
    if scores.len() > CLASSES {
        writeln!(stream, "and {} more", scores.len() - CLASSES)?;
    }
    let accuracy = judged.evaluation.accuracy;
    let [low, high] = accuracy.interval().map(|bound| 100.0 * bound);
    writeln!(
        stream,
        "\n{} accuracy  {} ({} of {}; 95 % interval {low:.1} % to {high:.1} %)",
        judged.name(),
        percent(accuracy),
        accuracy.count,
        accuracy.total
    )?;
    writeln!(
        stream,
        "cross-entropy {:.4}, calibration error {:.1} %",
        judged.evaluation.loss,
        100.0 * judged.evaluation.calibration_error
    )
}

fn percent(share: Share) -> String {
    if share.total == 0 { "-".to_string() } else { format!("{:.1} %", 100.0 * share.value()) }
}
