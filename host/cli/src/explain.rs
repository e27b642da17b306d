//! `setpoint explain`: what an error means and what to do, by its code.

use setpoint_runtime::config::nearest;
use setpoint_runtime::http::{ErrorCode, error_codes};

use crate::args::ExplainArgs;
use crate::failure::Failure;
use crate::output::print;
use crate::table::Table;

/// Prints the page of a code, or all codes.
pub(crate) fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    match &args.code {
        Some(word) => print(&page(find(error_codes(), word)?)),
        None => print(&listed(error_codes())),
    }
}

fn find<'c>(codes: &'c [ErrorCode], word: &str) -> Result<&'c ErrorCode, Failure> {
    if let Some(known) = codes.iter().find(|known| known.code.eq_ignore_ascii_case(word)) {
        return Ok(known);
    }
    let words: Vec<&str> = codes.iter().map(|known| known.code).collect();
    let hint = match nearest(word, &words) {
        Some(meant) => format!("did you mean {meant}? `setpoint explain` lists all"),
        None => "`setpoint explain` lists all".to_owned(),
    };
    Err(Failure::new(format!("there is no error code {word:?}")).hint(hint))
}

fn listed(codes: &[ErrorCode]) -> String {
    let mut table = Table::new(&["CODE", "MEANS"]);
    for known in codes {
        table.row(vec![known.code.to_owned(), known.title.to_owned()]);
    }
    table.render()
}

fn page(known: &ErrorCode) -> String {
    format!("{}: {}\n\n{}\n\nWhat to do: {}\n", known.code, known.title, known.explanation, known.remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_in_any_case_and_a_near_one_is_named() {
        let known = error_codes()[0].code;
        let found = |word: &str| find(error_codes(), word).map(|found| found.code);
        assert_eq!(found(&known.to_uppercase()), Ok(known));
        let failure = found(&format!("{known}s")).map_err(|failure| failure.to_string());
        assert!(failure.is_err_and(|text| text.contains(&format!("did you mean {known}?"))));
        assert!(found("q").is_err_and(|failure| failure.hint.as_deref() == Some("`setpoint explain` lists all")));
    }

    #[test]
    fn every_code_has_a_page_that_says_what_to_do() {
        for known in error_codes() {
            let page = page(known);
            assert!(page.starts_with(known.code), "{page}");
            assert!(!known.explanation.is_empty() && !known.remedy.is_empty(), "{page}");
        }
    }
}
