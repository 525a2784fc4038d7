//! Choreo Connect's integration scenarios: which exist, and which a source means.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::Error;

/// How many there are; the index says so in its first lines.
pub(crate) const TOTAL: usize = 390;

const PREFIX: &str = "cc/";

/// The names of the scenarios, as in `standalone/jwtValidator/JwtTestCase.invokeJWTHeaderSuccessTest`.
#[derive(Debug, Default)]
pub(crate) struct Index(BTreeSet<String>);

impl Index {
    /// Reads the index in the folder that `ENFORCER_SAMPLES` names; `None` where it is not set.
    pub(crate) fn from_env() -> Result<Option<Self>, Error> {
        let Some(folder) = std::env::var_os("ENFORCER_SAMPLES").filter(|folder| !folder.is_empty()) else {
            return Ok(None);
        };
        let path = PathBuf::from(folder).join("choreo-connect/TEST-SCENARIOS.md");
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
        Ok(Some(Self::parse(&text)))
    }

    /// Classes are items in bold with their number of tests, tests are items below them in backticks.
    fn parse(text: &str) -> Self {
        let mut class = "";
        let mut names = BTreeSet::new();
        for line in text.lines() {
            if let Some((name, _)) = line.strip_prefix("- **").and_then(|rest| rest.split_once("**")) {
                class = name;
            } else if let Some((test, _)) = line.strip_prefix("  - `").and_then(|rest| rest.split_once('`')) {
                names.insert(format!("{class}.{test}"));
            }
        }
        Self(names)
    }

    /// The full name of the scenario that a source means. The class may be written without its folders as long as
    /// only one scenario can be meant.
    fn resolve(&self, written: &str) -> Result<&str, String> {
        let meant = |name: &&String| {
            name.strip_suffix(written).is_some_and(|folders| folders.is_empty() || folders.ends_with('/'))
        };
        let mut found = self.0.iter().filter(meant);
        match (found.next(), found.next()) {
            (Some(name), None) => Ok(name),
            (None, _) => Err(format!("Choreo Connect has no scenario `{written}`")),
            (Some(one), Some(other)) => {
                Err(format!("`{written}` may be `{one}` or `{other}`: write its folders too"))
            }
        }
    }
}

/// The scenario that a source names, if it names one.
pub(crate) fn scenario(source: &str) -> Option<&str> {
    source.strip_prefix(PREFIX)
}

/// The full names of those written, each once, and what is wrong with the others. Without an index they are taken
/// as they are.
pub(crate) fn distinct<'a>(
    written: impl IntoIterator<Item = &'a str>,
    index: Option<&Index>,
) -> (BTreeSet<String>, Vec<String>) {
    let mut names = BTreeSet::new();
    let mut mistakes = Vec::new();
    for written in written {
        match index.map_or(Ok(written), |index| index.resolve(written)) {
            Ok(name) => {
                names.insert(name.to_owned());
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
    (names, mistakes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "# scenarios\n\n- **a/x/JwtTest** (2)\n  - `ok`: Test → SC_OK\n  - `bad`: (no description)\n- **b/JwtTest** (1)\n  - `ok`: x\n";

    #[test]
    fn only_what_is_in_the_index_counts() {
        let index = Index::parse(INDEX);
        let written = ["JwtTest.bad", "a/x/JwtTest.bad", "b/JwtTest.ok", "JwtTest.ok", "wtTest.bad", "X.y"];
        let (names, mistakes) = distinct(written, Some(&index));
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a/x/JwtTest.bad", "b/JwtTest.ok"]);
        assert_eq!(mistakes.len(), 3);
        assert!(mistakes[0].contains("write its folders too"), "{mistakes:?}");
    }

    #[test]
    fn the_index_has_as_many_as_we_say() {
        match Index::from_env().unwrap() {
            Some(index) => assert_eq!(index.0.len(), TOTAL),
            None => println!("skipped: ENFORCER_SAMPLES is not set"),
        }
    }
}
