//! What may be shown: texts that reach a status, an event or the API carry no credentials and no
//! absolute paths, and their URLs stay readable (design §5).

use std::sync::LazyLock;

use regex::{Captures, Regex};

const REDACTED: &str = "[REDACTED]";
/// It is looked so often at a text at most.
const MOST_PASSES: usize = 8;
/// Longer texts are cut here, in characters.
pub const MAX_TEXT: usize = 2_048;

fn regex(pattern: &str) -> Regex {
    match Regex::new(pattern) {
        Ok(regex) => regex,
        Err(error) => panic!("{pattern}: {error}"),
    }
}

struct Rules {
    private_key: Regex,
    url: Regex,
    query: Regex,
    login: Regex,
    whole_line: Regex,
    assignment: Regex,
    flag: Regex,
    authorization: Regex,
    well_known: Regex,
    long: Regex,
    unix_path: Regex,
    windows_path: Regex,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules {
    private_key: regex(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)"),
    url: regex(r#"\b([a-zA-Z][a-zA-Z0-9+.-]*)://([^\s"'<>\\]+)"#),
    query: regex(
        r"(?i)([?&;#](?:[a-z0-9_.-]*(?:token|secret|password|passwd|pwd|passphrase|key|jwt|session_?id|signature|sig|credential|auth|code))=)[^&#;\s]+",
    ),
    // `user:password@host:port` without a scheme, as databases write it.
    login: regex(r#"[^\s:@/"'`(\[=,]+:[^\s@/"']+@((?:tcp|unix)\(|[A-Za-z0-9.-]+:[0-9]{2,5}\b)"#),
    // Headers whose value has several parts.
    whole_line: regex(
        r#"(?i)\b((?:set-)?cookie["']?\s*:\s*|authorization["']?\s*[=:]\s*(?:digest|aws4-hmac-sha256)\s)(?:"[^"\n]*"|'[^'\n]*'|[^\n]+)"#,
    ),
    assignment: regex(
        r#"(?i)\b([a-z0-9_.-]*(?:token|secret|password|passwd|pwd|passphrase|passcode|(?:api|access|private|secret|account|signing|encryption|master|auth)[_-]?key|key[_-]?base|session[_-]?id|jwt|credentials?|authorization|cookie)\\?["']?\s*[=:]\s*)(?:(?:bearer|basic|negotiate|token|apikey)\s+)?(\[REDACTED\]|\\"[^"\\]*(?:\\"|\z)|"(?:[^"\\]|\\.)*(?:"|\z)|'[^']*(?:'|\z)|[^\s,;&)}\]]+)"#,
    ),
    flag: regex(
        r#"(?i)(^|\s)(--?[a-z0-9-]*(?:token|secret|password|passwd|pwd|passphrase|api-?key|access-?key|private-?key|credentials?)\s+)("[^"]*"|'[^']*'|[^\s\-\["'][^\s]*)"#,
    ),
    authorization: regex(r#"(?i)\b(bearer|basic|digest|negotiate|token)\s+([A-Za-z0-9\-._~+/]{6,}=*)"#),
    well_known: regex(
        r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}|sk-[A-Za-z0-9_-]{16,}|[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9]{10,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{20,}|dckr_pat_[A-Za-z0-9_-]{16,}|dop_v1_[a-f0-9]{20,}|hv[sb]\.[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9_-]{20,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|AGE-SECRET-KEY-1[A-Z0-9]{20,}|T[A-Z0-9]{8,}/B[A-Z0-9]{8,}/[A-Za-z0-9]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)?)",
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
    // What one rule takes out may be what kept another from seeing something. A text without anything to hide is
    // looked at once.
    for _ in 0..MOST_PASSES {
        let clean = pass(&text);
        if clean == text {
            break;
        }
        text = clean;
    }
    text
}

fn pass(text: &str) -> String {
    let text = RULES.private_key.replace_all(text, REDACTED);
    // URLs are taken out first, cleaned by rules of their own, and put back at the end, so that
    // the rules for paths and long words do not mangle them.
    let mut urls = Vec::new();
    let text = RULES.url.replace_all(&text, |found: &Captures<'_>| {
        urls.push(clean_url(&found[1], &found[2]));
        format!("\u{1}{}\u{2}", urls.len() - 1)
    });
    let text = RULES.well_known.replace_all(&text, REDACTED);
    let text = RULES.whole_line.replace_all(&text, format!("${{1}}{REDACTED}"));
    let text = RULES.assignment.replace_all(&text, |found: &Captures<'_>| {
        let value = &found[2];
        if value.starts_with('\u{1}') { found[0].to_owned() } else { format!("{}{REDACTED}", &found[1]) }
    });
    let text = RULES.flag.replace_all(&text, |found: &Captures<'_>| {
        if found[3].starts_with('\u{1}') {
            found[0].to_owned()
        } else {
            format!("{}{}{REDACTED}", &found[1], &found[2])
        }
    });
    let text = RULES.login.replace_all(&text, |found: &Captures<'_>| {
        // An image has a tag before its digest.
        let digest = found[1].rsplit_once(':').is_some_and(|(name, _)| is_digest_of(name));
        if digest { found[0].to_owned() } else { format!("{REDACTED}@{}", &found[1]) }
    });
    let text = RULES.authorization.replace_all(&text, |found: &Captures<'_>| {
        if is_credential(&found[1], &found[2]) { format!("{} {REDACTED}", &found[1]) } else { found[0].to_owned() }
    });
    let text = RULES.long.replace_all(&text, |found: &Captures<'_>| {
        let (word, before) = (&found[0], found.get(0).map_or("", |whole| &text[..whole.start()]));
        let digest = is_digest_of(before) || word.starts_with("sha256-") || word.starts_with("sha512-");
        if !digest && looks_random(word) { REDACTED.to_owned() } else { word.to_owned() }
    });
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
    let mut authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // What follows the colon is a port. If it is none, the password has a character in it that ends the authority.
    let port = rest[..authority_end].rsplit_once(':').map_or("", |(_, port)| port);
    if !rest.starts_with('[') && port.bytes().any(|byte| !byte.is_ascii_digit()) {
        authority_end = authority_end.max(rest.rfind('@').map_or(0, |at| at + 1));
        authority_end += rest[authority_end..].find(['/', '?', '#']).unwrap_or(rest.len() - authority_end);
    }
    let (authority, path) = rest.split_at(authority_end);
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{REDACTED}@{host}"),
        None => authority.to_owned(),
    };
    let path = RULES.query.replace_all(path, format!("${{1}}{REDACTED}"));
    let path = RULES.well_known.replace_all(&path, REDACTED);
    format!("{scheme}://{host}{path}")
}

/// Whether what stands before a word says that it is a digest, which everybody may know.
fn is_digest_of(before: &str) -> bool {
    let name = before.trim_end_matches([':', '=', ' ']);
    ["sha1", "sha256", "sha384", "sha512"].iter().any(|hash| {
        let end = name.len().checked_sub(hash.len()).and_then(|at| name.get(at..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(hash))
    })
}

/// Whether what follows the name of a scheme is no word of a sentence.
fn is_credential(scheme: &str, value: &str) -> bool {
    let odd = value.bytes().any(|byte| byte.is_ascii_digit() || matches!(byte, b'=' | b'.' | b'+' | b'/'));
    let mixed = value.bytes().skip(1).any(|byte| byte.is_ascii_uppercase()) && !scheme.eq_ignore_ascii_case("token");
    // A sentence may end after a word.
    let word = value.trim_end_matches('.').bytes().all(|byte| byte.is_ascii_lowercase());
    value.len() > 20 || mixed || (odd && !word)
}

/// Long words of a language and hyphenated names stay; a key mixes cases and digits all the time.
fn looks_random(word: &str) -> bool {
    let hex = word.bytes().all(|byte| byte.is_ascii_hexdigit()) && word.bytes().any(|byte| byte.is_ascii_digit());
    let kind = |byte: u8| match byte {
        b'A'..=b'Z' => 'A',
        b'a'..=b'z' => 'a',
        _ => '0',
    };
    let kinds: Vec<char> = word.bytes().filter(u8::is_ascii_alphanumeric).map(kind).collect();
    let changes = kinds.windows(2).filter(|pair| pair[0] != pair[1]).count();
    hex || (kinds.contains(&'A') && kinds.contains(&'a') && changes * 100 > word.len() * 28)
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
mod corpus;

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

        #[test]
        fn however_the_rules_meet_doing_it_twice_changes_nothing_more(
            parts in prop::collection::vec(prop::sample::select(PARTS), 0..10)
        ) {
            let once = sanitize(&parts.concat());
            prop_assert_eq!(sanitize(&once), once);
        }
    }

    const PARTS: &[&str] = &[
        "password=",
        "token: ",
        "\"secret\":",
        "\\\"",
        "\"",
        "'",
        "Authorization: ",
        "Bearer ",
        "basic ",
        "Digest ",
        "Cookie: ",
        " --token ",
        "https://",
        "me:pw1",
        "@",
        "db:5432",
        "/a/b",
        "?key=",
        "&x=1",
        "#",
        "[REDACTED]",
        "[path]/x",
        "abc123",
        " ",
        ", ",
        "; ",
        "\n",
        "ghp_abcdefghijklmnopqrstuvwxyz",
        "sha256:",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "C:\\a\\b",
        "tcp(",
        "-----BEGIN PRIVATE KEY-----",
        "]",
        "}",
        "café",
    ];
}
