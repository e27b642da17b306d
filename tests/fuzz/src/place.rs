//! Whether a place that an error names is one of the text that it is about.

/// Panics if line and column, both from 1, are not within the text or right after it.
pub(crate) fn assert_within(text: &str, line: u32, column: u32, what: &str) {
    let lines = text.replace("\r\n", "\n").split(['\n', '\r']).map(|line| line.chars().count()).collect::<Vec<_>>();
    // The end of a text may be named as the beginning of the line after it.
    assert!(line >= 1 && line as usize <= lines.len() + 1, "line {line} of {}: {what}", lines.len());
    let longest = lines.iter().max().copied().unwrap_or_default();
    assert!(column >= 1 && column as usize <= longest + 2, "column {column}, lines have up to {longest}: {what}");
}

/// Panics if a text for people is empty or has several lines.
pub(crate) fn assert_one_line(text: &str) {
    assert!(!text.trim().is_empty() && !text.contains('\n'), "not one line: {text:?}");
}
