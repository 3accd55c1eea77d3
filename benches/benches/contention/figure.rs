//! Figures as SVG files, below `docs/plots`: one per question, over the number of contenders.

use std::fmt::Write;
use std::path::PathBuf;

use rvlf_benches::Mode;

/// One line of a figure.
pub struct Curve {
    pub name: &'static str,
    /// Which colour of the style sheet.
    pub colour: usize,
    pub dashed: bool,
    pub points: Vec<(usize, f64)>,
}

/// Both axes are logarithmic: contenders double, and contestants differ by orders of magnitude.
pub struct Figure {
    pub title: String,
    pub y: &'static str,
    /// What is less is drawn as this much: a logarithm has no zero.
    pub least: f64,
    pub curves: Vec<Curve>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Left, top, right (names of the lines), bottom.
const MARGINS: [f64; 4] = [72.0, 64.0, 136.0, 48.0];
const LINE_HEIGHT: f64 = 16.0;

/// Drawn on its own ground, so that it can be read on any page; dark where the reader wants dark.
const LIGHT: &str = ".ground{fill:#fff}.grid{stroke:#e3e5e8}text{fill:#3d444d}.title{fill:#1f2328}";
const DARK: &str =
    ".ground{fill:#15191f}.grid{stroke:#2d333b}text{fill:#adb5bf}.title{fill:#eceff2}";
const SHAPES: &str = "text{font:13px system-ui,sans-serif}.title{font-size:16px;font-weight:600}\
    .line{fill:none;stroke-width:2}.dashed{stroke-dasharray:5 4;stroke-width:1.5}";

/// By [`Curve::colour`].
const ON_LIGHT: [&str; 6] = ["c2410c", "e39a6f", "7c8591", "1d6fd1", "3f8f3a", "8250c4"];
const ON_DARK: [&str; 6] = ["ff8a4c", "b9764f", "9aa3ae", "5aa9ff", "6cc265", "b794f4"];

fn style() -> String {
    let colours = |colours: [&str; 6]| -> String {
        let rule = |(i, c)| format!(".s{i}{{stroke:#{c}}}.f{i}{{fill:#{c}}}");
        colours.into_iter().enumerate().map(rule).collect()
    };
    let (light, dark) = (colours(ON_LIGHT), colours(ON_DARK));
    format!("{SHAPES}{LIGHT}{light}@media(prefers-color-scheme:dark){{{DARK}{dark}}}")
}

impl Figure {
    /// Draws into `docs/plots/NAME.svg`; when only trying, into the build directory.
    pub fn draw(&self, mode: Mode, name: &str) {
        let folder = match mode {
            Mode::Full | Mode::Goals => {
                PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/plots"))
            }
            _ => PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
        };
        let Some(svg) = self.svg() else {
            return println!("no figure {name}: too few points");
        };
        let path = folder.join(format!("{name}.svg"));
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, svg));
        if let Err(error) = written {
            println!("no figure {name}: {error}");
        }
    }

    fn svg(&self) -> Option<String> {
        let axes = Axes::around(self)?;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" aria-label=\"{title}\">\n<style>{style}</style>\n\
             <rect class=\"ground\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\n\
             <text class=\"title\" x=\"20\" y=\"28\">{title}</text>\n\
             <text x=\"20\" y=\"48\">{y}</text>\n",
            style = style(),
            title = self.title,
            y = self.y,
        );
        axes.draw(&mut svg);
        for curve in &self.curves {
            axes.draw_curve(&mut svg, curve, self.least);
        }
        self.name_curves(&mut svg, &axes);
        svg.push_str("</svg>\n");
        Some(svg)
    }

    /// Each name where its line ends, moved down as far as the one above needs.
    fn name_curves(&self, svg: &mut String, axes: &Axes) {
        let named = self.curves.iter().filter(|curve| !curve.dashed);
        let mut ends: Vec<(f64, &Curve)> = named
            .filter_map(|curve| {
                let (_, value) = curve.points.last()?;
                Some((axes.y(value.max(self.least)), curve))
            })
            .collect();
        ends.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let room = LINE_HEIGHT * ends.len() as f64;
        let mut free = f64::MIN;
        for (i, (y, curve)) in ends.into_iter().enumerate() {
            let last_chance = HEIGHT - MARGINS[3] - room + LINE_HEIGHT * (i as f64 + 1.0);
            let y = y.min(last_chance).max(free);
            free = y + LINE_HEIGHT;
            let _ = writeln!(
                svg,
                "<text class=\"f{}\" x=\"{:.0}\" y=\"{:.0}\">{}</text>",
                curve.colour,
                WIDTH - MARGINS[2] + 12.0,
                y + 4.0,
                curve.name
            );
        }
    }
}

struct Axes {
    counts: Vec<usize>,
    low: f64,
    high: f64,
}

impl Axes {
    fn around(figure: &Figure) -> Option<Axes> {
        let points = || figure.curves.iter().flat_map(|curve| &curve.points);
        let mut counts: Vec<usize> = points().map(|(n, _)| *n).collect();
        counts.sort_unstable();
        counts.dedup();
        let values = || points().map(|(_, y)| y.max(figure.least));
        let low = values().reduce(f64::min)? / 1.3;
        let high = values().reduce(f64::max)? * 1.3;
        (counts.len() > 1).then_some(Axes { counts, low, high })
    }

    fn x(&self, n: usize) -> f64 {
        let share = |n: usize| (n as f64).log2();
        let ends = self.counts.first().zip(self.counts.last());
        let (first, last) = ends.map_or((0.0, 1.0), |(a, b)| (share(*a), share(*b)));
        let width = WIDTH - MARGINS[0] - MARGINS[2];
        MARGINS[0] + width * (share(n) - first) / (last - first)
    }

    fn y(&self, value: f64) -> f64 {
        let height = HEIGHT - MARGINS[1] - MARGINS[3];
        let share = (value / self.low).ln() / (self.high / self.low).ln();
        HEIGHT - MARGINS[3] - height * share
    }

    /// 1, 10, 100 ..; where those are few, 2 and 5 of each as well.
    fn ticks(&self) -> Vec<f64> {
        let few = self.high / self.low < 300.0;
        let steps: &[f64] = if few { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        decades
            .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
            .filter(|tick| (self.low..=self.high).contains(tick))
            .collect()
    }

    fn draw(&self, svg: &mut String) {
        let (left, right) = (MARGINS[0], WIDTH - MARGINS[2]);
        for tick in self.ticks() {
            let y = self.y(tick);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{left} {y:.1}H{right}\"/>\
                 <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 8.0,
                y + 4.0,
                label(tick)
            );
        }
        let below = HEIGHT - MARGINS[3];
        for n in &self.counts {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{n}</text>",
                self.x(*n),
                below + 18.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">contenders</text>",
            f64::midpoint(left, right),
            below + 36.0
        );
    }

    fn draw_curve(&self, svg: &mut String, curve: &Curve, least: f64) {
        let at = |(n, value): &(usize, f64)| (self.x(*n), self.y(value.max(least)));
        let points = curve.points.iter().map(at);
        let path: Vec<String> = points.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let colour = curve.colour;
        let dashed = if curve.dashed { " dashed" } else { "" };
        let _ = writeln!(
            svg,
            "<path class=\"line{dashed} s{colour}\" d=\"M{}\"/>",
            path.join("L")
        );
        if !curve.dashed {
            for (x, y) in curve.points.iter().map(at) {
                let _ = write!(
                    svg,
                    "<circle class=\"f{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>"
                );
            }
            svg.push('\n');
        }
    }
}

/// 10000 as 10,000, and 0.01 as it is.
fn label(value: f64) -> String {
    if value < 1.0 {
        return format!("{value:.3}").trim_end_matches('0').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
