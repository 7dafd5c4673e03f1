//! Settings that are added to a settings file. What is there already stays, word for word.

use toml::{Table, Value};

/// The table of the collector's settings, and the line that begins it.
const TABLE: &str = "collector";
const HEADER: &str = "[collector]";

/// The text with these settings of the collector's added to it. One that is there already must say the same.
///
/// # Errors
///
/// If one says something else, or the text is not such that any can be added; in words that follow the file's name.
pub(super) fn with(text: &str, settings: &[(&str, Value)]) -> Result<String, String> {
    let table = table(text)?;
    let mut missing = String::new();
    for (key, value) in settings {
        match table.get(*key) {
            None => missing.push_str(&format!("{key} = {value}\n")),
            Some(there) if words(there) == words(value) => {}
            Some(there) => {
                return Err(format!("has {key} = {there} already; init does not overwrite it"));
            }
        }
    }
    if missing.is_empty() {
        return Ok(text.to_owned());
    }
    let is_header = |line: &str| line.split('#').next().is_some_and(|line| line.trim() == HEADER);
    let mut added = String::new();
    let mut is_in = false;
    for line in text.lines() {
        added.push_str(line);
        added.push('\n');
        if !is_in && is_header(line) {
            added.push_str(&missing);
            is_in = true;
        }
    }
    if !is_in {
        let gap = if added.is_empty() { "" } else { "\n" };
        added.push_str(&format!("{gap}{HEADER}\n{missing}"));
    }
    // A table can be written in more ways than one.
    match self::table(&added) {
        Ok(_) => Ok(added),
        Err(_) => Err(format!("cannot be added to; write into its table {TABLE}: {missing}")),
    }
}

/// The collector's table.
fn table(text: &str) -> Result<Table, String> {
    let mut all: Table = text.parse().map_err(|error| format!("is no TOML: {error}"))?;
    match all.remove(TABLE) {
        None => Ok(Table::new()),
        Some(Value::Table(table)) => Ok(table),
        Some(_) => Err(format!("must have a table {HEADER}")),
    }
}

/// What a setting says. One value is as good as a list of it.
fn words(value: &Value) -> Vec<String> {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Array(values) => values.iter().map(word).collect(),
        value => vec![word(value)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(text: &str) -> Result<String, String> {
        let listen = Value::Array(vec!["0.0.0.0:7600".into()]);
        with(text, &[("listen", listen), ("endpoint", "https://a:7600".into())])
    }

    #[test]
    fn settings_are_added_and_the_rest_stays() {
        let both = "listen = [\"0.0.0.0:7600\"]\nendpoint = \"https://a:7600\"\n";
        assert_eq!(added("").unwrap(), format!("[collector]\n{both}"));
        let agent = "# ours\n[agent]\nrounds = 22\n";
        assert_eq!(added(agent).unwrap(), format!("{agent}\n[collector]\n{both}"));
        assert_eq!(
            added("[collector] # here\nstore = \"sqlite:x\"\n\n[agent]\n").unwrap(),
            format!("[collector] # here\n{both}store = \"sqlite:x\"\n\n[agent]\n")
        );
    }

    #[test]
    fn what_is_said_already_is_not_said_twice() {
        let there = "[collector]\nlisten = \"0.0.0.0:7600\"\nendpoint = \"https://a:7600\"\n";
        assert_eq!(added(there).unwrap(), there);
    }

    #[test]
    fn nothing_is_overwritten() {
        for (text, says) in [
            ("[collector]\nlisten = \"127.0.0.1:1\"", "has listen = \"127.0.0.1:1\" already"),
            ("collector = 3", "must have a table"),
            ("[collector", "is no TOML"),
            ("collector = { store = \"sqlite:x\" }", "cannot be added to"),
        ] {
            let said = added(text).unwrap_err();
            assert!(said.contains(says), "{text}: {said}");
        }
    }
}
