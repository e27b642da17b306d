//! What all clients of a server share although each has its own: the level of log messages.

/// How severe a log message is, from the least.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

const LEVELS: [(Level, &str); 8] = [
    (Level::Debug, "debug"),
    (Level::Info, "info"),
    (Level::Notice, "notice"),
    (Level::Warning, "warning"),
    (Level::Error, "error"),
    (Level::Critical, "critical"),
    (Level::Alert, "alert"),
    (Level::Emergency, "emergency"),
];

impl Level {
    /// The level of this word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        LEVELS.iter().find(|(_, known)| *known == word).map(|(level, _)| *level)
    }

    /// The word for it in the protocol.
    pub(crate) fn word(self) -> &'static str {
        LEVELS.iter().find(|(level, _)| *level == self).map_or("debug", |(_, word)| word)
    }
}
