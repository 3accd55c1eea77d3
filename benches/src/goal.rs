//! Speed goals. `PERFORMANCE.md` lists them, and `scripts/measure` fails where that list and the
//! benches differ.

use std::fmt;

use crate::Mode;

/// The bound that a figure has to keep.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// The figure may be this much.
    AtMost(f64),
    /// The figure has to be this much.
    AtLeast(f64),
}

impl Goal {
    fn is_met_by(self, figure: f64) -> bool {
        match self {
            Goal::AtMost(bound) => figure <= bound,
            Goal::AtLeast(bound) => figure >= bound,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::AtMost(bound) => write!(f, "at most {bound}"),
            Goal::AtLeast(bound) => write!(f, "at least {bound}"),
        }
    }
}

/// Prints one line that `scripts/measure` reads: `what` as in `PERFORMANCE.md`, the bound, the
/// place (a file system, say), the figure, and whether the figure keeps the bound.
pub fn report_goal(mode: Mode, what: &str, goal: Goal, place: &str, figure: f64) {
    let verdict = match mode {
        Mode::Smoke | Mode::List => "not judged",
        Mode::Full | Mode::Goals if goal.is_met_by(figure) => "met",
        Mode::Full | Mode::Goals => "NOT MET",
    };
    println!("goal | {what} | {goal} | {place} | {figure:.2} | {verdict}");
}
