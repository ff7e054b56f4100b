//! Curves as SVG.

use std::fmt::Write;

use super::html::escaped;

/// One or two curves over the same values.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What is drawn from left to right.
    pub x: Axis,
    /// The curves: a name, and points `(x, y)`.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
    /// The range of y, where it is not that of the values.
    pub y_range: Option<[f64; 2]>,
}

/// What is drawn from left to right.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Its name.
    pub name: String,
    /// Equal steps are equal factors.
    pub logarithmic: bool,
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 44.0;
const TICKS: usize = 4;

impl Chart {
    /// The chart as an `svg` element; points that are not finite are left out.
    pub(super) fn svg(&self) -> String {
        let scale = |x: f64| if self.x.logarithmic { x.log10() } else { x };
        let is_drawn = |&(x, y): &(f64, f64)| scale(x).is_finite() && y.is_finite();
        let series: Vec<(&str, Vec<(f64, f64)>)> = self
            .series
            .iter()
            .map(|(name, points)| (&name[..], points.iter().copied().filter(is_drawn).collect()))
            .collect();
        let all = || series.iter().flat_map(|(_, points)| points.iter().copied());
        let [x0, x1] = range(all().map(|(x, _)| scale(x)));
        let [y0, y1] = self.y_range.unwrap_or_else(|| range(all().map(|(_, y)| y)));
        let to_x = |x: f64| LEFT + (scale(x) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
        let to_y = |y: f64| HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);

        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\
             <title>{0}</title><text x=\"{LEFT}\" y=\"14\">{0}</text>",
            escaped(&self.title)
        );
        for tick in 0..=TICKS {
            let part = tick as f64 / TICKS as f64;
            let (x, y) = (x0 + (x1 - x0) * part, y0 + (y1 - y0) * part);
            let x_value = if self.x.logarithmic { 10f64.powf(x) } else { x };
            let (at_x, at_y, bottom) = (to_x(x_value), to_y(y), HEIGHT - BOTTOM);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at_y:.1}\" y2=\"{at_y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
                 <text x=\"{at_x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at_y + 4.0,
                short(y),
                bottom + 16.0,
                short(x_value),
            );
        }
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{1:.1}\" y2=\"{1:.1}\"/>\
             <text x=\"{2:.1}\" y=\"{3:.1}\" text-anchor=\"end\">{4}</text>",
            WIDTH - RIGHT,
            HEIGHT - BOTTOM,
            WIDTH - RIGHT,
            HEIGHT - 10.0,
            escaped(&self.x.name)
        );
        for (index, (name, points)) in series.iter().enumerate() {
            let line: Vec<String> =
                points.iter().map(|&(x, y)| format!("{:.1},{:.1}", to_x(x), to_y(y))).collect();
            let at = LEFT + 150.0 * index as f64;
            let _ = write!(
                svg,
                "<polyline class=\"s{index}\" points=\"{}\"/>\
                 <rect class=\"s{index}\" x=\"{at}\" y=\"{1:.1}\" width=\"10\" height=\"3\"/>\
                 <text x=\"{2}\" y=\"{3:.1}\">{4}</text>",
                line.join(" "),
                HEIGHT - 15.0,
                at + 15.0,
                HEIGHT - 10.0,
                escaped(name)
            );
        }
        svg + "</svg>"
    }
}

/// Between which values all lie; never nothing.
fn range(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let [low, high] =
        values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], x| [low.min(x), high.max(x)]);
    match (low.is_finite(), high > low) {
        (true, true) => [low, high],
        (true, false) => [low - 0.5, low + 0.5],
        _ => [0.0, 1.0],
    }
}

/// Three digits.
fn short(x: f64) -> String {
    match x.abs() {
        0.0 => "0".to_string(),
        size if !(1e-3..1e5).contains(&size) => format!("{x:.0e}"),
        size if size >= 100.0 => format!("{x:.0}"),
        size => format!("{x:.*}", if size < 0.1 { 3 } else { 2 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_values_give_finite_places() {
        let x = |logarithmic| Axis { name: "<x>".to_string(), logarithmic };
        for points in [vec![], vec![(1.0, 2.0)], vec![(0.0, f64::NAN), (1.0, 1.0), (2.0, 1.0)]] {
            for logarithmic in [false, true] {
                let series = vec![("a & b".to_string(), points.clone())];
                let svg = Chart { title: "t".to_string(), x: x(logarithmic), series, y_range: None }.svg();
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
                assert!(svg.contains("a &amp; b") && svg.contains("&lt;x&gt;"));
            }
        }
    }

    #[test]
    fn points_lie_where_they_belong() {
        let series = vec![("s".to_string(), vec![(1.0, 0.0), (10.0, 1.0), (100.0, 0.5)])];
        let x = Axis { name: String::new(), logarithmic: true };
        let svg = Chart { title: String::new(), x, series, y_range: None }.svg();
        assert!(svg.contains("points=\"56.0,216.0 233.0,28.0 410.0,122.0\""), "{svg}");
    }
}
