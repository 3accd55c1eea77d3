//! Figures as SVG files, below `docs/plots`.

use std::path::PathBuf;

use plotters::prelude::*;

use crate::common::Mode;

/// One line of a figure.
pub struct Curve {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// Lines over one axis; the other is logarithmic, for the contestants differ by orders of magnitude.
pub struct Figure {
    pub title: String,
    pub x: &'static str,
    pub y: &'static str,
    /// Whether the points on the horizontal axis double from one to the next.
    pub x_doubles: bool,
    pub curves: Vec<Curve>,
}

const COLOURS: [RGBColor; 6] = [
    RGBColor(0xb0, 0x30, 0x20),
    RGBColor(0xe0, 0x90, 0x70),
    RGBColor(0x20, 0x50, 0x90),
    RGBColor(0x60, 0x90, 0x30),
    RGBColor(0x80, 0x60, 0xa0),
    RGBColor(0x90, 0x90, 0x90),
];

impl Figure {
    /// Draws into `docs/plots/NAME.svg`; when only trying, into the build directory.
    pub fn draw(&self, mode: Mode, name: &str) {
        let folder = match mode {
            Mode::Measure => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/plots")),
            _ => PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
        };
        let drawn = std::fs::create_dir_all(&folder)
            .map_err(|error| error.to_string())
            .and_then(|()| {
                let path = folder.join(format!("{name}.svg"));
                self.try_draw(&path).map_err(|error| error.to_string())
            });
        if let Err(error) = drawn {
            println!("no figure {name}: {error}");
        }
    }

    fn try_draw(&self, path: &std::path::Path) -> Result<(), Box<dyn std::error::Error + '_>> {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let bounds = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), value| {
                (low.min(value), high.max(value))
            })
        };
        let (left, right) = bounds(&mut points().map(|(x, _)| *x));
        let (low, high) = bounds(&mut points().map(|(_, y)| y.max(1e-3)));
        if left >= right || low > high {
            return Err("too few points".into());
        }
        let place = |x: f64| if self.x_doubles { x.log2() } else { x };

        let root = SVGBackend::new(path, (760, 420)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(72)
            .build_cartesian_2d(
                place(left)..place(right),
                (low / 1.5..high * 1.5).log_scale(),
            )?;
        let doubles = self.x_doubles;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(self.x)
            .y_desc(self.y)
            .x_labels(if doubles { 6 } else { 10 })
            .x_label_formatter(&|x| format!("{:.0}", if doubles { x.exp2() } else { *x }))
            .y_label_formatter(&|y| label(*y))
            .draw()?;
        for (curve, colour) in self.curves.iter().zip(COLOURS) {
            let points: Vec<_> = curve
                .points
                .iter()
                .map(|(x, y)| (place(*x), y.max(1e-3)))
                .collect();
            let style = colour.stroke_width(2);
            if doubles {
                chart.draw_series(
                    points
                        .iter()
                        .map(|point| Circle::new(*point, 3, colour.filled())),
                )?;
            }
            chart
                .draw_series(LineSeries::new(points, style))?
                .label(curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 13))
            .draw()?;
        root.present()?;
        Ok(())
    }
}

fn label(value: f64) -> String {
    if value >= 1.0 {
        format!("{value:.0}")
    } else {
        format!("{value}")
    }
}
