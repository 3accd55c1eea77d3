//! Lengths of time, as people write and read them.

use std::time::Duration;

use jiff::SignedDuration;

/// `500ms`, `5s`, `2m`, `1h30m`; a plain number is seconds.
pub fn parse(text: &str) -> Result<Duration, String> {
    const WANTED: &str = "give a length of time such as 500ms, 5s, 2m or 1h30m";
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| WANTED.into());
    }
    let signed: SignedDuration = text.parse().map_err(|_| WANTED)?;
    Duration::try_from(signed).map_err(|_| WANTED.into())
}

/// The two largest units: `3 min 5 s`.
pub fn words(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = time.as_secs();
    let mut parts = Vec::new();
    for (size, unit) in UNITS {
        let count = left / size;
        left %= size;
        // Minutes matter after hours, not after days.
        if count > 0 || (parts.is_empty() && unit == "s") {
            parts.push(format!("{count} {unit}"));
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    // A time-out that is read as another one waits for hours, or not at all.
    #[test]
    fn durations_are_read_as_people_write_them() {
        let cases = [
            ("500ms", 500),
            ("5s", 5_000),
            ("5", 5_000),
            ("0.5", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("1 minute 5 seconds", 65_000),
            ("0", 0),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "-5", "-5s", "nan", "inf", "1e300", "soon", "5 parsecs"] {
            assert!(parse(text).is_err(), "{text} is no length of time");
        }
    }

    #[test]
    fn ages_are_told_in_their_two_largest_units() {
        let cases = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (185, "3 min 5 s"),
            (3_600, "1 h"),
            (3_605, "1 h"),
            (90_000, "1 d 1 h"),
            (86_400 * 400, "400 d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(words(Duration::from_secs(seconds)), expected, "{seconds} s");
        }
    }
}
