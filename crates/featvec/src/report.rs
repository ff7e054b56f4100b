//! What came of training a classifier, as one page that a browser shows without a network.

mod chart;
mod html;
mod thumbnail;

use std::fmt::Write;
use std::path::Path;

use crate::evaluate::{Evaluation, Mistake, Share};
use crate::pictures::Preparation;
use html::escaped;
use thumbnail::thumbnail;

pub use chart::{Axis, Chart};

const STYLE: &str = include_str!("report/style.css");

/// What a report tells.
#[derive(Debug)]
pub struct Report<'a> {
    /// The heading.
    pub title: String,
    /// What was done, and with what: names and values.
    pub facts: Vec<(String, String)>,
    /// The names of the classes.
    pub labels: &'a [String],
    /// How well the held-out pictures are recognised.
    pub evaluation: &'a Evaluation,
    /// How training went.
    pub charts: Vec<Chart>,
    /// The files of the pictures that were evaluated, row by row.
    pub pictures: Vec<&'a Path>,
    /// How pictures are decoded.
    pub preparation: &'a Preparation,
}

/// So many mistakes are shown.
const MISTAKES: usize = 24;

/// Beyond so many classes a confusion matrix is no longer looked at.
const MATRIX_CLASSES: usize = 60;

impl Report<'_> {
    /// The page. It refers to nothing outside itself, and names of files and classes are shown as they are.
    pub fn html(&self) -> String {
        let title = escaped(&self.title);
        let mut page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\
             <title>{title}</title><style>\n{STYLE}</style></head>\n<body><h1>{title}</h1>\n"
        );
        self.summary(&mut page);
        self.charts(&mut page);
        self.classes(&mut page);
        self.confusion(&mut page);
        self.mistakes(&mut page);
        page + "</body></html>\n"
    }

    fn summary(&self, page: &mut String) {
        let Evaluation { accuracy, top_5, loss, calibration_error, .. } = self.evaluation;
        let mut facts = vec![("Accuracy".to_string(), with_interval(*accuracy))];
        if self.labels.len() > 5 {
            facts.push(("Among the five likeliest".to_string(), with_interval(*top_5)));
        }
        facts.push(("Cross-entropy".to_string(), format!("{loss:.4}")));
        facts.push(("Calibration error".to_string(), percent(*calibration_error)));
        *page += "<dl class=\"facts\">";
        for (name, value) in facts.iter().chain(&self.facts) {
            let _ = write!(page, "<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(value));
        }
        *page += "</dl>\n";
    }

    fn charts(&self, page: &mut String) {
        *page += "<h2>Training and calibration</h2><div class=\"charts\">";
        self.charts.iter().chain([&self.calibration()]).for_each(|chart| *page += &chart.svg());
        *page += "</div>\n";
    }

    /// How often it is right by how sure it is.
    fn calibration(&self) -> Chart {
        let used = self.evaluation.calibration.iter().filter(|bin| bin.right.total > 0);
        let points = used.map(|bin| (bin.confidence, bin.right.value()));
        Chart {
            title: "How often it is right, by how sure it is".to_string(),
            x: Axis { name: "probability".to_string(), logarithmic: false },
            series: vec![
                ("measured".to_string(), points.collect()),
                ("perfect".to_string(), vec![(0.0, 0.0), (1.0, 1.0)]),
            ],
            y_range: Some([0.0, 1.0]),
        }
    }

    fn classes(&self, page: &mut String) {
        *page += "<h2>Classes</h2><div class=\"scroll\"><table><tr><th>class</th><th>pictures</th>\
                  <th>recall</th><th>precision</th></tr>";
        for (label, score) in self.labels.iter().zip(self.evaluation.classes()) {
            let _ = write!(
                page,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escaped(label),
                score.recall.total,
                share(score.recall),
                share(score.precision)
            );
        }
        *page += "</table></div>\n";
    }

    fn confusion(&self, page: &mut String) {
        if self.labels.len() > MATRIX_CLASSES {
            let _ = write!(page, "<p>{} classes: the matrix is in metrics.json.</p>", self.labels.len());
            return;
        }
        *page += "<h2>What is taken for what</h2><div class=\"scroll\"><table class=\"confusion\">\
                  <tr><th>is \\ taken for</th>";
        self.labels.iter().for_each(|label| *page += &format!("<th>{}</th>", escaped(label)));
        *page += "</tr>";
        for (class, (label, row)) in self.labels.iter().zip(&self.evaluation.confusion).enumerate() {
            let _ = write!(page, "<tr><td>{}</td>", escaped(label));
            let total: usize = row.iter().sum();
            for (other, count) in row.iter().enumerate() {
                let kind = if other == class { "right" } else { "wrong" };
                let part = *count as f64 / total.max(1) as f64;
                let count = if *count > 0 { count.to_string() } else { String::new() };
                let _ = write!(page, "<td class=\"{kind}\" style=\"--share:{part:.3}\">{count}</td>");
            }
            *page += "</tr>";
        }
        *page += "</table></div>\n";
    }

    fn mistakes(&self, page: &mut String) {
        let mistakes = &self.evaluation.mistakes;
        let _ = write!(page, "<h2>The worst of {} mistakes</h2><div class=\"mistakes\">", mistakes.len());
        for Mistake { row, class, taken_for, probability, confidence } in mistakes.iter().take(MISTAKES) {
            let path = self.pictures[*row];
            let image = match thumbnail(path, self.preparation) {
                Ok(address) => format!("<img alt=\"\" src=\"{address}\">"),
                // It has been removed since.
                Err(error) => format!("<p>{}</p>", escaped(&error.to_string())),
            };
            let _ = write!(
                page,
                "<figure>{image}<figcaption>{} ({}), taken for {} ({})<br><small>{}</small></figcaption></figure>",
                escaped(&self.labels[*class]),
                percent(f64::from(*probability)),
                escaped(&self.labels[*taken_for]),
                percent(f64::from(*confidence)),
                escaped(&path.to_string_lossy())
            );
        }
        *page += "</div>\n";
    }
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

fn share(share: Share) -> String {
    if share.total == 0 { "-".to_string() } else { percent(share.value()) }
}

/// A share with the interval that it stands for.
fn with_interval(part: Share) -> String {
    let [low, high] = part.interval();
    format!(
        "{} ({} of {}; 95 % interval {} to {})",
        share(part),
        part.count,
        part.total,
        percent(low),
        percent(high)
    )
}
