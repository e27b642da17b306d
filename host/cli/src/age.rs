//! How long ago something was, as kubectl says it.

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// A span of seconds in one or two units, more exact the shorter it is.
pub(crate) fn human(seconds: i64) -> String {
    let two = |large: i64, unit: &str, small: i64, rest: &str| {
        let (n, m) = (seconds / large, seconds % large / small);
        if m == 0 { format!("{n}{unit}") } else { format!("{n}{unit}{m}{rest}") }
    };
    match seconds {
        // Clocks of two machines are never quite the same.
        ..-1 => "<invalid>".into(),
        -1..0 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => two(MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(DAY, "d", HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(YEAR, "y", DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// How long before `now` an RFC 3339 time was.
pub(crate) fn since(time: Option<&str>, now: Timestamp) -> String {
    match time.map(str::parse::<Timestamp>) {
        Some(Ok(time)) => human(now.as_second() - time.as_second()),
        Some(Err(_)) => "<invalid>".into(),
        None => "<unknown>".into(),
    }
}

/// How long after `now` an RFC 3339 time will be; nothing if there is none.
pub(crate) fn until(time: Option<&str>, now: Timestamp) -> String {
    match time.map(str::parse::<Timestamp>) {
        Some(Ok(time)) => human((time.as_second() - now.as_second()).max(0)),
        Some(Err(_)) => "<invalid>".into(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_as_kubectl_says_it() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * HOUR - 1, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 5 * MINUTE, "3h5m"),
            (8 * HOUR, "8h"),
            (2 * DAY - 1, "47h"),
            (2 * DAY, "2d"),
            (2 * DAY + 3 * HOUR, "2d3h"),
            (8 * DAY, "8d"),
            (2 * YEAR - 1, "729d"),
            (2 * YEAR + 100 * DAY, "2y100d"),
            (8 * YEAR, "8y"),
        ] {
            assert_eq!(human(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn an_age_counts_from_the_time_to_now() -> Result<(), jiff::Error> {
        let now: Timestamp = "2026-01-01T00:05:00Z".parse()?;
        assert_eq!(since(Some("2026-01-01T00:00:00Z"), now), "5m");
        assert_eq!(since(Some("2026-01-01T00:04:59.900Z"), now), "1s");
        assert_eq!(since(Some("yesterday"), now), "<invalid>");
        assert_eq!(since(None, now), "<unknown>");
        assert_eq!(until(Some("2026-01-01T00:05:30Z"), now), "30s");
        assert_eq!(until(Some("2026-01-01T00:00:00Z"), now), "0s");
        assert_eq!(until(None, now), "");
        Ok(())
    }
}
