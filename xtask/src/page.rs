//! Pages of the docs of which a part is written by a command.

use std::fs;
use std::path::Path;

use crate::step::Failure;

/// The usual name of a part.
pub(crate) const FIGURES: &str = "figures";

/// Puts a text in the place of what stands between the marks of a part of a page.
pub(crate) fn write(page: &Path, part: &str, text: &str) -> Result<(), Failure> {
    let shown = page.display();
    let old = fs::read_to_string(page).map_err(|error| format!("{shown}: {error}"))?;
    let (begin, end) = marks(part);
    let new = replaced(&old, part, text).ok_or_else(|| format!("{shown}: the marks {begin} and {end} are missing"))?;
    fs::write(page, new).map_err(|error| format!("{shown}: {error}"))?;
    println!("== written to {shown}");
    Ok(())
}

fn marks(part: &str) -> (String, String) {
    (format!("<!-- {part}: begin -->"), format!("<!-- {part}: end -->"))
}

fn replaced(page: &str, part: &str, text: &str) -> Option<String> {
    let (begin, end) = marks(part);
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n{end}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let (begin, end) = marks("a");
        let page = format!("# a\n\n{begin}\nold\n{end}\n\nkept\n");
        let once = replaced(&page, "a", "new\n").expect("both marks");
        assert_eq!(once, format!("# a\n\n{begin}\nnew\n{end}\n\nkept\n"));
        assert_eq!(replaced(&once, "a", "new"), Some(once.clone()));
        assert_eq!(replaced(&once, "b", "new"), None);
        assert_eq!(replaced("no marks", "a", "new"), None);
    }
}
