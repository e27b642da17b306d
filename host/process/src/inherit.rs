//! What a supervised process gets of the host's environment.

/// The variables that are handed on, if the host has them: where programs and files of the user are,
/// language and time, and how the network is reached. Nothing else, since an environment is where
/// people put their secrets; what a process needs beyond is in its spec.
pub const INHERITED: [&str; 29] = [
    // Where things are.
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
    // Language and time.
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    // How the network is reached, and who is trusted there.
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];

/// Where programs are looked for if the host has no `PATH`.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The variables that are handed on now. One that is not text is left out.
pub(crate) fn inherited() -> impl Iterator<Item = (String, String)> {
    INHERITED.into_iter().filter_map(|name| {
        let value = std::env::var(name).ok();
        let value = value.or_else(|| (name == "PATH").then(|| PATH.to_owned()));
        value.map(|value| (name.to_owned(), value))
    })
}
