//! Passwords as Apache's `htpasswd` stores them.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};

/// A stored password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hashed {
    /// `$2y$`, and `$2b$` and `$2a$`, which are the same for what a client can send.
    Bcrypt { cost: u32, salt: [u8; 16], hash: [u8; 23] },
    /// `{SHA}`: SHA-1, which anybody who has the file breaks.
    Sha([u8; 20]),
}

/// The least cost that bcrypt has.
const MIN_COST: u32 = 4;
/// The greatest that a worker can afford: it serves nobody else meanwhile.
const MAX_COST: u32 = 8;
/// Most of a password that bcrypt looks at, in bytes.
const BCRYPT_SIGNIFICANT: usize = 72;

/// About what one bcrypt of the least cost takes in the sandbox, in microseconds; each step of cost doubles it.
pub const LEAST_MICROS: u32 = 1_000;

/// bcrypt's own alphabet. The last character of salt and hash has bits to spare, which not all writers leave zero.
const BCRYPT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::BCRYPT,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Hashes that are known by their beginnings and not accepted: what they are, and why not.
const REFUSED: [(&str, &str); 10] = [
    ("$argon2", "argon2 takes a worker 29 ms or more for each password, in which it serves nobody else"),
    ("$apr1$", "apr1 (MD5) is out of date"),
    ("$1$", "MD5-crypt is out of date"),
    ("$5$", "SHA-256-crypt takes a worker over 5 ms, and there is bcrypt"),
    ("$6$", "SHA-512-crypt takes a worker over 5 ms, and there is bcrypt"),
    ("$7$", "scrypt needs 16 MiB for each password"),
    ("$scrypt$", "scrypt needs 16 MiB for each password"),
    ("$y$", "yescrypt needs 16 MiB for each password"),
    ("$2x$", "`$2x$` is bcrypt with a known fault"),
    ("{SSHA}", "`{SSHA}` is not what htpasswd writes"),
];

impl Hashed {
    /// Reads a hash, or says why it is none that can be used.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(hash) = text.strip_prefix("{SHA}") {
            let bytes = STANDARD.decode(hash).ok().and_then(|bytes| bytes.try_into().ok());
            return bytes.map(Self::Sha).ok_or_else(|| "no SHA-1 in base64 follows `{SHA}`".to_owned());
        }
        if let Some((_, problem)) = REFUSED.iter().find(|(prefix, _)| text.starts_with(prefix)) {
            return Err((*problem).to_owned());
        }
        let bcrypt = ["$2y$", "$2b$", "$2a$"].iter().find_map(|prefix| text.strip_prefix(prefix));
        let Some((cost, rest)) = bcrypt.and_then(|rest| rest.split_once('$')) else {
            return Err("this is neither bcrypt nor `{SHA}`".to_owned());
        };
        let cost = cost.parse().ok().filter(|cost| (MIN_COST..=31).contains(cost));
        let cost = cost.ok_or_else(|| format!("bcrypt costs {MIN_COST} to 31"))?;
        if cost > MAX_COST {
            return Err(format!(
                "bcrypt of cost {cost} takes a worker {} ms for each password, in which it serves nobody else; at most \
                 cost {MAX_COST} is accepted",
                u64::from(LEAST_MICROS).saturating_mul(times(cost)) / 1000
            ));
        }
        let (salt, hash) = rest.split_at_checked(22).unwrap_or_default();
        let decoded = |text| BCRYPT.decode(text).ok();
        let salt = decoded(salt).and_then(|bytes| bytes.try_into().ok());
        let hash = decoded(hash).and_then(|bytes| bytes.try_into().ok());
        let (salt, hash) =
            salt.zip(hash).ok_or_else(|| "this is no bcrypt: 53 characters follow the cost".to_owned())?;
        Ok(Self::Bcrypt { cost, salt, hash })
    }

    /// How many times the least bcrypt it costs to check; nothing for what costs next to nothing.
    pub fn weight(&self) -> u32 {
        match self {
            Self::Bcrypt { cost, .. } => u32::try_from(times(*cost)).unwrap_or(u32::MAX),
            Self::Sha(_) => 0,
        }
    }

    /// Whether this is the password.
    pub fn is(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt { cost, salt, hash } => {
                // It ends with a NUL, as in C, and what is longer than it can take does not count.
                let password: Vec<u8> =
                    password.iter().copied().chain([0]).take(BCRYPT_SIGNIFICANT).collect();
                let computed = bcrypt::bcrypt(*cost, *salt, &password);
                is_same(computed.get(..hash.len()).unwrap_or_default(), hash)
            }
            Self::Sha(hash) => is_same(&hmac_sha1_compact::Hash::hash(password), hash),
        }
    }
}

/// What a cost is of the least.
fn times(cost: u32) -> u64 {
    1_u64.checked_shl(cost.saturating_sub(MIN_COST)).unwrap_or(u64::MAX)
}

/// In a time that does not tell where they differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn what_htpasswd_writes_is_read() {
        // As libxcrypt and OpenSSL compute them.
        for (hash, password) in [
            (SAMPLES[0], "wonderland".to_owned()),
            (SAMPLES[1], "wonderland".to_owned()),
            (SAMPLES[2], "x".repeat(72)),
            (SAMPLES[2], "x".repeat(80)),
            (SAMPLES[3], String::new()),
        ] {
            let hashed = Hashed::parse(hash).unwrap();
            assert!(hashed.is(password.as_bytes()), "{hash}");
            assert!(!hashed.is(b"Wonderland") && !hashed.is(b"wonderland\0") && !hashed.is(b"x"), "{hash}");
        }
    }

    #[test]
    fn what_cannot_be_afforded_is_named() {
        for (hash, problem) in [
            ("$2y$10$abc", "bcrypt of cost 10 takes a worker 64 ms for each password"),
            ("$2y$03$abc", "bcrypt costs 4 to 31"),
            ("$2y$05$abc", "this is no bcrypt"),
            ("$argon2id$v=19$m=19456,t=2,p=1$abc$def", "argon2 takes a worker 29 ms"),
            ("$apr1$abc$def", "apr1 (MD5) is out of date"),
            ("{SHA}abc", "no SHA-1 in base64"),
            ("rl.3StKT.4T8M", "neither bcrypt nor `{SHA}`"),
            ("", "neither bcrypt nor `{SHA}`"),
        ] {
            let found = Hashed::parse(hash).unwrap_err();
            assert!(found.contains(problem), "{hash}: {found}");
        }
    }

    #[test]
    fn a_step_of_cost_doubles_the_weight() {
        let weights = [0, 1, 3].map(|index| Hashed::parse(SAMPLES[index]).unwrap().weight());
        assert_eq!(weights, [2, 0, 1]);
    }

    const SAMPLES: [&str; 4] = [
        "$2y$05$abcdefghijklmnopqrstuuA0vov2GDneHB3.8.cv9UF9g.RdvScIW",
        "{SHA}tiY7sUhYKUwI5L3866kDY+ENcrQ=",
        "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i",
        "$2b$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq",
    ];
}
