//! Pages of the docs of which a part is written by a command.

use std::fs;
use std::path::Path;

use crate::step::Failure;

const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// Puts a text in the place of what stands between the marks of a page.
pub(crate) fn write(page: &Path, text: &str) -> Result<(), Failure> {
    let shown = page.display();
    let old = fs::read_to_string(page).map_err(|error| format!("{shown}: {error}"))?;
    let new = replaced(&old, text).ok_or_else(|| format!("{shown}: the marks {BEGIN} and {END} are missing"))?;
    fs::write(page, new).map_err(|error| format!("{shown}: {error}"))?;
    println!("== written to {shown}");
    Ok(())
}

fn replaced(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let page = format!("# a\n\n{BEGIN}\nold\n{END}\n\nkept\n");
        let once = replaced(&page, "new\n").expect("both marks");
        assert_eq!(once, format!("# a\n\n{BEGIN}\nnew\n{END}\n\nkept\n"));
        assert_eq!(replaced(&once, "new"), Some(once));
        assert_eq!(replaced("no marks", "new"), None);
    }
}
