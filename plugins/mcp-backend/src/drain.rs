//! How long a backend stays after its source has left. The one thing here that depends on the time: a call that looks
//! at the clock is not memoised, so it is looked at only while something drains.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What becomes of a backend whose source has left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Drain {
    /// It stays for so long, and has been draining since then.
    Stays(String, Duration),
    /// It goes.
    Goes,
}

/// The time in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `since`: what the backend says; none if it was wanted until now.
pub fn decide(since: Option<&str>, now: u64, longest: u64) -> Drain {
    let (since, start) = match since {
        None => (format(now), now),
        Some(since) => match parse(since) {
            // A clock that was set back does not make it stay for ever.
            Some(start) => (since.to_owned(), start.min(now)),
            None => return Drain::Goes,
        },
    };
    match (start + longest).saturating_sub(now) {
        0 => Drain::Goes,
        left => Drain::Stays(since, Duration::from_secs(left)),
    }
}

/// RFC 3339 in UTC. Days are counted from the first of March of the year 0, so that leap days come last
/// (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn format(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hours, minutes, seconds) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}Z")
}

/// None if it is not what [`format`] writes.
fn parse(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let numbers = |text: &str, between: char| -> Option<[u64; 3]> {
        let mut parts = text.split(between).map(|part| part.parse().ok());
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(numbers)
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hours, minutes, seconds] = numbers(time, ':')?;
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year - u64::from(month <= 2);
    let month = if month > 2 { month - 3 } else { month + 9 };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(days * 86_400 + hours * 3_600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_and_read_as_it_is() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!((format(seconds).as_str(), parse(text)), (text, Some(seconds)));
        }
        for step in 0..50_000 {
            let seconds = step * 60_013;
            assert_eq!(parse(&format(seconds)), Some(seconds));
        }
        for wrong in ["", "2026-01-01", "2026-01-01T00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00", "x"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn it_stays_as_long_as_it_may_and_not_longer() {
        let at = parse("2026-01-01T00:00:00Z").unwrap();
        let first = decide(None, at, 30);
        assert_eq!(first, Drain::Stays("2026-01-01T00:00:00Z".into(), Duration::from_secs(30)));
        let since = Some("2026-01-01T00:00:00Z");
        assert_eq!(decide(since, at + 29, 30), Drain::Stays("2026-01-01T00:00:00Z".into(), Duration::from_secs(1)));
        assert_eq!(decide(since, at + 30, 30), Drain::Goes);
        // The clock was set back.
        assert_eq!(decide(since, at - 999, 30), Drain::Stays("2026-01-01T00:00:00Z".into(), Duration::from_secs(30)));
        assert_eq!(decide(Some("soon"), at, 30), Drain::Goes);
    }
}
