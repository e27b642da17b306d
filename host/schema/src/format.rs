//! The formats of strings and numbers (`format` in a schema).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A format that is checked. Others say nothing to an API server either.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    Int32,
    Int64,
    Float,
    Double,
    DateTime,
    Date,
    Duration,
    Uri,
    Byte,
    Ipv4,
    Ipv6,
    Cidr,
    Uuid,
    Email,
    Hostname,
}

impl Format {
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "int32" => Format::Int32,
            "int64" => Format::Int64,
            "float" => Format::Float,
            "double" => Format::Double,
            "date-time" | "datetime" => Format::DateTime,
            "date" => Format::Date,
            "duration" => Format::Duration,
            "uri" => Format::Uri,
            "byte" => Format::Byte,
            "ipv4" => Format::Ipv4,
            "ipv6" => Format::Ipv6,
            "cidr" => Format::Cidr,
            "uuid" => Format::Uuid,
            "email" => Format::Email,
            "hostname" => Format::Hostname,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Int32 => "int32",
            Format::Int64 => "int64",
            Format::Float => "float",
            Format::Double => "double",
            Format::DateTime => "date-time",
            Format::Date => "date",
            Format::Duration => "duration",
            Format::Uri => "uri",
            Format::Byte => "byte",
            Format::Ipv4 => "ipv4",
            Format::Ipv6 => "ipv6",
            Format::Cidr => "cidr",
            Format::Uuid => "uuid",
            Format::Email => "email",
            Format::Hostname => "hostname",
        }
    }

    /// Whether a string has this format. Formats of numbers say nothing about strings.
    pub(crate) fn admits_text(self, text: &str) -> bool {
        match self {
            Format::Int32 | Format::Int64 | Format::Float | Format::Double => true,
            Format::DateTime => is_date_time(text),
            Format::Date => is_date(text),
            Format::Duration => is_duration(text),
            Format::Uri => is_uri(text),
            Format::Byte => is_base64(text),
            Format::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Format::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Format::Cidr => is_cidr(text),
            Format::Uuid => is_uuid(text),
            Format::Email => is_email(text),
            Format::Hostname => text.len() <= 253 && text.split('.').all(is_host_label),
        }
    }
}

fn number(text: &str, digits: usize) -> Option<u32> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// `2006-01-02`, a day that exists.
fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(day)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2)) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// RFC 3339: `2006-01-02T15:04:05.999Z` or with an offset.
fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', 't']) else {
        return false;
    };
    let (clock, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => time.split_at(at),
        None => return false,
    };
    let offset_is_right = matches!(offset, "Z" | "z") || is_clock(&offset[1..], 2);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let fraction_is_right = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    is_date(date) && is_clock(clock, 3) && fraction_is_right && offset_is_right
}

/// `15:04` or `15:04:05`.
fn is_clock(text: &str, parts: usize) -> bool {
    text.split(':').count() == parts
        && text.split(':').zip([23, 59, 59]).all(|(part, most)| number(part, 2).is_some_and(|n| n <= most))
}

/// Go's durations (`1h30m`, `-1.5s`, `0`), and the long form of an API server (`3 days`).
fn is_duration(text: &str) -> bool {
    is_go_duration(text) || is_long_duration(text)
}

fn is_go_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (amount, after) = rest.split_at(end);
        let has_digit = amount.bytes().any(|b| b.is_ascii_digit());
        if !has_digit || amount.matches('.').count() > 1 {
            return false;
        }
        // The longer unit first: `ms` is not minutes.
        let Some(unit) = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"].iter().find(|unit| after.starts_with(**unit))
        else {
            return false;
        };
        rest = &after[unit.len()..];
    }
    true
}

fn is_long_duration(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = text[end..].trim_start();
    let unit = unit.strip_suffix('s').filter(|unit| unit.len() > 1).unwrap_or(unit);
    end > 0
        && [
            "ns", "nano", "us", "µs", "micro", "ms", "milli", "s", "sec", "second", "m", "min", "minute", "h", "hr",
            "hour", "d", "day", "w", "wk", "week",
        ]
        .contains(&unit)
}

/// What a request line takes: an absolute path, or a scheme and something behind it.
fn is_uri(text: &str) -> bool {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let mut letters = scheme.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        && !rest.is_empty()
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    !bits.starts_with('+') && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    hex && (lengths == [8, 4, 4, 4, 12] || lengths == [32])
}

fn is_email(text: &str) -> bool {
    let Some((name, host)) = text.rsplit_once('@') else {
        return false;
    };
    !name.is_empty()
        && !name.contains(|c: char| c.is_whitespace() || matches!(c, '@' | '<' | '>' | ','))
        && host.split('.').all(is_host_label)
}

fn is_host_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort(format: Format, right: &[&str], wrong: &[&str]) {
        for text in right {
            assert!(format.admits_text(text), "{text:?} is a {}", format.name());
        }
        for text in wrong {
            assert!(!format.admits_text(text), "{text:?} is no {}", format.name());
        }
    }

    #[test]
    fn times_must_exist() {
        sort(
            Format::DateTime,
            &["2024-02-29T23:59:59Z", "2006-01-02T15:04:05.123456789+02:00", "2006-01-02t15:04:05z"],
            &[
                "2023-02-29T00:00:00Z",
                "2006-01-02",
                "2006-01-02T24:00:00Z",
                "2006-01-02T15:04:05",
                "",
                "T",
                "2006-01-02T15:04:05.Z",
                "2006-01-02T15:04:05+2",
            ],
        );
        sort(Format::Date, &["2024-02-29"], &["2024-2-9", "2024-13-01", "2024-00-01", "2024-01-32", "+024-01-01"]);
    }

    #[test]
    fn durations_are_those_of_go_and_long_ones() {
        sort(
            Format::Duration,
            &["1h30m", "0", "-1.5s", "300ms", "1µs", "3 days", "2w", "10 minutes"],
            &["", "h", "1", "1x", "1.2.3s", ".s", "days", "5 parsecs", "-"],
        );
    }

    #[test]
    fn addresses_and_names_are_checked() {
        sort(Format::Ipv4, &["10.0.0.1"], &["10.0.0.256", "::1"]);
        sort(Format::Ipv6, &["::1"], &["10.0.0.1"]);
        sort(Format::Cidr, &["10.0.0.0/8", "fd00::/64"], &["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/+8"]);
        sort(
            Format::Uuid,
            &["123e4567-e89b-12d3-a456-426614174000"],
            &["123e4567", "123e4567-e89b-12d3-a456-42661417400g"],
        );
        sort(Format::Email, &["a.b@example.com"], &["a", "@x", "a b@x", "a@", "a@-x"]);
        sort(Format::Uri, &["https://x/y", "/path", "urn:x"], &["x", "ht tp://x", "1a:b", "a:"]);
        sort(Format::Hostname, &["a.example.com"], &["-a", "a..b", ""]);
        sort(Format::Byte, &["", "aGk=", "aGVsbG8h"], &["aGk", "a===", "a*b="]);
    }
}
