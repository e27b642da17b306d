//! URLs of endpoints: which are fine, where a redirect leads, and what is one origin.

use axum::http::Uri;
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use setpoint_core::probe::ProbeReason;

use crate::failure::Failure;

/// A URL that can be asked for.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Uri, Failure> {
    let invalid = |why: &str| Failure::new(ProbeReason::Invalid, format!("{text:?} is no URL to ask for: {why}"));
    let text = text.split('#').next().unwrap_or_default();
    let uri: Uri = text.parse().map_err(|error: axum::http::uri::InvalidUri| invalid(&error.to_string()))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(invalid("it must begin with http:// or https://")),
    }
    let authority = uri.authority().ok_or_else(|| invalid("it has no host"))?;
    if authority.as_str().contains('@') {
        return Err(invalid("credentials in it would be shown; use headers"));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(invalid("it has no host"));
    }
    if uri.port().is_some_and(|port| port.as_u16() == 0) {
        return Err(invalid("port 0 cannot be connected to"));
    }
    Ok(uri)
}

/// Where a reference leads that stands in an answer of `base`.
pub(crate) fn join(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.trim().split('#').next()?;
    if reference.contains("://") && !reference.starts_with(['/', '?']) {
        return parse(reference).ok();
    }
    let mut parts = base.clone().into_parts();
    if let Some(rest) = reference.strip_prefix("//") {
        return parse(&format!("{}://{rest}", base.scheme_str()?)).ok();
    }
    let path = match reference.chars().next() {
        None => return Some(base.clone()),
        Some('/') => reference.to_owned(),
        Some('?') => format!("{}{reference}", base.path()),
        Some(_) => {
            let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
            format!("{directory}/{reference}")
        }
    };
    parts.path_and_query = Some(plain(&path).parse::<PathAndQuery>().ok()?);
    parse(&Uri::from_parts(parts).ok()?.to_string()).ok()
}

/// The path without `.` and `..`.
fn plain(path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    let path = format!("/{}", kept.join("/"));
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

/// What has to agree for headers to go along.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

impl Origin {
    pub(crate) fn of(uri: &Uri) -> Self {
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let host = uri.authority().map(Authority::host).unwrap_or_default().to_ascii_lowercase();
        Self { secure, host, port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }) }
    }

    /// Whether headers that were meant for this origin may go to another: to itself, or to the same host at the usual
    /// port of HTTPS.
    pub(crate) fn trusts(&self, other: &Origin) -> bool {
        self == other || (self.host == other.host && self.port == 80 && other.secure && other.port == 443)
    }

    /// Whether going from here to there gives up TLS.
    pub(crate) fn is_weaker(&self, other: &Origin) -> bool {
        self.secure && !other.secure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_be_asked_for_say_why() {
        for fine in ["http://a", "https://a:8443/mcp?x=1#part", "http://[::1]:80/", "http://127.0.0.1"] {
            assert!(parse(fine).is_ok(), "{fine}");
        }
        for (text, part) in [
            ("", "no URL"),
            ("a/b", "no URL"),
            ("//a/b", "must begin with http"),
            ("ftp://a/", "must begin with http"),
            ("http://", "no URL"),
            ("http://a:0/", "port 0"),
            ("http://me:hunter2@a/", "use headers"),
            ("http://a b/", "no URL"),
        ] {
            let refused = parse(text);
            let text = format!("{refused:?}");
            assert!(refused.is_err() && text.contains(part) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn references_lead_where_a_browser_would_go() {
        let base = parse("https://a.example:8443/x/y?q=1").expect("a URL");
        for (reference, expected) in [
            ("/z", "https://a.example:8443/z"),
            ("z", "https://a.example:8443/x/z"),
            ("../z?b", "https://a.example:8443/z?b"),
            ("./", "https://a.example:8443/x/"),
            ("?n=2", "https://a.example:8443/x/y?n=2"),
            ("//b.example/z", "https://b.example/z"),
            ("http://c.example", "http://c.example/"),
            ("/z?u=http://d.example/#f", "https://a.example:8443/z?u=http://d.example/"),
            ("", "https://a.example:8443/x/y?q=1"),
        ] {
            assert_eq!(join(&base, reference).map(|uri| uri.to_string()).as_deref(), Some(expected), "{reference}");
        }
        for nowhere in ["ftp://a/", "http://me@b/", "/a b"] {
            assert_eq!(join(&base, nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn headers_stay_with_their_origin() {
        let origin = |text: &str| Origin::of(&parse(text).expect("a URL"));
        assert!(origin("http://a/x").trusts(&origin("http://A:80/y")));
        assert!(origin("http://a").trusts(&origin("https://a")));
        for other in ["https://a:444", "http://b", "http://a:81", "https://a.b"] {
            assert!(!origin("http://a").trusts(&origin(other)), "{other}");
        }
        assert!(!origin("https://a").trusts(&origin("http://a")));
        assert!(origin("https://a").is_weaker(&origin("http://a")));
    }
}
