//! What may be shown: texts that reach a status, an event or the API carry no credentials and no
//! absolute paths, and their URLs stay readable (design §5).

use std::sync::LazyLock;

use regex::{Captures, Regex};

const REDACTED: &str = "[REDACTED]";
/// Longer texts are cut here, in characters.
pub const MAX_TEXT: usize = 2_048;

fn regex(pattern: &str) -> Regex {
    match Regex::new(pattern) {
        Ok(regex) => regex,
        Err(error) => panic!("{pattern}: {error}"),
    }
}

struct Rules {
    url: Regex,
    query: Regex,
    authorization: Regex,
    assignment: Regex,
    well_known: Regex,
    long: Regex,
    unix_path: Regex,
    windows_path: Regex,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules {
    url: regex(r#"\b([a-zA-Z][a-zA-Z0-9+.-]*)://([^\s"'<>\\]+)"#),
    query: regex(
        r"(?i)([?&;](?:[a-z0-9_.-]*(?:token|secret|password|passwd|pwd|api_?-?key|signature|sig|credential|auth|code))=)[^&#;\s]+",
    ),
    authorization: regex(r#"(?i)\b(bearer|basic|digest|negotiate|token)\s+([A-Za-z0-9\-._~+/]{6,}=*)"#),
    assignment: regex(
        r#"(?i)\b([a-z0-9_.-]*(?:token|secret|password|passwd|pwd|passphrase|api[_-]?key|access[_-]?key|private[_-]?key|client[_-]?secret|credentials?|authorization|cookie)["']?\s*[=:]\s*)(?:(?:bearer|basic)\s+)?("[^"]*"|'[^']*'|[^\s,;&)}\]]+)"#,
    ),
    well_known: regex(
        r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abprs]-[A-Za-z0-9-]{10,}|sk-[A-Za-z0-9_-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)?)",
    ),
    long: regex(r"[A-Za-z0-9+/_-]{41,}={0,2}"),
    unix_path: regex(r#"(^|[\s"'`(\[=:,<])/(?:[^\s/"'`:,;()<>\]]+/)+([^\s/"'`:,;()<>\]]*)"#),
    windows_path: regex(r#"\b[A-Za-z]:\\(?:[^\s\\"'<>|:*?]+\\)*([^\s\\"'<>|:*?]*)"#),
});

/// The text without credentials and absolute paths, cut at [`MAX_TEXT`] characters. Control
/// characters other than line breaks and tabs are dropped. Doing it twice changes nothing more.
pub fn sanitize(text: &str) -> String {
    let mut text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    if let Some((cut, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(cut);
        text.push('…');
    }
    // URLs are taken out first, cleaned by rules of their own, and put back at the end, so that
    // the rules for paths and long words do not mangle them.
    let mut urls = Vec::new();
    let text = RULES.url.replace_all(&text, |found: &Captures<'_>| {
        urls.push(clean_url(&found[1], &found[2]));
        format!("\u{1}{}\u{2}", urls.len() - 1)
    });
    let text = RULES.well_known.replace_all(&text, REDACTED);
    let text = RULES.assignment.replace_all(&text, |found: &Captures<'_>| {
        let value = &found[2];
        if value.starts_with('\u{1}') { found[0].to_owned() } else { format!("{}{REDACTED}", &found[1]) }
    });
    let text = RULES.authorization.replace_all(&text, |found: &Captures<'_>| {
        let secret = found[2].bytes().any(|b| b.is_ascii_digit() || matches!(b, b'=' | b'.' | b'+' | b'/'));
        if secret || found[2].len() > 20 { format!("{} {REDACTED}", &found[1]) } else { found[0].to_owned() }
    });
    let text =
        RULES.long.replace_all(
            &text,
            |found: &Captures<'_>| {
                if looks_random(&found[0]) { REDACTED.to_owned() } else { found[0].to_owned() }
            },
        );
    let text = RULES.unix_path.replace_all(&text, "$1[path]/$2");
    let text = RULES.windows_path.replace_all(&text, "[path]/$1");
    let mut out = String::with_capacity(text.len());
    let mut rest: &str = &text;
    while let Some(at) = rest.find('\u{1}') {
        out.push_str(&rest[..at]);
        let end = rest[at..].find('\u{2}').map_or(rest.len(), |end| at + end);
        if let Some(url) = rest[at + 1..end].parse().ok().and_then(|i: usize| urls.get(i)) {
            out.push_str(url);
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

fn clean_url(scheme: &str, rest: &str) -> String {
    if scheme.eq_ignore_ascii_case("file") {
        return format!("{scheme}://[path]/{}", rest.rsplit('/').next().unwrap_or_default());
    }
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{REDACTED}@{host}"),
        None => authority.to_owned(),
    };
    let path = RULES.query.replace_all(path, format!("${{1}}{REDACTED}"));
    let path = RULES.well_known.replace_all(&path, REDACTED);
    format!("{scheme}://{host}{path}")
}

/// Long words of a language or a hyphenated name stay; a key mixes cases and digits.
fn looks_random(word: &str) -> bool {
    let (mut upper, mut lower, mut digit) = (0, 0, 0);
    for b in word.bytes() {
        match b {
            b'A'..=b'Z' => upper += 1,
            b'a'..=b'z' => lower += 1,
            b'0'..=b'9' => digit += 1,
            _ => {}
        }
    }
    let hex = word.bytes().all(|b| b.is_ascii_hexdigit()) && digit > 0;
    hex || (digit > 0 && upper > 0 && lower > 0) || (upper > 4 && lower > 4)
}

/// Whether the `count`th failure in a row is worth a line in the log: the first three, then every
/// 10th up to 100, every 100th up to 1000, every 1000th, and at least every 5 minutes.
pub fn worth_logging(count: u64, since_last_line: u64) -> bool {
    since_last_line >= 300_000
        || match count {
            0..=3 => true,
            4..=100 => count.is_multiple_of(10),
            101..=1000 => count.is_multiple_of(100),
            _ => count.is_multiple_of(1000),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn credentials_go() {
        let samples = [
            r#"{"token":"abc123"}"#,
            "api_key=abc123",
            "api-key: abc123",
            "password=abc123!word",
            "Authorization: Basic abc123ZGVm",
            "Authorization: Bearer abc123.def.ghi",
            "ghp_abc123abc123abc123abc123abc123abc123",
            "AKIAABC123ABC123ABC1",
            "postgres://user:abc123@db/prod",
            "https://example.com/x?access_token=abc123&y=1",
            "client_secret='abc123 with space'",
            "eyJhbGciOiJIUzI1abc123.eyJzdWIiOiIxMjM0abc123.SflKxwRJabc123",
        ];
        for sample in samples {
            let clean = sanitize(sample);
            assert!(!clean.to_lowercase().contains("abc123"), "{sample} -> {clean}");
            assert!(clean.contains(REDACTED), "{sample} -> {clean}");
        }
        assert_eq!(sanitize("password=p@ss!word and more"), "password=[REDACTED] and more");
    }

    #[test]
    fn urls_and_plain_words_stay() {
        for text in [
            "https://example.com/a/b/c returned 404",
            "resource not found: MCPServer prometheus",
            r#"MCPServer.muster.giantswarm.io "prometheus" not found"#,
            "GET https://example.com:8443/mcp?x=1#f: connection refused",
            "spec.steps[0].id in body should match '^[a-z]+$'",
            "the token expired",
            "a/b/c is relative",
        ] {
            assert_eq!(sanitize(text), text);
        }
    }

    #[test]
    fn absolute_paths_keep_their_last_part() {
        assert_eq!(sanitize("open /home/me/.config/x.yaml: no such file"), "open [path]/x.yaml: no such file");
        assert_eq!(sanitize(r"open C:\Users\me\x.yaml"), "open [path]/x.yaml");
    }

    #[test]
    fn repeated_failures_are_logged_less_and_less() {
        let lines: Vec<u64> = (1..=3000).filter(|n| worth_logging(*n, 0)).collect();
        assert_eq!(lines[..5], [1, 2, 3, 10, 20]);
        assert_eq!(lines.len(), 3 + 10 + 9 + 2);
        assert!(worth_logging(5, 300_000));
    }

    proptest! {
        #[test]
        fn doing_it_twice_changes_nothing_more(text in "[a-zA-Z0-9=:/?&@ .\"'\\\\_-]{0,80}") {
            let once = sanitize(&text);
            prop_assert_eq!(sanitize(&once), once);
        }
    }
}
