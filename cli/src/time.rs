//! Durations and times, as people write and read them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use rvlf::judge::Age;

const SECONDS_OF_A_DAY: f64 = 86_400.0;

/// Reads `500ms`, `5s`, `2m`, `1h30m`, `1d`, or a plain number of seconds.
///
/// The calendar has no days of 24 h, so that jiff refuses them. Refused here, `--wait 1d DATA` would lock a file `1d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a duration such as 500ms, 5s, 2m or 1h30m";
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| EXPECTED.into());
    }
    if let Some(Ok(days)) = text.strip_suffix('d').map(str::parse::<f64>) {
        return Duration::try_from_secs_f64(days * SECONDS_OF_A_DAY).map_err(|_| EXPECTED.into());
    }
    let signed: SignedDuration = text.parse().map_err(|_| EXPECTED)?;
    Duration::try_from(signed).map_err(|_| EXPECTED.into())
}

/// A duration in its two largest units: `3 min 5 s`.
pub fn in_words(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = time.as_secs();
    let mut parts = Vec::new();
    for (size, unit) in UNITS {
        let count = left / size;
        left %= size;
        if count > 0 || (parts.is_empty() && unit == "s") {
            parts.push(format!("{count} {unit}"));
        } else if !parts.is_empty() {
            // `1 h`, not `1 h 5 s`: the second unit is the one below the first.
            break;
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

pub fn age_in_words(age: Age) -> String {
    match age {
        Age::Past(time) => format!("{} ago", in_words(time)),
        Age::Ahead(time) => format!("{} in the future", in_words(time)),
    }
}

/// The local time of a moment in the past. `None` if it lies before the calendar's first year.
pub fn local_time_before(age: Duration) -> Option<String> {
    Some(local_time(Timestamp::now().checked_sub(age).ok()?))
}

/// The local time of a record's timestamp.
pub fn local_time_of(timestamp_ns: u64) -> String {
    // 64 bits of nanoseconds end in the year 2554, which the calendar contains.
    let timestamp = Timestamp::from_nanosecond(timestamp_ns.into());
    timestamp.map_or_else(|_| "out of range".into(), local_time)
}

pub fn local_time_now() -> String {
    local_time(Timestamp::now())
}

fn local_time(timestamp: Timestamp) -> String {
    let local = timestamp.to_zoned(TimeZone::system());
    local.strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    // A timeout that is misread waits for hours, or not at all.
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
            ("1d", 86_400_000),
            ("0.5d", 43_200_000),
            ("0", 0),
        ];
        for (text, millis) in cases {
            let expected = Duration::from_millis(millis);
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "d",
            "-5",
            "-5s",
            "-1d",
            "nand",
            "nan",
            "inf",
            "1e300",
            "soon",
            "5 parsecs",
        ] {
            assert!(parse_duration(text).is_err(), "{text} is not a duration");
        }
    }

    #[test]
    fn durations_are_shown_in_their_two_largest_units() {
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
            assert_eq!(
                in_words(Duration::from_secs(seconds)),
                expected,
                "{seconds} s"
            );
        }
    }
}
