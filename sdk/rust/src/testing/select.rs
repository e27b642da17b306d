//! Label selectors and field paths, as the host understands them.

use serde_json::{Map, Value};

/// Whether labels match a selector such as `app=a,tier in (b,c),!old`.
pub(super) fn matches(selector: &str, labels: Option<&Value>) -> Result<bool, String> {
    let value = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let mut all = true;
    for requirement in split(selector)? {
        all &= requirement_holds(requirement.trim(), &value)
            .ok_or_else(|| format!("selector {selector:?}: `{}` is no requirement", requirement.trim()))?;
    }
    Ok(all)
}

/// Splits at the commas outside of parentheses.
fn split(selector: &str) -> Result<Vec<&str>, String> {
    if selector.trim().is_empty() {
        return Ok(Vec::new());
    }
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, letter) in selector.char_indices() {
        match letter {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return Err(format!("selector {selector:?}: unbalanced parentheses")),
            ',' if !inside => {
                parts.push(&selector[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(format!("selector {selector:?}: unbalanced parentheses"));
    }
    parts.push(&selector[start..]);
    Ok(parts)
}

/// None if the text is no requirement.
fn requirement_holds<'a>(text: &str, value: &impl Fn(&str) -> Option<&'a str>) -> Option<bool> {
    let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
    let key = |text: &str| (!text.is_empty() && word(text)).then_some(());
    if let Some(absent) = text.strip_prefix('!') {
        let absent = absent.trim();
        key(absent)?;
        return Some(value(absent).is_none());
    }
    if let Some((name, set)) = text.split_once('(') {
        let (name, operator) = name.trim().rsplit_once(char::is_whitespace)?;
        let name = name.trim();
        key(name)?;
        let set: Vec<&str> = set.strip_suffix(')')?.split(',').map(str::trim).collect();
        set.iter().all(|v| word(v)).then_some(())?;
        let found = value(name).is_some_and(|v| set.contains(&v));
        return match operator {
            "in" => Some(found),
            // As in Kubernetes: objects without the label as well.
            "notin" => Some(!found),
            _ => None,
        };
    }
    for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((name, wanted)) = text.split_once(operator) {
            let (name, wanted) = (name.trim(), wanted.trim());
            key(name)?;
            word(wanted).then_some(())?;
            return Some((value(name) == Some(wanted)) == equal);
        }
    }
    key(text)?;
    Some(value(text).is_some())
}

/// A path such as `.spec.refs[*].name` or `.data['a.b']`.
pub(super) struct Path(Vec<Step>);

enum Step {
    Field(String),
    Each,
}

impl Path {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut steps = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("[*]") {
                steps.push(Step::Each);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let quote = after.chars().next().filter(|c| matches!(c, '\'' | '"'));
                let quote = quote.ok_or("only `[*]` and quoted names may stand in brackets")?;
                let (name, after) = after[1..].split_once(quote).ok_or("the quote is not closed")?;
                steps.push(Step::Field(name.to_owned()));
                rest = after.strip_prefix(']').ok_or("`]` is missing")?;
            } else {
                let name = match rest.strip_prefix('.') {
                    Some(name) => name,
                    None if steps.is_empty() => rest,
                    None => return Err("`.` or `[` expected"),
                };
                let end = name.find(['.', '[']).unwrap_or(name.len());
                if end == 0 {
                    return Err("a field name is missing");
                }
                steps.push(Step::Field(name[..end].to_owned()));
                rest = &name[end..];
            }
        }
        if steps.is_empty() { Err("it is empty") } else { Ok(Self(steps)) }
    }

    /// The scalar values there, as text; those of arrays one by one.
    pub(super) fn values(&self, object: &Value) -> Vec<String> {
        fn collect(steps: &[Step], at: &Value, found: &mut Vec<String>) {
            match (steps, at) {
                ([], Value::String(text)) => found.push(text.clone()),
                ([], Value::Bool(_) | Value::Number(_)) => found.push(at.to_string()),
                ([], Value::Array(items)) => items.iter().for_each(|item| collect(&[], item, found)),
                ([Step::Field(name), rest @ ..], _) => {
                    if let Some(below) = at.get(name) {
                        collect(rest, below, found);
                    }
                }
                ([Step::Each, rest @ ..], Value::Array(items)) => {
                    items.iter().for_each(|item| collect(rest, item, found));
                }
                _ => {}
            }
        }
        let mut found = Vec::new();
        collect(&self.0, object, &mut found);
        found
    }

    fn copy(&self, from: &Value, to: &mut Value) {
        fn copy(steps: &[Step], from: &Value, to: &mut Value) {
            match (steps, from) {
                ([], _) => *to = from.clone(),
                ([Step::Field(name), rest @ ..], Value::Object(fields)) => {
                    let Some(below) = fields.get(name) else {
                        return;
                    };
                    if !to.is_object() {
                        *to = Value::Object(Map::new());
                    }
                    if let Value::Object(to) = to {
                        let slot = to.entry(name.clone()).or_insert(Value::Null);
                        copy(rest, below, slot);
                        // What has nothing to show is left out, as in the host.
                        if slot.is_null() && !below.is_null() {
                            to.remove(name);
                        }
                    }
                }
                ([Step::Each, rest @ ..], Value::Array(items)) => {
                    if !to.is_array() {
                        *to = Value::Array(vec![Value::Null; items.len()]);
                    }
                    if let Value::Array(to) = to {
                        items.iter().zip(to).for_each(|(item, to)| copy(rest, item, to));
                    }
                }
                _ => {}
            }
        }
        copy(&self.0, from, to);
    }
}

/// An object as a reader with these fields sees it; none for all.
pub(super) fn mask(fields: &[Path], object: &Value) -> Value {
    const ALWAYS: [&str; 8] = [
        ".apiVersion",
        ".kind",
        ".metadata.name",
        ".metadata.namespace",
        ".metadata.uid",
        ".metadata.labels",
        ".metadata.ownerReferences",
        ".metadata.deletionTimestamp",
    ];
    if fields.is_empty() {
        return object.clone();
    }
    let mut seen = Value::Object(Map::new());
    for path in ALWAYS.iter().filter_map(|path| Path::parse(path).ok()) {
        path.copy(object, &mut seen);
    }
    for path in fields {
        path.copy(object, &mut seen);
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requirements_mean_what_kubectl_means() {
        let labels = json!({"app": "a", "tier": "b", "example.com/x": ""});
        let selects = |selector: &str| matches(selector, Some(&labels));
        for yes in ["", "app=a", "app==a,tier in (b, c)", "!old", "app!=x", "tier notin (x)", "example.com/x", "old!=1"]
        {
            assert_eq!(selects(yes), Ok(true), "{yes}");
        }
        for no in ["app=b", "app=a,old", "!app", "tier notin (a,b)", "old in (a)"] {
            assert_eq!(selects(no), Ok(false), "{no}");
        }
        for bad in ["a in b", "a in (b", "a,,b", "=a", "a b", "a=b c", "a on (b)"] {
            assert!(selects(bad).is_err(), "{bad}");
        }
        assert_eq!(matches("!app", None), Ok(true));
    }

    #[test]
    fn a_mask_shows_what_it_names_and_the_identity() -> Result<(), &'static str> {
        let object = json!({"kind": "K", "metadata": {"name": "a", "annotations": {"x": "y"}},
                            "spec": {"refs": [{"name": "p", "port": 1}, {"name": "q"}], "size": 3}});
        let fields = [Path::parse(".spec.refs[*].name")?];
        assert_eq!(
            mask(&fields, &object),
            json!({"kind": "K", "metadata": {"name": "a"}, "spec": {"refs": [{"name": "p"}, {"name": "q"}]}})
        );
        assert_eq!(fields[0].values(&object), ["p", "q"]);
        Ok(())
    }

    #[test]
    fn a_mask_that_shows_nothing_of_a_field_leaves_it_out() -> Result<(), &'static str> {
        let object = json!({"kind": "K", "spec": {"size": 3}, "status": null});
        let fields = [Path::parse(".spec.name")?, Path::parse(".status")?];
        assert_eq!(mask(&fields, &object), json!({"kind": "K", "status": null}));
        Ok(())
    }

    #[test]
    fn a_path_that_makes_no_sense_is_refused() {
        for bad in ["", ".", "..a", "a[", "a[0]", "a['x]", "a['x'"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }
}
