//! How the demo looks: plain text of at most 100 columns, with a little colour where there is a terminal.

use std::io::{IsTerminal as _, Write};

use crate::Outcome;

/// Columns.
const WIDTH: usize = 100;

/// Where the demo writes. What cannot be written, because nobody reads any more, ends the demo.
pub(crate) struct Page {
    out: Box<dyn Write>,
    color: bool,
}

/// The few styles, as ECMA-48 numbers.
#[derive(Clone, Copy)]
pub(crate) enum Style {
    Bold = 1,
    Red = 31,
    Green = 32,
}

impl Page {
    pub(crate) fn standard_output() -> Self {
        // https://no-color.org
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let out = std::io::stdout();
        let color = wanted && out.is_terminal();
        Self { out: Box::new(out), color }
    }

    pub(crate) fn color(&self) -> bool {
        self.color
    }

    pub(crate) fn line(&mut self, text: &str) -> Outcome<()> {
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }

    pub(crate) fn styled(&self, text: &str, style: Style) -> String {
        if self.color { format!("\x1b[{}m{text}\x1b[0m", style as u8) } else { text.to_owned() }
    }

    /// A line whose first words say what it is about; what does not fit goes on below.
    pub(crate) fn entry(&mut self, label: &str, lines: &[String]) -> Outcome<()> {
        let mut label = format!("   {label:<7} ");
        for line in lines {
            self.line(&format!("{label}{line}"))?;
            label = " ".repeat(INDENT);
        }
        Ok(())
    }

    /// What `enforcer` had to say beside its work, shortened.
    pub(crate) fn warnings(&mut self, said: &str) -> Outcome<()> {
        const SHOWN: usize = 12;
        let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("wrote ")).collect();
        if lines.is_empty() {
            return Ok(());
        }
        self.line("")?;
        for line in lines.iter().take(SHOWN) {
            self.line(line)?;
        }
        if lines.len() > SHOWN {
            self.line("   ... and more: `enforcer check` prints all of it")?;
        }
        Ok(())
    }
}

/// Where the text of an entry begins.
const INDENT: usize = 11;
/// Columns for the text of an entry.
pub(crate) const TEXT: usize = WIDTH - INDENT;

/// Text in lines, broken between words.
pub(crate) fn wrapped(text: &str) -> Vec<String> {
    join(text.split(' '), TEXT, " ", "")
}

/// A command in lines that can be pasted together.
pub(crate) fn command(words: &[String], width: usize) -> Vec<String> {
    join(words.iter().map(String::as_str), width, " ", " \\")
}

/// `` `a` and `b` ``
pub(crate) fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
}

/// Puts words into lines, `between` them where there is room, `more` at the end of all lines but the last.
fn join<'w>(words: impl Iterator<Item = &'w str>, width: usize, between: &str, more: &str) -> Vec<String> {
    let length = |text: &str| text.chars().count();
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        let added = [between, word, more].map(length).into_iter().sum();
        match lines.last_mut() {
            Some(line) if length(line) <= width.saturating_sub(added) => {
                line.push_str(between);
                line.push_str(word);
            }
            Some(line) => {
                line.push_str(more);
                lines.push(word.to_owned());
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A body in lines: a JSON object broken between its members, long text between words.
pub(crate) fn body(text: &str) -> Vec<String> {
    const SHOWN: usize = 12;
    let members = text.replace(",\"", ",\0\"");
    let lines = join(members.split('\0'), TEXT, "", "");
    lines.iter().flat_map(|line| wrapped(line)).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_break_where_a_shell_goes_on() {
        let words = ["curl".to_owned(), "-i".to_owned(), "http://127.0.0.1:8080/".to_owned()];
        assert_eq!(command(&words, 80), ["curl -i http://127.0.0.1:8080/"]);
        assert_eq!(command(&words, 30), ["curl -i \\", "http://127.0.0.1:8080/"]);
        assert!(command(&words, 30).iter().all(|line| line.len() <= 30));
    }

    #[test]
    fn bodies_break_between_members_and_words() {
        let long = format!(r#"{{"a":1,"b":"{}","c":2}}"#, "é ".repeat(60));
        let lines = body(&long);
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert_eq!((lines[0].as_str(), lines[3].as_str()), (r#"{"a":1,"#, r#""c":2}"#));
        assert!(lines.iter().all(|line| line.chars().count() <= TEXT));
        assert_eq!(body(r#"{"a":1,"b":2}"#), [r#"{"a":1,"b":2}"#]);
        assert!(body("").iter().all(String::is_empty));
    }
}
