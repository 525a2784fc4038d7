//! What kind of program calls: the family of a user agent, never its own text.

use std::collections::HashMap;

/// Family and platform, each from a fixed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agent {
    /// `userAgent`.
    pub family: &'static str,
    /// `platform`.
    pub platform: &'static str,
}

/// As far as a user agent is looked at: all that tells stands at its beginning.
const LOOKED_AT: usize = 256;

/// What a user agent contains, and what is said of it. Browsers name those they want to be taken for, so the
/// more special name comes first.
const FAMILIES: [(&str, &str); 24] = [
    ("bot", "Bot"),
    ("crawler", "Bot"),
    ("spider", "Bot"),
    ("edg", "Edge"),
    ("opr/", "Opera"),
    ("samsungbrowser", "Samsung Internet"),
    ("firefox", "Firefox"),
    ("fxios", "Firefox"),
    ("chrome", "Chrome"),
    ("crios", "Chrome"),
    ("safari", "Safari"),
    ("curl", "curl"),
    ("wget", "Wget"),
    ("postman", "Postman"),
    ("insomnia", "Insomnia"),
    ("okhttp", "okhttp"),
    ("axios", "axios"),
    ("node", "Node.js"),
    ("python", "Python"),
    ("go-http-client", "Go"),
    ("grpc", "gRPC"),
    ("apache-httpclient", "Java"),
    ("java", "Java"),
    ("mozilla", "Mozilla"),
];

const PLATFORMS: [(&str, &str); 8] = [
    ("windows", "Windows"),
    ("android", "Android"),
    ("iphone", "iOS"),
    ("ipad", "iOS"),
    ("mac os", "Mac OS"),
    ("cros", "Chrome OS"),
    ("linux", "Linux"),
    ("x11", "Linux"),
];

/// How many user agents a worker remembers; there are few that come often.
const MOST_KNOWN: usize = 256;

/// The user agents that a worker has seen: looking one up costs a hundredth of looking at it.
#[derive(Debug, Default)]
pub struct Agents(HashMap<Box<[u8]>, Agent>);

impl Agents {
    /// Of a user agent as it came.
    pub fn find(&mut self, user_agent: &[u8]) -> Agent {
        let beginning = user_agent.get(..LOOKED_AT).unwrap_or(user_agent);
        if let Some(agent) = self.0.get(beginning) {
            return *agent;
        }
        let agent = Agent::of(beginning);
        if self.0.len() >= MOST_KNOWN {
            self.0.clear();
        }
        self.0.insert(beginning.into(), agent);
        agent
    }
}

impl Agent {
    /// Of a user agent as it came.
    pub fn of(user_agent: &[u8]) -> Self {
        if user_agent.is_empty() {
            return Self { family: crate::event::UNKNOWN, platform: crate::event::UNKNOWN };
        }
        let beginning = user_agent.get(..LOOKED_AT).unwrap_or(user_agent).to_ascii_lowercase();
        let name = |names: &[(&str, &'static str)]| {
            let found = names.iter().find(|(word, _)| contains(&beginning, word.as_bytes()));
            found.map_or("Other", |(_, name)| *name)
        };
        Self { family: name(&FAMILIES), platform: name(&PLATFORMS) }
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn agents_have_families() {
        let agent = |text: &[u8]| {
            let Agent { family, platform } = Agent::of(text);
            (family, platform)
        };
        let chrome = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36";
        assert_eq!(agent(chrome.as_bytes()), ("Chrome", "Windows"));
        assert_eq!(agent(format!("{chrome} Edg/130.0").as_bytes()), ("Edge", "Windows"));
        let safari = b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605 Safari/604.1";
        assert_eq!(agent(safari), ("Safari", "iOS"));
        assert_eq!(agent(b"curl/8.5.0"), ("curl", "Other"));
        assert_eq!(agent(b"\xff\xfe secret"), ("Other", "Other"));
        assert_eq!(agent(b""), ("UNKNOWN", "UNKNOWN"));
    }

    #[test]
    fn what_is_remembered_is_right_and_little() {
        let mut agents = Agents::default();
        for round in 0..3 {
            for number in 0..1000 {
                let agent = agents.find(format!("curl/{number}").as_bytes());
                assert_eq!(agent.family, "curl", "round {round}");
            }
            assert_eq!(agents.find(b"Wget/1").family, "Wget");
        }
        assert!(agents.0.len() <= MOST_KNOWN);
    }

    #[test]
    fn only_the_beginning_counts() {
        let mut long = vec![b'a'; 1 << 20];
        long.extend(b"curl");
        assert_eq!(Agent::of(&long).family, "Other");
    }
}
